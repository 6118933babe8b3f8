"""Hand mails over to a mail server by SMTP, over one connection that stays open.

smtp_connect.py connects, encrypts and logs in. The transaction itself is ours, because smtplib raises the
same error for a connection lost before DATA (certainly not sent) and after the final dot (nobody knows).
RFC 5321 is the protocol, RFC 6531 SMTPUTF8.
"""

from __future__ import annotations

import re
import smtplib
import socket
from collections.abc import Callable

import idna

from drumbeat.delivery import Answer, Mail, Outcome
from drumbeat.delivery.smtp_connect import SmtpServer, connect, one_line
from drumbeat.errors import DeliveryError

SHUTTING_DOWN = 421
LOGIN_WANTED = frozenset({530, 534, 535, 538})
"""Replies that say something about our login, not about the mail (RFC 4954 section 6)."""

_NOT_IN_ADDRESS = re.compile(r"[\s<>\x00-\x1f\x7f]")
_LINE_WITH_DOT = re.compile(rb"^\.", re.MULTILINE)


class SmtpBackend:
    """One connection to one server; not to be shared by threads."""

    name = "smtp"

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._connection: smtplib.SMTP | None = None
        self._used = False

    def open(self) -> None:
        """Connect, encrypt and log in. Raises DeliveryError with what to do."""
        if self._connection is None:
            self._connection = connect(self._server)
            self._used = False

    def hand_over(self, mail: Mail, before_content: Callable[[], bool]) -> Answer:
        """Run one mail transaction and say how it ended.

        Until `before_content` is called nothing was sent: a lost connection or a time-out is DEFERRED.
        From then on it is UNCERTAIN, until the server's reply to the final dot. Raises DeliveryError where
        the server cannot be reached, or refuses our login or our sender, which is no fault of this mail.
        """
        self.open()
        try:
            refusal = self._envelope(mail)
        except smtplib.SMTPServerDisconnected as lost:
            self._drop()
            return Answer(Outcome.DEFERRED, f"connection lost before the content: {one_line(lost)}")
        except BaseException:
            self._drop()
            raise
        if refusal is not None:
            return refusal
        return self._content(mail, before_content)

    def close(self) -> None:
        """Say QUIT and disconnect; never raises."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.quit()
        except (smtplib.SMTPException, OSError):
            connection.close()

    def _envelope(self, mail: Mail) -> Answer | None:
        """Send MAIL, RCPT and DATA; return None after the 354, else why not."""
        if _NOT_IN_ADDRESS.search(mail.envelope_to):
            return Answer(Outcome.REFUSED, f"{mail.envelope_to!r} is not a mail address")
        sender, recipient = _ascii_domain(mail.envelope_from), _ascii_domain(mail.envelope_to)
        options: list[str] = []
        if not (sender + recipient).isascii():
            if not self._live.has_extn("smtputf8"):
                return Answer(
                    Outcome.REFUSED,
                    f"{self._server} does not offer SMTPUTF8, which {mail.envelope_to} needs",
                )
            options = ["SMTPUTF8", "BODY=8BITMIME"]
        elif not mail.content.isascii() and self._live.has_extn("8bitmime"):
            options = ["BODY=8BITMIME"]
        code, text = self._mail_from(sender, options)
        if code // 100 != 2:
            return self._refused_sender(mail, code, text)
        code, text = self._command(f"RCPT TO:<{recipient}>")
        if code in LOGIN_WANTED:
            self._drop()
            raise DeliveryError(self._login_wanted(text))
        if code // 100 != 2:
            return self._refused(code, text)
        code, text = self._command("DATA")
        return None if code == 354 else self._refused(code, text)

    def _mail_from(self, sender: str, options: list[str]) -> tuple[int, str]:
        """Begin a transaction; where the idle connection was dropped meanwhile, connect anew, once."""
        command = " ".join([f"MAIL FROM:<{sender}>", *options])
        reused, self._used = self._used, True
        if not reused:
            return self._command(command)
        try:
            code, text = self._command(command)
        except smtplib.SMTPServerDisconnected:
            code, text = SHUTTING_DOWN, ""
        if code != SHUTTING_DOWN:
            return code, text
        self._drop()
        self.open()
        self._used = True
        return self._command(command)

    def _content(self, mail: Mail, before_content: Callable[[], bool]) -> Answer:
        try:
            go = before_content()
        except BaseException:
            self._drop()
            raise
        if not go:
            # After the 354 the only way not to send is not to finish (RFC 5321 section 4.1.1.4).
            self._drop()
            return Answer(Outcome.WITHDRAWN, "withdrawn before the content")
        body = mail.content if mail.content.endswith(b"\r\n") else mail.content + b"\r\n"
        try:
            self._socket.sendall(_LINE_WITH_DOT.sub(b"..", body) + b".\r\n")
        except OSError as lost:
            # Not all of it left this machine, so the final dot did not: the server cannot have taken it.
            self._drop()
            return Answer(Outcome.DEFERRED, f"connection lost before the content's end: {one_line(lost)}")
        except BaseException:
            self._drop()
            raise
        try:
            code, text = self._reply()
        except (smtplib.SMTPException, OSError) as lost:
            self._drop()
            return Answer(
                Outcome.UNCERTAIN, f"connection lost while the content was on its way: {one_line(lost)}"
            )
        except BaseException:
            self._drop()
            raise
        if code == SHUTTING_DOWN:
            self._drop()
        outcome = {2: Outcome.ACCEPTED, 4: Outcome.DEFERRED, 5: Outcome.REFUSED}.get(code // 100)
        if outcome is None:
            self._drop()
            return Answer(Outcome.UNCERTAIN, f"no SMTP reply to the content: {text}")
        return Answer(outcome, text)

    def _refused_sender(self, mail: Mail, code: int, text: str) -> Answer:
        if code // 100 == 5 and code != 552:  # 552: this mail is too large
            self._drop()
            if code in LOGIN_WANTED:
                raise DeliveryError(self._login_wanted(text))
            raise DeliveryError(
                f"the mail server {self._server} refuses the sender {mail.envelope_from}: {text};"
                " check the sender's address in project.yaml"
            )
        return self._refused(code, text)

    def _login_wanted(self, text: str) -> str:
        return (
            f"the mail server {self._server} takes mails only after a login or encryption: {text};"
            " set tls, username_env and password_env under delivery.smtp in project.yaml"
        )

    def _refused(self, code: int, text: str) -> Answer:
        """Answer for a reply before the content, and make the connection ready for the next mail."""
        if code // 100 in (4, 5) and code != SHUTTING_DOWN:
            try:
                cleared = self._command("RSET")[0] // 100 == 2
            except smtplib.SMTPServerDisconnected:
                cleared = False
            if not cleared:
                self._drop()
        else:
            self._drop()
        return Answer(Outcome.REFUSED if code // 100 == 5 else Outcome.DEFERRED, text)

    def _command(self, line: str) -> tuple[int, str]:
        """Send one command and read the reply. Raises SMTPServerDisconnected."""
        try:
            # Not ASCII only after SMTPUTF8 was offered.
            self._live.command_encoding = "utf-8"
            self._live.putcmd(line)
            return self._reply()
        except smtplib.SMTPServerDisconnected:
            raise
        except (smtplib.SMTPException, OSError) as error:
            raise smtplib.SMTPServerDisconnected(one_line(error)) from error

    def _reply(self) -> tuple[int, str]:
        code, text = self._live.getreply()
        return code, " ".join(f"{code} {text.decode('utf-8', 'replace')}".split())

    @property
    def _live(self) -> smtplib.SMTP:
        if self._connection is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        return self._connection

    @property
    def _socket(self) -> socket.socket:
        live = self._live.sock
        if live is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        return live

    def _drop(self) -> None:
        """Disconnect without a word."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _ascii_domain(address: str) -> str:
    """Return the address with its domain in ASCII (RFC 5891); the local part stays as it is."""
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return address
