"""A POP3 mailbox (RFC 1939): mails are fetched, stored and deleted; QUIT makes the deletions hold."""

from __future__ import annotations

import base64
import poplib

from drumbeat.delivery.mailbox_settings import Pop
from drumbeat.errors import DeliveryError
from drumbeat.responses.bounces.mailboxes import MOST_STORED, Collected, Store
from drumbeat.responses.bounces.mailboxes.servers import context, credentials, in_one_line, port, xoauth2

BATCH = 200
"""Mails in one session. A server forgets the deletions of a session that ends without QUIT, so that after a cut
so many are fetched again at most, and stored once."""

LONGEST_LINE = 1_000_000
"""poplib gives up at 2,048 bytes; mails have longer lines."""

HEAD_LINES = 5_000
"""Lines of a mail beyond MOST_STORED that are fetched, with TOP."""


class _LongLines:
    """Lets a line be as long as mails have it."""

    def _getline(self) -> tuple[bytes, int]:
        line = self.file.readline(LONGEST_LINE + 1)  # type: ignore[attr-defined]
        if len(line) > LONGEST_LINE:
            raise poplib.error_proto("line too long")
        if not line.endswith(b"\n"):
            raise ConnectionError("it closed the connection")
        return line.rstrip(b"\r\n"), len(line)


class _Plain(_LongLines, poplib.POP3):
    pass


class _Encrypted(_LongLines, poplib.POP3_SSL):
    pass


class PopMailbox:
    """Reads the one mailbox that POP3 has."""

    def __init__(self, settings: Pop) -> None:
        self.settings = settings

    def collect(self, store: Store) -> Collected:
        """Store every mail and delete it, in sessions of BATCH mails."""
        taken = left = 0
        more = True
        while more:
            with in_one_line(self.settings):
                # Mails that were not stored stay at the beginning of the list.
                session, more = self._session(store, skip=left)
            taken += session.taken
            left += session.left
        return Collected(taken, left)

    def _session(self, store: Store, *, skip: int) -> tuple[Collected, bool]:
        client = self._open()
        taken = left = 0
        try:
            self._log_in(client)
            sizes = [tuple(map(int, line.split()[:2])) for line in client.list()[1]]
            for number, size in sizes[skip : skip + BATCH]:
                if store(_fetch(client, number, size), f"pop {number}"):
                    client.dele(number)
                    taken += 1
                else:
                    left += 1
            client.quit()
        except BaseException:
            # Not QUIT, which would make deletions hold that the caller knows nothing of.
            client.close()
            raise
        return Collected(taken, left), len(sizes) > skip + BATCH

    def _open(self) -> poplib.POP3:
        settings, seconds = self.settings, self.settings.timeout.total_seconds()
        if settings.tls == "implicit":
            return _Encrypted(settings.host, port(settings), context=context(settings), timeout=seconds)
        client = _Plain(settings.host, port(settings), timeout=seconds)
        if settings.tls == "starttls":
            client.stls(context(settings))
        return client

    def _log_in(self, client: poplib.POP3) -> None:
        username, password = credentials(self.settings)
        try:
            if self.settings.login == "xoauth2":
                proof = base64.b64encode(xoauth2(username, password).encode()).decode("ascii")
                client._shortcmd(f"AUTH XOAUTH2 {proof}")  # type: ignore[attr-defined]
            else:
                client.user(username)
                client.pass_(password)
        except poplib.error_proto as error:
            said = str(error.args[0] if error.args else "").removeprefix("b'").removesuffix("'")
            raise DeliveryError(
                f"the POP3 server {self.settings.host} refused the login of the user that "
                f"{self.settings.username_env} names: {said[:200]}"
            ) from None


def _fetch(client: poplib.POP3, number: int, size: int) -> bytes:
    _, lines, _ = client.top(number, HEAD_LINES) if size > 2 * MOST_STORED else client.retr(number)
    return b"\r\n".join([*lines, b""])[:MOST_STORED]
