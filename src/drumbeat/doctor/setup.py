"""What is examined: the senders of a project, the way its mails take, and the means to look at them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from drumbeat.doctor.dns import Dns
from drumbeat.doctor.findings import Finding, Reporter
from drumbeat.doctor.probe import Probe, probe
from drumbeat.doctor.providers import PROVIDERS, Provider, provider_of
from drumbeat.errors import InputError, UsageError
from drumbeat.issues import nearest
from drumbeat.rendering.headers import address, domain_in_ascii

if TYPE_CHECKING:
    from drumbeat.delivery.smtp_settings import SmtpHost
    from drumbeat.project.load import Project
    from drumbeat.project.models import Sender

CONNECT_S = 8.0
"""Seconds for connecting to a server, and for each of its answers."""
_SECOND_LEVEL = frozenset({"ac", "co", "com", "edu", "gov", "gob", "ne", "net", "or", "org"})


@dataclass(frozen=True)
class Identity:
    """A sender as mail servers see it; domains in ASCII and small letters.

    `signs`: the signing domain and the selectors to look for, ours or those of whoever signs for us.
    """

    name: str
    sender: Sender
    from_domain: str
    return_path: str
    signs: str
    selectors: tuple[str, ...]


@dataclass
class Setup:
    """Everything that checks look at. `now`: aware. `addresses`: the IP addresses that mails leave from, as far
    as the user named them; `selectors`: DKIM selectors that the user named."""

    project: Project
    dns: Dns
    now: datetime
    addresses: tuple[str, ...] = ()
    selectors: tuple[str, ...] = ()
    only: str | None = None
    timeout: float = CONNECT_S
    faults: list[Finding] = field(default_factory=list)

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        """Return the senders, or the one that was asked for. Raises UsageError where that is unknown.

        A sender whose address is none is a fault instead.
        """
        senders = self.project.config.senders
        if self.only is not None and self.only not in senders:
            raise UsageError(f"unknown sender '{self.only}'. {nearest(self.only, senders)}")
        found = []
        for name, sender in senders.items():
            if self.only in (None, name):
                try:
                    found.append(self._identity(name, sender))
                except InputError as error:
                    wrong = Reporter("senders").fail(
                        name, str(error), f"Correct senders.{name} in project.yaml."
                    )
                    self.faults.append(wrong)
        return tuple(found)

    def _identity(self, name: str, sender: Sender) -> Identity:
        from_domain = address(sender.address).rpartition("@")[2].lower()
        bounces = sender.bounces or sender.address
        known = self.provider.selectors if self.provider else ()
        signs = from_domain
        selectors = self.selectors or known
        if sender.dkim is not None:
            signs = domain_in_ascii(sender.dkim.domain or from_domain).lower()
            selectors = (sender.dkim.selector,)
        return Identity(
            name, sender, from_domain, address(bounces).rpartition("@")[2].lower(), signs, selectors
        )

    @cached_property
    def servers(self) -> tuple[SmtpHost, ...]:
        """Return the mail servers that we hand over to; none with another backend."""
        delivery = self.project.config.delivery
        return delivery.smtp.hosts if delivery.backend == "smtp" else ()

    @cached_property
    def provider(self) -> Provider | None:
        """Return the provider that mails go through, by its API or its mail server."""
        by_api = PROVIDERS.get(self.project.config.delivery.backend)
        return by_api or next((one for one in (provider_of(s.host) for s in self.servers) if one), None)

    @cached_property
    def through_api(self) -> bool:
        """Say whether a provider sends by its API, so that the envelope is its own."""
        return self.project.config.delivery.backend in PROVIDERS

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Return the IP addresses that receivers see our mails come from: those named, else our servers' own.

        A server counts as ours when its name is inside a sender's domain. Raises NoDnsAnswerError.
        """
        if self.addresses:
            return self.addresses
        ours = {organisation(d) for one in self.identities for d in (one.from_domain, one.return_path)}
        found: list[str] = []
        for server in self.servers:
            if is_address(server.host):
                found += [server.host] if is_public(server.host) else []
            elif organisation(server.host.lower()) in ours:
                found += [one for one in self.dns.addresses(server.host) if is_public(one)]
        return tuple(dict.fromkeys(found))

    @cached_property
    def probes(self) -> dict[str, Probe]:
        """Return what each mail server said when it was connected to, by `host:port`."""
        root = self.project.root
        return {server.name: probe(server, root, timeout=self.timeout) for server in self.servers}


def by_domain(identities: Sequence[Identity], attribute: str) -> dict[str, list[Identity]]:
    """Return the senders by one of their domains, so that each domain is examined once."""
    found: dict[str, list[Identity]] = {}
    for identity in identities:
        found.setdefault(getattr(identity, attribute), []).append(identity)
    return found


def organisation(domain: str) -> str:
    """Return what is most likely the organisation's domain, for advice: two labels, or three under `co.uk`."""
    labels = domain.rstrip(".").split(".")
    wide = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    return ".".join(labels[-3 if wide else -2 :])


def read_address(text: str) -> str:
    """Return an IP address of `--ip`. Raises UsageError."""
    if not is_address(text.strip()):
        raise UsageError(f"'{text}' is no IP address; expected for example 192.0.2.10 or 2001:db8::10")
    return str(ipaddress.ip_address(text.strip()))


def is_address(host: str) -> bool:
    """Say whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Say whether receivers on the internet can see mails come from an IP address."""
    found = ipaddress.ip_address(address)
    return not (found.is_loopback or found.is_private or found.is_link_local) or _documented(found)


def _documented(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Say whether an address is one of examples (RFC 5737, RFC 3849), which Python counts as private."""
    return any(address in network for network in _EXAMPLES if network.version == address.version)


_EXAMPLES = [
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
