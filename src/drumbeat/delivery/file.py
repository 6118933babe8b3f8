"""Hand mails over into a maildir: for trying out, and for programs that pick mails up from a folder.

A maildir (https://cr.yp.to/proto/maildir.html) is written in `tmp` and moved into `new`, so that a reader
never sees half a mail. The file's name comes from the mail's key: handed over twice it is still one file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from drumbeat.delivery import Answer, Begin, Done, Mail, Outcome
from drumbeat.errors import DeliveryError

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}")


class FileBackend:
    """Writes each mail as one file into `folder/new`."""

    name = "file"
    eight_bit = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Make the folders. Raises DeliveryError where they cannot be written to."""
        try:
            for part in ("tmp", "new", "cur"):
                (self._folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        if not os.access(self._folder / "tmp", os.W_OK):
            raise DeliveryError(
                f"cannot write to the mail folder {self._folder}; check delivery.file.folder and its rights"
            )

    def hand_over(self, parcels: Sequence[Mail], begin: Begin, done: Done) -> None:
        """Write each mail, and after `begin` make it appear in `new`. Raises DeliveryError."""
        for mail in parcels:
            done(mail, self._one(mail, begin))

    def _one(self, mail: Mail, begin: Begin) -> Answer:
        name = _file_name(mail.key)
        draft, finished = self._folder / "tmp" / name, self._folder / "new" / name
        try:
            _write_through(draft, mail.content)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            go = begin(mail)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        if not go:
            draft.unlink(missing_ok=True)
            return Answer(Outcome.WITHDRAWN, "withdrawn before it was put into the folder")
        try:
            draft.replace(finished)
        except OSError as error:
            # A rename happens as a whole or not at all.
            return Answer(Outcome.DEFERRED, f"cannot put the mail into {finished.parent}: {error.strerror}")
        try:
            _sync_folder(finished.parent)
        except OSError as error:
            return Answer(Outcome.UNCERTAIN, f"cannot make sure of {finished}: {error.strerror}")
        return Answer(Outcome.ACCEPTED, f"written to new/{name}")

    def close(self) -> None:
        """Nothing to let go of."""

    def _unusable(self, error: OSError) -> DeliveryError:
        return DeliveryError(
            f"cannot write to the mail folder {self._folder}: {error.strerror}; check delivery.file.folder"
        )


def _file_name(key: str) -> str:
    """Return the key where it can be a file's name, else a hash of it. A maildir forbids `/` and `:`."""
    return key if _SAFE.fullmatch(key) else blake2b(key.encode(), digest_size=20).hexdigest()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut: it is the folder that holds the name."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
