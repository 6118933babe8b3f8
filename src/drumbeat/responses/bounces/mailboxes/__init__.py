"""Where the mails are fetched from: one reader a kind, all of them with one promise.

A mail is stored first and taken out of the mailbox after, so that a crash, a cut connection or a database that
is away loses none. What is fetched twice for that is stored once, since the store knows a mail by its bytes.
One mail is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from drumbeat.delivery.mailbox_settings import BounceMailbox

Store: TypeAlias = "Callable[[bytes, str], bool]"
"""Called with a mail and where it is from, for people; True: it is kept for good and may go from the mailbox."""

MOST_STORED = 1_000_000
"""Bytes of a mail that are kept: as many as are read (mime.MOST_BYTES). What lies behind is a returned original."""


@dataclass(frozen=True)
class Collected:
    """`taken`: stored and gone from the mailbox; `left`: not stored, so still in it."""

    taken: int = 0
    left: int = 0


class Mailbox(Protocol):
    """What the command needs of a kind of mailbox."""

    def collect(self, store: Store) -> Collected:
        """Hand every mail to `store`, and take those that are kept out of the mailbox.

        Raises DeliveryError in one line where the mailbox cannot be used, or not any more; what `store` raises
        passes through. Mails that were stored by then are stored.
        """
        ...


def open_mailbox(settings: BounceMailbox, root: Path) -> Mailbox:
    """Return the reader of the mailbox that the settings name. `root`: the project's folder."""
    if settings.imap is not None:
        from drumbeat.responses.bounces.mailboxes.imap import ImapMailbox

        return ImapMailbox(settings.imap)
    if settings.pop is not None:
        from drumbeat.responses.bounces.mailboxes.pop import PopMailbox

        return PopMailbox(settings.pop)
    from drumbeat.responses.bounces.mailboxes.maildir import Maildir

    return Maildir(root / (settings.maildir or ""))
