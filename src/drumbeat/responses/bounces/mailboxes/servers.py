"""What IMAP and POP3 share: verified TLS, secrets, and one line for whatever goes wrong."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from imaplib import IMAP4
from poplib import error_proto

from drumbeat.delivery.mailbox_settings import IMAP_PORTS, POP_PORTS, Imap, Pop
from drumbeat.errors import DeliveryError
from drumbeat.settings import needed_secret


def context(settings: Imap | Pop) -> ssl.SSLContext:
    """Return what verifies the server's certificate and name. Raises DeliveryError for a CA file that is none."""
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise DeliveryError(
            f"cannot read the CA file {settings.ca_file}: {error.strerror or error}"
        ) from None


def port(settings: Imap | Pop) -> int:
    """Return the port, by default the protocol's for that kind of encryption."""
    ports = IMAP_PORTS if isinstance(settings, Imap) else POP_PORTS
    return settings.port or ports[settings.tls]


def credentials(settings: Imap | Pop) -> tuple[str, str]:
    """Return user name and password (or access token). Raises DeliveryError where a variable is not set."""
    kind = "imap" if isinstance(settings, Imap) else "pop"
    return (
        needed_secret(settings.username_env, f"bounces.{kind}.username_env"),
        needed_secret(settings.password_env, f"bounces.{kind}.password_env"),
    )


def xoauth2(username: str, token: str) -> str:
    """Return the one line of XOAUTH2. https://developers.google.com/workspace/gmail/imap/xoauth2-protocol"""
    return f"user={username}\x01auth=Bearer {token}\x01\x01"


@contextmanager
def in_one_line(settings: Imap | Pop) -> Iterator[None]:
    """Turn what the protocol libraries raise into a DeliveryError that names the server."""
    server = f"the {'IMAP' if isinstance(settings, Imap) else 'POP3'} server {settings.host}:{port(settings)}"
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise DeliveryError(
            f"{server} has a certificate that is not to be trusted ({error.verify_message}); "
            "expected one for that name, or its CA as ca_file"
        ) from None
    except (IMAP4.error, error_proto) as error:
        raise DeliveryError(f"{server} said: {_said(error)}; what was stored by then is stored") from None
    except TimeoutError:
        raise DeliveryError(f"{server} gave no answer in {settings.timeout.total_seconds():g} s") from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it closed the connection"
        raise DeliveryError(
            f"cannot go on with {server}: {reason}; what was stored by then is stored"
        ) from None
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        # imaplib trips over answers that are no IMAP in many ways.
        raise DeliveryError(f"{server} gave an answer that cannot be read ({error})") from None


def _said(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    return " ".join(text.removeprefix("b'").removesuffix("'").split())[:200] or "nothing"
