"""The check of the mail server: reachable, encrypted, with a certificate that holds. RFC 3207, RFC 8314."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from drumbeat.delivery.smtp_settings import is_loopback
from drumbeat.doctor.findings import Finding, Reporter
from drumbeat.doctor.probe import Probe
from drumbeat.doctor.setup import Setup

if TYPE_CHECKING:
    from drumbeat.delivery.smtp_settings import SmtpHost

SAYS = Reporter("tls")
SOON = 14
"""Days before its end at which a certificate is worth a warning."""


def tls(setup: Setup) -> Iterator[Finding]:
    """Whether the mail servers of `delivery.smtp` can be reached, and reached safely.

    Each is connected to, greeted, and left again; nothing is sent. Looked at are: that it answers; that it offers
    the encryption that project.yaml asks for; that its certificate is trusted, is for that host, and is not about
    to end; which version of TLS is spoken; that the login's variables are set and a login is offered.
    """
    for server in setup.servers:
        probe = setup.probes[server.name]
        if probe.trouble is not None:
            yield SAYS.fail(
                server.name, f"cannot be used: {probe.trouble}", "Check delivery.smtp, and that it runs."
            )
            continue
        yield from _encryption(server, probe, setup.now)
        yield from _login(server, probe)


def _encryption(server: SmtpHost, probe: Probe, now: datetime) -> Iterator[Finding]:
    near = is_loopback(server.host)
    if probe.tls_trouble is not None:
        used = server.tls != "none"
        finding = SAYS.fail if used else SAYS.warn
        yield finding(
            server.name,
            f"cannot be encrypted: {probe.tls_trouble}",
            "Renew its certificate, connect by the name in it, or give its CA as ca_file.",
        )
    elif probe.tls is None and server.tls == "starttls":
        yield SAYS.fail(
            server.name,
            "offers no STARTTLS, which project.yaml asks for",
            "Check port and tls of delivery.smtp.",
        )
    elif probe.tls is None and near:
        yield SAYS.ok(server.name, "answers; on this machine, so nothing need be encrypted")
    elif probe.tls is None:
        yield SAYS.warn(
            server.name, "mails travel in the clear; it offers no STARTTLS", "Set TLS up on the mail server."
        )
    elif server.tls == "none" and not near:
        yield SAYS.warn(
            server.name,
            f"mails travel in the clear, though it offers {probe.tls}",
            "Set delivery.smtp.tls: starttls",
        )
    else:
        yield _certificate(server, probe, now)


def _certificate(server: SmtpHost, probe: Probe, now: datetime) -> Finding:
    version = (probe.tls or "").replace("TLSv", "TLS ")
    if probe.expires is None:
        return SAYS.ok(server.name, f"{version}, certificate trusted")
    days = (probe.expires - now).days
    found = f"{version}, certificate trusted for {days} more day{'' if days == 1 else 's'}"
    if days < SOON:
        return SAYS.warn(server.name, found, "Renew the certificate, and let a program do it from now on.")
    return SAYS.ok(server.name, found)


def _login(server: SmtpHost, probe: Probe) -> Iterator[Finding]:
    if server.username_env is None:
        return
    names = (server.username_env, server.password_env, server.token_env)
    lacking = [name for name in names if name and not os.environ.get(name)]
    if lacking:
        yield SAYS.fail(
            server.name,
            f"the login's {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not set here",
            "Set the variable where mails are delivered.",
        )
    elif "AUTH" not in probe.offers:
        yield SAYS.fail(
            server.name, "offers no login, and project.yaml has one", "Check port and tls of delivery.smtp."
        )
