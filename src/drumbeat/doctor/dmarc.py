"""The check of DMARC: whether SPF and DKIM speak for the domain that readers see. RFC 9989, before RFC 7489."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drumbeat.doctor.dmarc_record import Dmarc, organisational, policy_for, walk
from drumbeat.doctor.dns import as_far_as_answered
from drumbeat.doctor.findings import Finding, Level, Reporter
from drumbeat.doctor.setup import Identity, Setup, by_domain, organisation

SAYS = Reporter("dmarc")
_SHOWN = 100


def dmarc(setup: Setup) -> Iterator[Finding]:
    """Whether receivers know what to do with mails that only claim to be ours, and ours pass.

    The TXT record `_dmarc.DOMAIN` of the From header's domain counts, or of its organisation's domain. Looked at
    are: that there is one record and only one; its policy `p=` (`none` is enough for Gmail, Yahoo and Microsoft,
    `quarantine` or `reject` protects); that somebody gets the reports (`rua=`) and may get them; `pct=`, which
    RFC 9989 abolished. A mail passes when the From domain agrees with the signing domain of DKIM or with the
    return path's domain: the same organisation, or the same domain where `adkim=s` or `aspf=s` says so.
    """
    for domain, identities in by_domain(setup.identities, "from_domain").items():
        yield from as_far_as_answered(SAYS, domain, _domain(setup, domain, identities))


def _domain(setup: Setup, domain: str, identities: Sequence[Identity]) -> Iterator[Finding]:
    found = walk(setup.dns, domain)
    for name in found.doubled:
        yield SAYS.fail(
            name, "several DMARC records; receivers then use none", f"Leave one at _dmarc.{name}."
        )
    record = policy_for(found, domain, organisational(setup.dns, domain))
    if record is None:
        if not found.doubled:
            at = organisation(domain)
            yield SAYS.fail(
                domain,
                "no DMARC record, here or above",
                f'Publish at _dmarc.{at}: TXT "v=DMARC1; p=none; rua=mailto:dmarc@{at}"',
            )
        return
    yield _policy(domain, record)
    yield from _reports(setup, domain, record)
    if record.tags.get("pct", "100") != "100":
        yield SAYS.warn(
            domain,
            f"pct={record.tags['pct']}: only a part of the mails, and new receivers ignore it",
            "Remove pct=; to try a policy out, write t=y.",
        )
    for identity in identities:
        yield from _alignment(setup, identity, record)


def _policy(domain: str, record: Dmarc) -> Finding:
    shown = record.text if len(record.text) <= _SHOWN else f"{record.text[:_SHOWN]}..."
    where = shown if record.domain == domain else f"{shown} (at {record.domain})"
    tag = "p"
    if record.domain != domain and "sp" in record.tags:
        tag = "sp"
    policy = record.tags.get(tag, "none").lower()
    if policy not in ("none", "quarantine", "reject"):
        return SAYS.fail(domain, f"{tag}={policy} is no policy: {where}", "Write none, quarantine or reject.")
    if policy == "none":
        return SAYS.ok(
            domain, where, "When the reports show that all your mail passes: p=quarantine, then p=reject."
        )
    return SAYS.ok(domain, where)


def _reports(setup: Setup, domain: str, record: Dmarc) -> Iterator[Finding]:
    uris = [uri.strip() for uri in record.tags.get("rua", "").split(",") if uri.strip()]
    mailboxes = [uri[len("mailto:") :].partition("!")[0] for uri in uris if uri.lower().startswith("mailto:")]
    mailboxes = [mailbox for mailbox in mailboxes if mailbox.rpartition("@")[0]]
    if not mailboxes:
        found = f"rua={uris[0]} is no mailto: address" if uris else "nobody gets reports (no rua=)"
        yield SAYS.warn(
            domain,
            found,
            f"Add rua=mailto:dmarc@{record.domain}: the reports show who sends in your name.",
        )
        return
    ours = organisational(setup.dns, record.domain)
    for mailbox in mailboxes:
        theirs = mailbox.rpartition("@")[2].lower().rstrip(".")
        if organisational(setup.dns, theirs) == ours or organisation(theirs) == organisation(record.domain):
            continue
        # RFC 7489, 7.1: who gets reports about another's domain must agree to it.
        consent = f"{record.domain}._report._dmarc.{theirs}"
        if not any(text.lower().startswith("v=dmarc1") for text in setup.dns.txt(consent)):
            yield SAYS.warn(
                domain,
                f"reports to {mailbox} are not sent: {theirs} has not agreed to take them",
                f'Whoever runs {theirs} must publish {consent}: TXT "v=DMARC1"',
            )


def _alignment(setup: Setup, identity: Identity, record: Dmarc) -> Iterator[Finding]:
    signing = f"DKIM ({identity.signs})"
    path = f"SPF ({identity.return_path})"
    signed = identity.sender.dkim is not None or bool(identity.selectors)
    by_dkim = signed and _aligned(setup, identity.from_domain, identity.signs, strict=record.strict("adkim"))
    # Through a provider's API the return path is the provider's own, and ours says nothing.
    by_spf = not setup.through_api and _aligned(
        setup, identity.from_domain, identity.return_path, strict=record.strict("aspf")
    )
    passing = [name for name, passes in ((signing, by_dkim), (path, by_spf)) if passes]
    failing = [name for name, passes in ((signing, by_dkim), (path, by_spf)) if not passes]
    about = identity.from_domain
    if len(passing) == 2:
        yield SAYS.ok(about, f"agrees with {signing} and {path}")
    elif passing == [signing]:
        yield SAYS.ok(about, f"agrees with {signing}" + ("" if setup.through_api else f", not with {path}"))
    elif passing:
        yield SAYS.warn(
            about,
            f"agrees with {passing[0]} alone; forwarded mails will fail",
            f"Sign with DKIM for {about} or its organisation's domain.",
        )
    else:
        level = Level.FAIL if signed else Level.WARN
        yield SAYS.finding(
            level,
            about,
            f"agrees with neither {' nor '.join(failing)}: DMARC fails",
            f"Sign with a domain under {organisation(about)}, or let bounces go to one.",
        )


def _aligned(setup: Setup, one: str, other: str, *, strict: bool) -> bool:
    if one == other or strict:
        return one == other
    return organisational(setup.dns, one) == organisational(setup.dns, other)
