"""Connect to a mail server: greet, encrypt with a verified certificate, log in. smtplib does the talking.

RFC 5321 is the protocol, RFC 3207 STARTTLS, RFC 4954 AUTH.
"""

from __future__ import annotations

import ipaddress
import smtplib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drumbeat.errors import DeliveryError


@dataclass(frozen=True)
class SmtpServer:
    """Where and how to connect. `timeout` is in seconds and holds for each single wait.

    `tls`: certificates are always verified, against the system's authorities or against `ca_file` alone.
    """

    host: str
    port: int = 25
    tls: Literal["none", "starttls", "implicit"] = "none"
    ca_file: Path | None = None
    username: str | None = None
    password: str | None = None
    timeout: float = 60.0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def connect(server: SmtpServer) -> smtplib.SMTP:
    """Return a connection that is encrypted and logged in as `server` says. Raises DeliveryError."""
    if server.username and server.tls == "none" and not _is_loopback(server.host):
        raise DeliveryError(
            f"the password for {server} would travel in the clear;"
            " set delivery.smtp.tls to starttls or implicit"
        )
    context = None if server.tls == "none" else _trust(server)
    connection: smtplib.SMTP | None = None
    try:
        connection = _Implicit(server, context) if server.tls == "implicit" and context else _Plain(server)
        _greet(connection, server, context)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if (explained := _explain(server, error)) is None:
            raise
        raise DeliveryError(explained) from error
    return connection


def _greet(connection: smtplib.SMTP, server: SmtpServer, context: ssl.SSLContext | None) -> None:
    code, greeting = connection.connect(server.host, server.port)
    if code != 220:
        raise smtplib.SMTPConnectError(code, greeting)
    # An address literal is a legal name (RFC 5321 section 4.1.3) and takes no look-up of our own name.
    address = connection.sock.getsockname()[0] if connection.sock is not None else "127.0.0.1"
    connection.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    connection.ehlo_or_helo_if_needed()
    if server.tls == "starttls":
        connection.starttls(context=context)
        connection.ehlo_or_helo_if_needed()
    if server.username:
        connection.login(server.username, server.password or "")


class _Plain(smtplib.SMTP):
    """smtplib's client, not connected yet."""

    def __init__(self, server: SmtpServer) -> None:
        super().__init__(local_hostname="localhost", timeout=server.timeout)
        # STARTTLS verifies the certificate against this name; smtplib only learns it in the constructor
        # that also connects.
        self._host = server.host


class _Implicit(smtplib.SMTP_SSL):
    """smtplib's client that encrypts from the first byte, not connected yet."""

    def __init__(self, server: SmtpServer, context: ssl.SSLContext) -> None:
        super().__init__(local_hostname="localhost", timeout=server.timeout, context=context)
        self._host = server.host


def _trust(server: SmtpServer) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise DeliveryError(
            f"cannot read the CA file {server.ca_file}: {one_line(error)};"
            " delivery.smtp.ca_file must name a PEM file"
        ) from None


def _explain(server: SmtpServer, error: BaseException) -> str | None:
    """Return one line with what to do for an error of connecting; None for one that is not about it."""
    text = one_line(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {server} is not trusted: {error.verify_message};"
            " give its CA as delivery.smtp.ca_file, or the host by the name in its certificate"
        )
    if isinstance(error, ssl.SSLError):
        return f"cannot encrypt the connection to {server}: {text}; check delivery.smtp.tls and port"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the mail server {server} refused the login: {text}; check user and password"
    if (
        isinstance(error, (smtplib.SMTPNotSupportedError, UnicodeEncodeError))
        or type(error) is smtplib.SMTPException
    ):
        return f"the mail server {server} cannot do what is asked: {text}; check tls and username_env"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the mail server {server} does not want us now: {text}; try again later"
    if isinstance(error, (smtplib.SMTPException, OSError)):
        return (
            f"cannot reach the mail server {server}: {text};"
            " check delivery.smtp in project.yaml and that the server runs"
        )
    return None


def one_line(error: BaseException) -> str:
    """Return what an error of smtplib, ssl or the socket says, as one line without Python's own words."""
    if isinstance(error, smtplib.SMTPResponseException):
        detail = error.smtp_error
        words = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        return " ".join(f"{error.smtp_code} {words}".split())
    if isinstance(error, OSError) and error.strerror and not isinstance(error, smtplib.SMTPException):
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
