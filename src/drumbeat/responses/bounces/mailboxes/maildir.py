"""A maildir (https://cr.yp.to/proto/maildir.html): mails lie in new/, those that were stored in cur/, read."""

from __future__ import annotations

import os
from pathlib import Path

from drumbeat.errors import DeliveryError
from drumbeat.responses.bounces.mailboxes import MOST_STORED, Collected, Store


class Maildir:
    """Reads new/ in order of names. Several readers, and the mail server, may be at it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def collect(self, store: Store) -> Collected:
        """Store every mail of new/ and move it to cur/ with the flag S (seen)."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder / "new") if entry.is_file())
            (self.folder / "cur").mkdir(exist_ok=True)
        except OSError as error:
            raise DeliveryError(
                f"cannot read the maildir {self.folder}: {error.strerror}; expected a folder with new and cur in it"
            ) from None
        taken = left = 0
        for name in names:
            match self._take(name, store):
                case True:
                    taken += 1
                case False:
                    left += 1
        return Collected(taken, left)

    def _take(self, name: str, store: Store) -> bool | None:
        """Store one mail and move it; None where another reader was faster."""
        path = self.folder / "new" / name
        try:
            with path.open("rb") as file:
                raw = file.read(MOST_STORED)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeliveryError(f"cannot read {path}: {error.strerror}") from None
        if not store(raw, f"maildir {name}"):
            return False
        try:
            path.rename(self.folder / "cur" / f"{name.partition(':')[0]}:2,S")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeliveryError(
                f"cannot move {path} to cur: {error.strerror}; its mail is stored and will not be stored twice"
            ) from None
        return True
