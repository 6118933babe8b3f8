"""Connect to a mail server: greet, encrypt with a verified certificate, log in.

RFC 5321 is the protocol, RFC 3207 STARTTLS, RFC 4954 AUTH, RFC 8314 TLS from the first byte.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from drumbeat.delivery.smtp_auth import log_in
from drumbeat.delivery.smtp_replies import read
from drumbeat.delivery.smtp_session import Offers, Session
from drumbeat.delivery.smtp_settings import Auth, Tls, is_loopback, server_name
from drumbeat.delivery.smtp_wire import Garbled, Lost, Wire, words
from drumbeat.errors import DeliveryError


@dataclass(frozen=True)
class SmtpServer:
    """Where and how to connect. Times are in seconds.

    `timeout`: for each single wait but the one for the answer to a mail's content, which is `content_timeout`.
    `tls`: certificates are always verified, against the system's authorities or against `ca_file` alone.
    `token`, `token_file`: an OAuth 2 access token; the file is read at each login. `helo`: the name that we
    greet with; our address where left out. `total_connections`, `rate`: over all workers; whoever knows of the
    others keeps them.
    """

    host: str
    port: int = 25
    tls: Tls = "none"
    ca_file: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    content_timeout: float = 600.0
    auth: Auth = "auto"
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    helo: str | None = None
    connections: int = 1
    total_connections: int | None = None
    rate: str | None = None
    mails_per_connection: int = 1000

    def __str__(self) -> str:
        return server_name(self.host, self.port)


def connect(server: SmtpServer) -> Session:
    """Return a connection that is encrypted and logged in as `server` says. Raises DeliveryError."""
    if server.username and server.tls == "none" and not is_loopback(server.host):
        raise DeliveryError(_in_the_clear(server))
    context = None if server.tls == "none" else _trust(server)
    wire: Wire | None = None
    try:
        connected = socket.create_connection((server.host, server.port), server.timeout)
        wire = Wire(connected, server.timeout)
        # TLS takes the socket over, so it is asked for its ends first.
        ours, theirs = (
            end[0].partition("%")[0] for end in (connected.getsockname(), connected.getpeername())
        )
        if context is not None and server.tls == "implicit":
            wire.encrypt(context, server.host)
        # An address literal is a legal name (RFC 5321 section 4.1.3) and takes no look-up of our own name.
        offers = _greet(wire, server, server.helo or _literal(ours), context)
        if server.username:
            if not wire.encrypted and not is_loopback(theirs):
                raise DeliveryError(_in_the_clear(server))
            log_in(wire, server, offers.auth)
        return Session(wire, offers, str(server), server.content_timeout)
    except BaseException as error:
        if wire is not None:
            wire.close()
        if (explained := _explain(server, error)) is None:
            raise
        raise DeliveryError(explained) from error


def _greet(wire: Wire, server: SmtpServer, name: str, context: ssl.SSLContext | None) -> Offers:
    """Exchange greetings, encrypt where STARTTLS is set, and return what the server offers then."""
    _expect(server, "220", wire.reply())
    offers = _ehlo(wire, server, name)
    if context is None or server.tls != "starttls":
        return offers
    if not offers.starttls:
        raise DeliveryError(
            f"the mail server {server} cannot do what is asked: it does not offer STARTTLS;"
            " check delivery.smtp.tls and port, and who is between"
        )
    wire.send(b"STARTTLS\r\n")
    _expect(server, "220", wire.reply())
    wire.encrypt(context, server.host)
    # What was offered in the clear may not be the server's word (RFC 3207 section 4.2).
    return _ehlo(wire, server, name)


def _ehlo(wire: Wire, server: SmtpServer, name: str) -> Offers:
    """Greet; a server that knows no EHLO offers nothing (RFC 5321 section 3.2)."""
    wire.send(f"EHLO {name}\r\n".encode())
    reply = wire.reply()
    if reply[:1] == b"5":
        wire.send(f"HELO {name}\r\n".encode())
        _expect(server, "250", wire.reply())
        return Offers()
    _expect(server, "250", reply)
    return Offers.read(reply)


def _expect(server: SmtpServer, code: str, raw: bytes) -> None:
    if raw[:3] == code.encode():
        return
    if raw[:1] not in (b"4", b"5"):
        raise Garbled(f"an answer out of step: {read(raw).text}")
    raise DeliveryError(f"the mail server {server} does not want us now: {read(raw).text}; try again later")


def _literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _in_the_clear(server: SmtpServer) -> str:
    return (
        f"the password for {server} would travel in the clear; set delivery.smtp.tls to starttls or implicit"
    )


@lru_cache(maxsize=16)
def _context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def _trust(server: SmtpServer) -> ssl.SSLContext:
    try:
        return _context(server.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise DeliveryError(
            f"cannot read the CA file {server.ca_file}: {words(error)};"
            " delivery.smtp.ca_file must name a PEM file"
        ) from None


def _explain(server: SmtpServer, error: BaseException) -> str | None:
    """Return one line with what to do for an error of connecting; None for one that is not about it."""
    text = " ".join(str(error).split()) if isinstance(error, Lost) else words(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {server} is not trusted: {text};"
            " give its CA as delivery.smtp.ca_file, or the host by the name in its certificate"
        )
    if isinstance(error, ssl.SSLError):
        return f"cannot encrypt the connection to {server}: {text}; check delivery.smtp.tls and port"
    if isinstance(error, Garbled):
        return f"the mail server {server} does not speak SMTP: {text}; check delivery.smtp.tls and port"
    if isinstance(error, (Lost, OSError, UnicodeError)):
        return (
            f"cannot reach the mail server {server}: {text};"
            " check delivery.smtp in project.yaml and that the server runs"
        )
    return None
