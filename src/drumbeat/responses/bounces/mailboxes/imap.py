"""An IMAP mailbox (RFC 3501): mails are fetched by their UIDs, stored, marked as read and moved, or deleted."""

from __future__ import annotations

import base64
import imaplib
from collections.abc import Sequence

from drumbeat.delivery.mailbox_settings import Imap
from drumbeat.errors import DeliveryError
from drumbeat.responses.bounces.mailboxes import MOST_STORED, Collected, Store
from drumbeat.responses.bounces.mailboxes.servers import context, credentials, in_one_line, port, xoauth2

BATCH = 50
"""Mails that are moved with one command. After a cut so many are fetched again at most, and stored once."""


class ImapMailbox:
    """Reads a folder on a server. Mails that another program marked as deleted are left alone."""

    def __init__(self, settings: Imap) -> None:
        self.settings = settings
        self.able: frozenset[str] = frozenset()

    def collect(self, store: Store) -> Collected:
        """Store every mail of the folder and move it away."""
        with in_one_line(self.settings):
            client = self._open()
            try:
                self._log_in(client)
                return self._collect(client, store)
            finally:
                _leave(client)

    def _open(self) -> imaplib.IMAP4:
        settings, seconds = self.settings, self.settings.timeout.total_seconds()
        if settings.tls == "implicit":
            return imaplib.IMAP4_SSL(
                settings.host, port(settings), ssl_context=context(settings), timeout=seconds
            )
        client = imaplib.IMAP4(settings.host, port(settings), timeout=seconds)
        if settings.tls == "starttls":
            client.starttls(context(settings))
        return client

    def _log_in(self, client: imaplib.IMAP4) -> None:
        username, password = credentials(self.settings)
        try:
            if self.settings.login == "xoauth2":
                client.authenticate("XOAUTH2", lambda _: xoauth2(username, password).encode())
            else:
                client.login(username, password)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            raise DeliveryError(
                f"the IMAP server {self.settings.host} refused the login of the user that "
                f"{self.settings.username_env} names: {_text(error.args[0])}"
            ) from None

    def _collect(self, client: imaplib.IMAP4, store: Store) -> Collected:
        settings = self.settings
        # Asked once more: servers say what they can do in full only to who is logged in.
        _, said = client.capability()
        self.able = frozenset(_text(said[-1]).upper().split())
        answer, data = client.select(_named(settings.folder))
        if answer != "OK":
            raise DeliveryError(
                f"the IMAP server {settings.host} has no folder '{settings.folder}' for this user: {_text(data[0])}"
            )
        if not settings.delete:
            # Where it is there already the server says NO, which is as good.
            client.create(_named(settings.processed))
        _, found = client.uid("SEARCH", "UNDELETED")
        uids = found[0].split() if found and found[0] else []
        taken = left = 0
        for start in range(0, len(uids), BATCH):
            kept = [uid for uid in uids[start : start + BATCH] if self._keep(client, uid, store)]
            self._put_away(client, kept)
            taken += len(kept)
            left += len(uids[start : start + BATCH]) - len(kept)
        return Collected(taken, left)

    def _keep(self, client: imaplib.IMAP4, uid: bytes, store: Store) -> bool:
        number = uid.decode("ascii")
        _, data = client.uid("FETCH", number, f"(BODY.PEEK[]<0.{MOST_STORED}>)")
        raw = next((part[1] for part in data if isinstance(part, tuple)), None)
        # Nothing: another reader was faster.
        return raw is not None and store(raw, f"imap {self.settings.folder} {number}")

    def _put_away(self, client: imaplib.IMAP4, uids: Sequence[bytes]) -> None:
        """Move the mails, or delete them, with what the server can do (RFC 6851, RFC 4315)."""
        if not uids:
            return
        numbers = b",".join(uids).decode("ascii")
        settings = self.settings
        _check(client.uid("STORE", numbers, "+FLAGS.SILENT", "(\\Seen)"), "mark mails as read")
        if not settings.delete:
            command = "MOVE" if "MOVE" in self.able else "COPY"
            _check(
                client.uid(command, numbers, _named(settings.processed)),
                f"move mails to the folder '{settings.processed}'",
            )
            if command == "MOVE":
                return
        _check(client.uid("STORE", numbers, "+FLAGS.SILENT", "(\\Deleted)"), "mark mails as deleted")
        if "UIDPLUS" in self.able:
            client.uid("EXPUNGE", numbers)
        else:
            client.expunge()


def _check(answer: tuple[str, Sequence[bytes]], what: str) -> None:
    kind, data = answer
    if kind != "OK":
        raise imaplib.IMAP4.error(f"it will not {what}: {_text(data[0])}")


def _leave(client: imaplib.IMAP4) -> None:
    try:
        client.logout()
    except (OSError, imaplib.IMAP4.error, EOFError, ValueError):
        client.shutdown()


def _named(folder: str) -> str:
    """Return a folder's name as commands have it: quoted, and in the UTF-7 of RFC 3501 (5.1.3)."""
    written: list[str] = []
    foreign = ""
    for letter in f"{folder}\0":
        if " " <= letter <= "~" or letter == "\0":
            if foreign:
                shifted = base64.b64encode(foreign.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
                written.append(f"&{shifted.decode('ascii')}-")
                foreign = ""
            written.append("&-" if letter == "&" else letter.strip("\0"))
        else:
            foreign += letter
    quoted = "".join(written).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _text(said: object) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return " ".join(text.split())[:200]
