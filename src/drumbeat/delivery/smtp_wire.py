"""The bytes of SMTP: send, and read replies, over a socket in the clear or encrypted.

Replies are read as RFC 5321 section 4.2.1 has them, in any pieces. Whatever else comes (garbage, a line or a
reply without end, silence) ends in one of two errors, never in a wait without end.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time

LONGEST_LINE = 8 * 1024
"""Bytes. RFC 5321 section 4.5.3.1.5 says 512; servers with long explanations exist."""

LONGEST_REPLY = 64 * 1024
"""Bytes in all lines of one reply."""

_CHUNK = 16 * 1024
_TLS_RECORD = 16 * 1024
"""Bytes that one record holds at most (RFC 8446 section 5.1)."""


class Lost(Exception):  # noqa: N818 - an event, which callers turn into an answer
    """The connection is of no use any more: closed, failed, or silent for too long.

    `sent`: how many bytes of a failed `send` were handed to the system.
    """

    def __init__(self, text: str, sent: int = 0) -> None:
        super().__init__(text)
        self.sent = sent


class Garbled(Lost):
    """What the other side said is not SMTP."""


class Wire:
    """A connected socket with its buffer. `timeout`: seconds for each single wait."""

    def __init__(self, connected: socket.socket, timeout: float) -> None:
        self._socket = connected
        self._timeout = timeout
        self._buffer = b""
        self._at = 0
        self._step = sys.maxsize
        self.encrypted = False
        self._wait_at_most(timeout)
        with contextlib.suppress(OSError):
            # Small writes must not wait for the acknowledgement of the one before (Nagle).
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def pending(self) -> bool:
        """Say whether something was received that nobody has read yet."""
        return self._at < len(self._buffer)

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Talk TLS from now on. Raises ssl.SSLError, OSError, and Garbled where clear text is left over.

        Whatever came before the handshake may have been put in by somebody between (CVE-2011-0411).
        """
        if self.pending:
            raise Garbled("more came in the clear than the answer to STARTTLS, perhaps from somebody between")
        self._socket = context.wrap_socket(self._socket, server_hostname=host)
        self._step = _TLS_RECORD
        self.encrypted = True

    def send(self, data: bytes) -> None:
        """Hand all bytes to the system. Raises Lost, with how many were handed over.

        Encrypted, each call takes one record: a record that was not written whole cannot be read by the other
        side, so that the count is exact there too.
        """
        sent, size, step = 0, len(data), self._step
        try:
            if self._waits != self._timeout:
                self._wait_at_most(self._timeout)
            if size <= step:
                sent = self._socket.send(data)
            if sent < size:
                view = memoryview(data)
                while sent < size:
                    sent += self._socket.send(view[sent : sent + step])
        except OSError as error:
            raise Lost(words(error), sent) from None

    def reply(self, patience: float | None = None) -> bytes:
        """Return the next reply, all its lines with their ends.

        `patience`: seconds until it must be here as a whole; the time-out of the connection where left out.
        Raises Lost, and Garbled for what is no reply.
        """
        at = self._at
        end = self._buffer.find(b"\n", at) + 1
        if not end or self._buffer[at + 3 : at + 4] == b"-":
            return self._long_reply(self._timeout if patience is None else patience)
        line = self._buffer[at:end]
        self._at = end
        if not line[:3].isdigit() or line[3] not in b" \r\n":
            raise Garbled(_shown(line))
        return line

    def _long_reply(self, patience: float) -> bytes:
        """Read a reply of which not all is here, or that has several lines."""
        until = time.monotonic() + patience
        start = self._at
        line_at = start
        while True:
            end = self._buffer.find(b"\n", line_at) + 1
            if not end:
                if len(self._buffer) - line_at > LONGEST_LINE:
                    raise Garbled(
                        f"a line of more than {LONGEST_LINE} bytes: {_shown(self._buffer[line_at:])}"
                    )
                line_at, start = line_at - start, 0
                self._fill(until)
                continue
            line = self._buffer[line_at:end]
            if not line[:3].isdigit() or line[3:4] not in (b" ", b"-", b"\r", b"\n"):
                raise Garbled(_shown(line))
            if line[:3] != self._buffer[start : start + 3]:
                raise Garbled(f"one reply with two codes: {_shown(self._buffer[start:end])}")
            line_at = end
            if line[3:4] != b"-":
                self._at = end
                return self._buffer[start:end]
            if end - start > LONGEST_REPLY:
                raise Garbled(f"a reply of more than {LONGEST_REPLY} bytes: {_shown(line)}")

    def _fill(self, until: float) -> None:
        """Read more; what was read before the present reply is let go of."""
        left = until - time.monotonic()
        if left <= 0:
            raise Lost("timed out")
        try:
            # Setting it costs a system call, so a difference that nobody notices is left alone.
            if not self._waits * 0.95 <= left <= self._waits:
                self._wait_at_most(left)
            more = self._socket.recv(_CHUNK)
        except OSError as error:
            raise Lost(words(error)) from None
        if not more:
            raise Lost("connection unexpectedly closed")
        self._buffer, self._at = self._buffer[self._at :] + more, 0

    def _wait_at_most(self, seconds: float) -> None:
        self._waits = seconds
        self._socket.settimeout(seconds)

    def last_words(self) -> bytes | None:
        """Return a reply that came before the connection failed; None where there is none."""
        try:
            return self.reply(0.05)
        except Lost:
            return None

    def shutdown(self) -> None:
        """Wake up whoever waits on the connection in another thread; never raises."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Disconnect without a word; never raises."""
        with contextlib.suppress(OSError):
            self._socket.close()


def words(error: BaseException) -> str:
    """Return what an error of ssl or the socket says, as one line without Python's own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return " ".join(error.strerror.split())
    return " ".join(str(error).split()) or type(error).__name__


def _shown(raw: bytes) -> str:
    return repr(raw[:80])[2:-1]
