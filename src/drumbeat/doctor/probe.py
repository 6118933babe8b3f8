"""One connection to a mail server: its name, what it offers, and how its encryption stands. Nothing is sent.

RFC 5321, RFC 3207 (STARTTLS).
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drumbeat.delivery.smtp_settings import SmtpHost


_NAME = "[127.0.0.1]"
"""What we greet with: a legal name that takes no look-up of our own."""


@dataclass(frozen=True)
class Probe:
    """What a mail server showed.

    `trouble`: why it could not be talked to, or None. `name`: what it calls itself in its greeting. `offers`:
    the words of EHLO in capitals, those after encryption where there is any. `starttls`: whether it offers that.
    `tls`: the protocol's version, None without encryption. `tls_trouble`: why there is none. `expires`: the end
    of the certificate.
    """

    trouble: str | None = None
    name: str = ""
    offers: frozenset[str] = frozenset()
    starttls: bool = False
    tls: str | None = None
    tls_trouble: str | None = None
    expires: datetime | None = None


def probe(server: SmtpHost, root: Path, *, timeout: float) -> Probe:
    """Connect, greet, encrypt as far as the server offers it, and part; never raises.

    The certificate is verified as delivery does it: against the system's authorities, or `ca_file` alone.
    """
    try:
        ca_file = str(root / server.ca_file) if server.ca_file else None
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        return Probe(f"cannot read the CA file {server.ca_file}: {_words(error)}")
    client = _Implicit(server, timeout, context) if server.tls == "implicit" else _Plain(server, timeout)
    try:
        return _talk(client, server, context)
    except ssl.SSLError as error:
        return Probe(tls_trouble=_words(error))
    except (smtplib.SMTPException, OSError, ValueError) as error:
        return Probe(_words(error))
    finally:
        client.close()


class _Plain(smtplib.SMTP):
    """smtplib's client, not connected yet."""

    def __init__(self, server: SmtpHost, timeout: float) -> None:
        super().__init__(timeout=timeout, local_hostname=_NAME)
        # STARTTLS verifies the certificate against this name; smtplib only learns it in the constructor
        # that also connects.
        self._host = server.host


class _Implicit(smtplib.SMTP_SSL):
    """smtplib's client that encrypts from the first byte, not connected yet."""

    def __init__(self, server: SmtpHost, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(timeout=timeout, local_hostname=_NAME, context=context)
        self._host = server.host


def _talk(client: smtplib.SMTP, server: SmtpHost, context: ssl.SSLContext) -> Probe:
    code, greeting = client.connect(server.host, server.port)
    words = greeting.decode("utf-8", "replace")
    if code != 220:
        return Probe(f"it does not want us: {code} {' '.join(words.split())[:200]}")
    name = re.match(r"[A-Za-z0-9.-]+", words)
    shown = name.group().rstrip(".").lower() if name else ""
    client.ehlo_or_helo_if_needed()
    starttls = client.has_extn("starttls")
    if server.tls != "implicit" and starttls:
        try:
            client.starttls(context=context)
            client.ehlo_or_helo_if_needed()
        except (smtplib.SMTPException, OSError) as error:
            return Probe(name=shown, offers=_offers(client), starttls=True, tls_trouble=_words(error))
    found = Probe(name=shown, offers=_offers(client), starttls=starttls)
    if isinstance(client.sock, ssl.SSLSocket):
        found = Probe(
            name=shown,
            offers=_offers(client),
            starttls=starttls,
            tls=client.sock.version(),
            expires=_end(client.sock),
        )
    with contextlib.suppress(smtplib.SMTPException, OSError):
        client.quit()
    return found


def _offers(client: smtplib.SMTP) -> frozenset[str]:
    return frozenset(word.upper() for word in client.esmtp_features)


def _end(sock: ssl.SSLSocket) -> datetime | None:
    certificate = sock.getpeercert() or {}
    end = certificate.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if isinstance(end, str) else None


def _words(error: BaseException) -> str:
    """Return what an error says, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError) or str(error).endswith("timed out"):
        return "it does not answer in time"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "it closed the connection"
    if isinstance(error, smtplib.SMTPResponseException):
        words = error.smtp_error
        text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        return " ".join(f"{error.smtp_code} {text}".split())[:200]
    if isinstance(error, OSError) and error.strerror and not isinstance(error, smtplib.SMTPException):
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
