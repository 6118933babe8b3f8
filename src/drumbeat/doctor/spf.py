"""The check of SPF: which servers may send for the domain of the return path. RFC 7208."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from drumbeat.doctor.dns import as_far_as_answered
from drumbeat.doctor.findings import Finding, Reporter
from drumbeat.doctor.providers import Provider
from drumbeat.doctor.setup import Setup, by_domain
from drumbeat.doctor.spf_evaluate import MOST_LOOKUPS, MOST_VOID, Walk, check_host
from drumbeat.doctor.spf_record import is_spf, parse_spf

SAYS = Reporter("spf")
_SHOWN = 100
"""Characters of a record that are shown."""


def spf(setup: Setup) -> Iterator[Finding]:
    """Whether the servers that send our mails are allowed to.

    Receivers look up the TXT record `v=spf1 ...` of the domain in the return path (`senders.NAME.bounces`, else
    the sender's address), not that of the From header. Looked at are: that there is one record and only one; its
    syntax; the ten DNS lookups and two empty ones a receiver makes at most, counted over all includes; how it
    ends, `~all` or `-all` being right; whether it allows each address that our mails leave from (`--ip`, else the
    addresses of mail servers inside the sender's domain); whether it includes the provider that sends for us.
    """
    for domain in by_domain(setup.identities, "return_path"):
        yield from as_far_as_answered(SAYS, domain, _domain(setup, domain))


def _domain(setup: Setup, domain: str) -> Iterator[Finding]:
    records = [text for text in setup.dns.txt(domain) if is_spf(text)]
    if not records:
        yield _missing(setup, domain)
        return
    if len(records) > 1:
        yield SAYS.fail(
            domain,
            f"{len(records)} SPF records; receivers then use none of them",
            "Merge them into one that starts with v=spf1.",
        )
        return
    walk = check_host(setup.dns, domain, None)
    if walk.problem:
        yield SAYS.fail(domain, f"cannot be used: {walk.problem}", "Correct the record.")
        return
    shown = records[0] if len(records[0]) <= _SHOWN else f"{records[0][:_SHOWN]}..."
    yield SAYS.ok(domain, shown)
    yield from _limits(domain, walk)
    yield from _end(domain, records[0], walk)
    yield from _allowed(setup, domain)
    if setup.provider is not None:
        yield from _provider(setup, setup.provider, domain, walk)


def _missing(setup: Setup, domain: str) -> Finding:
    provider = setup.provider
    if setup.through_api and provider is not None:
        return SAYS.note(
            domain,
            f"no SPF record; {provider.title} sends with a return path of its own unless you set one up",
            f"For SPF to count for your domain, set up its return path: {provider.docs}",
        )
    terms = [f"ip{ipaddress.ip_address(one).version}:{one}" for one in setup.sources]
    terms += [f"include:{provider.includes[0]}"] if provider else []
    record = " ".join(["v=spf1", *(terms or ["mx"]), "~all"])
    return SAYS.fail(domain, "no SPF record", f'Publish at {domain}: TXT "{record}"')


def _limits(domain: str, walk: Walk) -> Iterator[Finding]:
    lookups = f"{walk.lookups} of {MOST_LOOKUPS} DNS lookups"
    if walk.lookups > MOST_LOOKUPS:
        yield SAYS.fail(
            domain,
            f"{walk.lookups} DNS lookups; receivers give up after {MOST_LOOKUPS}",
            "Remove includes that are no longer used, or list addresses as ip4: and ip6:.",
        )
    elif walk.lookups > MOST_LOOKUPS - 2:
        yield SAYS.warn(
            domain, lookups, "An include that grows will break it; remove those that are no longer used."
        )
    else:
        yield SAYS.ok(domain, lookups)
    if walk.void > MOST_VOID:
        yield SAYS.fail(
            domain,
            f"{walk.void} lookups find nothing; receivers give up after {MOST_VOID}",
            "Remove the a:, mx: and exists: terms whose names no longer exist.",
        )
    if walk.uses_ptr:
        yield SAYS.warn(
            domain, "uses ptr, which some receivers ignore", "Replace ptr by ip4: or a: (RFC 7208, 5.5)."
        )


def _end(domain: str, record: str, walk: Walk) -> Iterator[Finding]:
    if walk.result == "pass":
        yield SAYS.fail(
            domain, "lets the whole world send (+all)", "End the record with ~all or -all, its includes too."
        )
    elif walk.result == "neutral":
        ends = "ends with ?all" if walk.by else "has no all at its end"
        yield SAYS.warn(domain, f"{ends}: says nothing about other servers", "End it with ~all or -all.")
    read = parse_spf(record)
    for term in read.misspelt:
        yield SAYS.warn(domain, f"'{term}' is ignored", f"Write {term.replace('=', ':', 1)}.")
    names = [mechanism.name for mechanism in read.mechanisms]
    behind = read.mechanisms[names.index("all") + 1 :] if "all" in names else ()
    if behind:
        yield SAYS.warn(domain, f"'{behind[0]}' stands behind all and is never read", "Move it before all.")


def _allowed(setup: Setup, domain: str) -> Iterator[Finding]:
    sources = setup.sources
    for source in sources:
        walk = check_host(setup.dns, domain, ipaddress.ip_address(source))
        if walk.result == "pass":
            yield SAYS.ok(domain, f"{source} may send ({' > '.join(walk.by)})")
        else:
            reason = walk.problem or f"{walk.result} by {' > '.join(walk.by) or 'nothing that fits'}"
            yield SAYS.fail(
                domain,
                f"{source} may not send: {reason}",
                f"Add ip{ipaddress.ip_address(source).version}:{source} to the record.",
            )
    if not sources and setup.servers and setup.provider is None:
        names = ", ".join(server.name for server in setup.servers)
        yield SAYS.note(
            domain,
            f"which address {names} sends from to the world cannot be seen from here",
            "Name it to have SPF and its reverse DNS checked: --ip ADDRESS",
        )


def _provider(setup: Setup, provider: Provider, domain: str, walk: Walk) -> Iterator[Finding]:
    included = {one.lower().rstrip(".") for one in walk.included}
    if found := next((one for one in provider.includes if one in included), None):
        yield SAYS.ok(domain, f"includes {provider.title} ({found})")
    elif setup.through_api:
        yield SAYS.note(
            domain,
            f"does not include {provider.title}, which is right as long as its return path is its own",
            f"To send with a return path of yours, follow {provider.docs}",
        )
    else:
        yield SAYS.fail(
            domain,
            f"does not include {provider.title}, whose server sends with this return path",
            f"Add include:{provider.includes[0]} to the record ({provider.docs})",
        )
