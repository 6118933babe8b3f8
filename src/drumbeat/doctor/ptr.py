"""The check of reverse DNS: whether a sending address has a name that leads back to it. RFC 1912, 2.1."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from drumbeat.doctor.dns import as_far_as_answered
from drumbeat.doctor.findings import Finding, Reporter
from drumbeat.doctor.setup import Setup

SAYS = Reporter("ptr")


def ptr(setup: Setup) -> Iterator[Finding]:
    """Whether each address that mails leave from has a name, and the name leads back to it.

    Gmail and others refuse mail from addresses without such a pair (PTR and A or AAAA, "forward-confirmed").
    Looked at are: the names of each address (`--ip`, else the addresses of mail servers inside the sender's
    domain); that one of them has that address; that it is no name that a provider gave to all its addresses;
    and that the name which the mail server greets with belongs to one of them too.
    """
    if setup.provider is not None and not setup.addresses:
        yield SAYS.note(
            setup.provider.title, "sends from its own addresses, whose reverse DNS is its business"
        )
        return
    for source in setup.sources:
        yield from as_far_as_answered(SAYS, source, _address(setup, source))
    if setup.sources:
        yield from _greetings(setup)


def _address(setup: Setup, source: str) -> Iterator[Finding]:
    names = setup.dns.names_of(source)
    confirmed = [name for name in names if _same(setup, name, source)]
    if not names:
        yield SAYS.fail(
            source,
            "has no name (no PTR record)",
            "Ask whoever gave you the address to set its reverse DNS to your mail server's name.",
        )
    elif not confirmed:
        yield SAYS.fail(
            source,
            f"its name {names[0]} does not lead back to it",
            f"Publish an address record for {names[0]} with {source}, or change the PTR record.",
        )
    elif _generic(confirmed[0], source):
        yield SAYS.warn(
            source,
            f"its name {confirmed[0]} is made of the address, as dial-up lines have it",
            "Set its reverse DNS to your mail server's name.",
        )
    else:
        yield SAYS.ok(source, f"is {confirmed[0]} and back")


def _greetings(setup: Setup) -> Iterator[Finding]:
    for server in setup.servers:
        name = setup.probes[server.name].name
        if not name:
            continue
        leads = setup.dns.addresses(name) if "." in name else []
        if set(leads) & set(setup.sources):
            yield SAYS.ok(server.name, f"greets as {name}, which is a sending address")
        else:
            where = f"leads to {', '.join(leads)}" if leads else "has no address"
            yield SAYS.warn(
                server.name,
                f"greets as {name}, which {where}",
                "Let the mail server greet the world with the name of its sending address.",
            )


def _same(setup: Setup, name: str, source: str) -> bool:
    kind = "AAAA" if ":" in source else "A"
    found = setup.dns.addresses(name, [kind])
    return any(ipaddress.ip_address(one) == ipaddress.ip_address(source) for one in found)


def _generic(name: str, source: str) -> bool:
    """Say whether a name is made of the address's numbers: 192-0-2-10.static.example.net."""
    if ":" in source:
        return False
    numbers = re.findall(r"\d+", name)
    octets = source.split(".")
    joined = ".".join(numbers)
    return ".".join(octets) in joined or ".".join(reversed(octets)) in joined
