"""The check of MX: whether bounces and replies can come back. RFC 5321, 5.1; RFC 7505."""

from __future__ import annotations

from collections.abc import Iterator

from drumbeat.doctor.dns import as_far_as_answered
from drumbeat.doctor.findings import Finding, Reporter
from drumbeat.doctor.setup import Setup, is_address
from drumbeat.errors import InputError
from drumbeat.rendering.headers import address

SAYS = Reporter("mx")


def mx(setup: Setup) -> Iterator[Finding]:
    """Whether bounces and answers can come back.

    Looked up are the mail servers (MX) of the domains in the return path and in the From and Reply-To addresses:
    many receivers refuse mail from a domain that takes none. Looked at are: that there is an MX record; that it
    does not say `no mail here` (a lone dot); that each server is a name with an address, and no alias.
    """
    uses: dict[str, list[str]] = {}
    for identity in setup.identities:
        if not setup.through_api:
            uses.setdefault(identity.return_path, []).append("bounces")
        uses.setdefault(identity.from_domain, []).append("answers")
        try:
            reply_to = address(identity.sender.reply_to) if identity.sender.reply_to else ""
        except InputError as error:
            yield SAYS.fail(identity.name, str(error), f"Correct senders.{identity.name}.reply_to.")
            continue
        if reply_to:
            uses.setdefault(reply_to.rpartition("@")[2].lower(), []).append("answers")
    for domain, purposes in uses.items():
        purpose = " and ".join(sorted(set(purposes), reverse=True))
        yield from as_far_as_answered(SAYS, domain, _domain(setup, domain, purpose))


def _domain(setup: Setup, domain: str, purpose: str) -> Iterator[Finding]:
    found = setup.dns.mx(domain)
    if not found:
        if setup.dns.addresses(domain):
            yield SAYS.warn(
                domain,
                "no MX record; some servers try the domain's own address, others do not",
                f"Publish an MX record for {domain}.",
            )
            return
        yield SAYS.fail(
            domain,
            f"takes no mail (no MX, no address): {purpose} are lost",
            f"Publish an MX record for {domain}.",
        )
        return
    if any(host == "." for _, host in found):
        yield SAYS.fail(
            domain,
            f"says that it takes no mail (MX 0 .): {purpose} are lost",
            "Name a mail server instead.",
        )
        return
    working = []
    for _, host in found:
        if is_address(host):
            yield SAYS.fail(domain, f"its MX is the address {host}", "An MX record holds a name (RFC 1035).")
        elif not setup.dns.addresses(host):
            yield SAYS.fail(domain, f"its mail server {host} has no address", "Correct the MX record.")
        else:
            working.append(host)
            if (target := setup.dns.alias(host)) is not None:
                yield SAYS.warn(
                    domain,
                    f"its mail server {host} is an alias of {target}",
                    f"Name {target} itself (RFC 2181, 10.3).",
                )
    if working:
        yield SAYS.ok(domain, f"{purpose} go to {', '.join(working)}")
