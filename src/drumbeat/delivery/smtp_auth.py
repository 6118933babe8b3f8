"""Log in to a mail server: XOAUTH2, PLAIN or LOGIN (RFC 4954, RFC 4616, Google's and Microsoft's XOAUTH2).

XOAUTH2: https://developers.google.com/gmail/imap/xoauth2-protocol
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

from drumbeat.delivery.smtp_replies import clean, read
from drumbeat.delivery.smtp_wire import Garbled, Wire
from drumbeat.errors import DeliveryError

if TYPE_CHECKING:
    from drumbeat.delivery.smtp_connect import SmtpServer

NOT_THIS_WAY = (b"504", b"534")
"""Replies that refuse the mechanism and not the user (RFC 4954 section 6)."""


def log_in(wire: Wire, server: SmtpServer, offered: Sequence[str]) -> None:
    """Log in by the best mechanism that both sides can. `offered`: the words after AUTH, in capitals.

    Raises DeliveryError where no mechanism fits or the login is refused, Lost where the connection is.
    """
    fitting = [name for name in _wanted(server) if name in offered]
    if not fitting:
        raise DeliveryError(
            f"the mail server {server} cannot do what is asked: it offers"
            f" {('AUTH ' + ' '.join(offered)) if offered else 'no AUTH'}, and the settings ask for"
            f" {' or '.join(_wanted(server))}; check tls, auth and username_env under delivery.smtp"
        )
    for name in fitting:
        reply = _MECHANISMS[name](wire, server)
        if reply[:3] == b"235":
            return
        if reply[:3] not in NOT_THIS_WAY or name == fitting[-1]:
            raise DeliveryError(_refused(server, name, reply))


def _wanted(server: SmtpServer) -> list[str]:
    """Return the mechanisms that the settings allow, best first."""
    if server.auth != "auto":
        return [server.auth.upper()]
    with_token = ["XOAUTH2"] if server.token or server.token_file else []
    return [*with_token, *(["PLAIN", "LOGIN"] if server.password is not None else [])]


def _plain(wire: Wire, server: SmtpServer) -> bytes:
    wire.send(_line(b"AUTH PLAIN ", f"\0{server.username}\0{server.password}"))
    return wire.reply()


def _login(wire: Wire, server: SmtpServer) -> bytes:
    wire.send(b"AUTH LOGIN\r\n")
    for answer in (server.username, server.password):
        reply = wire.reply()
        if reply[:3] != b"334":
            return reply
        wire.send(_line(b"", answer or ""))
    return wire.reply()


def _xoauth2(wire: Wire, server: SmtpServer) -> bytes:
    """Give the token. A refused one is explained in a 334 that wants an empty line before the 535."""
    wire.send(_line(b"AUTH XOAUTH2 ", f"user={server.username}\1auth=Bearer {_token(server)}\1\1"))
    reply = wire.reply()
    if reply[:3] != b"334":
        return reply
    why = _oauth_fault(reply[4:])
    wire.send(b"\r\n")
    return wire.reply().rstrip() + (f" ({why})".encode() if why else b"") + b"\r\n"


_MECHANISMS = {"XOAUTH2": _xoauth2, "PLAIN": _plain, "LOGIN": _login}


def _token(server: SmtpServer) -> str:
    if server.token_file is None:
        token = server.token or ""
        place = "the variable that token_env names"
    else:
        place = f"the token file {server.token_file}"
        try:
            token = server.token_file.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
            raise DeliveryError(
                f"cannot read {place}: {why}; delivery.smtp.token_file must hold an access token"
            ) from None
    token = token.strip()
    if not token or not token.isprintable() or " " in token:
        raise DeliveryError(f"{place} does not hold an access token: it must be one word")
    return token


def _oauth_fault(challenge: bytes) -> str:
    """Return what the server's JSON says of a refused token, such as `status 401`; '' where it is none."""
    try:
        fault = json.loads(b64decode(challenge))
        return clean(f"status {fault['status']}".encode())[:40]
    except (ValueError, KeyError, TypeError):
        return ""


def _line(start: bytes, secret: str) -> bytes:
    return start + b64encode(secret.encode("utf-8", "surrogateescape")) + b"\r\n"


def _refused(server: SmtpServer, mechanism: str, raw: bytes) -> str:
    if raw[:1] not in (b"4", b"5"):
        raise Garbled(f"an answer out of step to AUTH: {read(raw).text}")
    text = read(raw).text
    if raw[:1] == b"4":
        return f"the mail server {server} takes no login now: {text}; try again later"
    if mechanism == "XOAUTH2":
        return (
            f"the mail server {server} refused the access token: {text};"
            " it has run out or is for another user; renew what token_env or token_file gives"
        )
    return f"the mail server {server} refused the login: {text}; check user and password"
