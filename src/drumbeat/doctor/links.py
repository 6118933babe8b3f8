"""The check of the links: whether readers reach what mails lead to, and can leave with one click. RFC 8058."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from drumbeat.doctor.findings import Finding, Reporter
from drumbeat.doctor.setup import Setup, is_address, is_public, organisation

SAYS = Reporter("links")


def links(setup: Setup) -> Iterator[Finding]:
    """Whether the address that links lead to works, above all for unsubscribing with one click.

    Looked at is `tracking.base_url`: that it is https, without which mail programs offer no one-click button;
    that its host is in the DNS and not on this machine only; that it belongs to a sender's domain, since links
    into a foreign one cost trust; that `drumbeat serve` answers there, with a certificate that is trusted.
    """
    url = setup.project.config.tracking.base_url
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        yield SAYS.fail(url, f"is no web address: {error}", "Correct tracking.base_url.")
        return
    if not url.isascii():
        yield SAYS.fail(
            url,
            "has letters beyond ASCII, which no mail's header can have",
            "Write its name as the DNS has it (xn--...).",
        )
        return
    if parts.scheme != "https":
        yield SAYS.fail(
            url,
            "is not https: mail programs offer no one-click unsubscribe, which Gmail and Yahoo ask for",
            "Put a web server with TLS before `drumbeat serve` and set tracking.base_url to it.",
        )
    if host == "localhost" or (is_address(host) and not is_public(host)):
        yield SAYS.fail(
            url,
            "leads to this machine or network, where no reader is",
            "Set tracking.base_url to a public name.",
        )
        if parts.scheme != "https":
            return
    found = [host] if is_address(host) else setup.dns.addresses(host)
    if not found and host == "localhost":
        found = ["127.0.0.1"]
    if not found:
        yield SAYS.fail(url, f"{host} has no address: every link is dead", f"Publish an address for {host}.")
        return
    ours = {organisation(identity.from_domain) for identity in setup.identities}
    if not is_address(host) and host != "localhost" and organisation(host) not in ours:
        yield SAYS.warn(
            url,
            f"is in another domain than the senders' ({', '.join(sorted(ours))})",
            f"Use a name under your own, such as click.{sorted(ours)[0]}."
            if ours
            else "Use a name of your own.",
        )
    yield _answer(setup, url, found[0], port)


def _answer(setup: Setup, url: str, address: str, port: int) -> Finding:
    """Ask `drumbeat serve` whether it is well; the host's address comes from the resolver in use."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        with socket.create_connection((address, port), setup.timeout) as plain:
            wire: socket.socket = plain
            if parts.scheme == "https":
                wire = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            with wire:
                connection = http.client.HTTPConnection(host, port, timeout=setup.timeout)
                connection.sock = wire
                connection.request("GET", f"{parts.path.rstrip('/')}/health", headers={"Host": parts.netloc})
                status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        return SAYS.fail(
            url,
            f"its certificate is not trusted: {error.verify_message}",
            "Renew it; mail programs do not post to an address they cannot trust.",
        )
    except (OSError, http.client.HTTPException, ValueError) as error:
        words = "no answer in time" if isinstance(error, TimeoutError) else _words(error)
        return SAYS.warn(
            url, f"nothing answers there now: {words}", "Start `drumbeat serve` and what stands before it."
        )
    if status != http.client.OK:
        return SAYS.warn(
            url,
            f"/health answers {status}; expected `drumbeat serve` with 200",
            "Let the web server pass every path on to `drumbeat serve`.",
        )
    return SAYS.ok(url, "`drumbeat serve` answers there" + (", over TLS" if parts.scheme == "https" else ""))


def _words(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
