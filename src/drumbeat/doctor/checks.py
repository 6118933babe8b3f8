"""The checks, in the order in which they are shown, and how all of them are run. Listed by hand.

A new check is a function in a file of its own theme and a line here; its docstring is its manual entry
(`drumbeat doctor --explain NAME`, docs/doctor.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from drumbeat.doctor.bulk import bulk
from drumbeat.doctor.dkim import dkim
from drumbeat.doctor.dmarc import dmarc
from drumbeat.doctor.dns import NoDnsAnswerError, SilenceError, as_far_as_answered
from drumbeat.doctor.findings import TITLES, Finding, Reporter
from drumbeat.doctor.links import links
from drumbeat.doctor.mails import size, unsubscribe
from drumbeat.doctor.mx import mx
from drumbeat.doctor.ptr import ptr
from drumbeat.doctor.setup import Setup
from drumbeat.doctor.spf import spf
from drumbeat.doctor.tls import tls


@dataclass(frozen=True)
class Check:
    """A check: `asks_dns` says that it cannot be made without a resolver."""

    name: str
    asks_dns: bool
    run: Callable[[Setup], Iterable[Finding]]


CHECKS: Sequence[Check] = (
    Check("spf", True, spf),
    Check("dkim", True, dkim),
    Check("dmarc", True, dmarc),
    Check("mx", True, mx),
    Check("ptr", True, ptr),
    Check("tls", False, tls),
    Check("links", True, links),
    Check("unsubscribe", False, unsubscribe),
    Check("size", False, size),
)
"""Each is told about the setup alone; `bulk` comes after them and sums them up."""

MANUAL: Mapping[str, str] = {
    **{check.name: check.run.__doc__ or "" for check in CHECKS},
    "bulk": bulk.__doc__ or "",
}
"""The manual entry of each check."""

_RESOLVER = Reporter("resolver")


def examine(
    setup: Setup, progress: Callable[[str], None] = lambda _title: None, only: Collection[str] = ()
) -> list[Finding]:
    """Make every check, or those named in `only`, and return what they found, in the order of the table.

    `progress` gets each title. A resolver that does not answer at all costs one time-out: what asks the DNS is left out then.
    """
    identities = setup.identities
    findings = list(setup.faults)
    reachable = True
    if identities:
        progress(TITLES["resolver"])
        silence = _asked(setup, identities[0].from_domain)
        findings += silence
        reachable = not silence
    for check in CHECKS:
        left_out = only and check.name not in only
        if not identities or left_out or (check.asks_dns and not reachable):
            continue
        progress(TITLES[check.name])
        findings += as_far_as_answered(Reporter(check.name), "DNS", check.run(setup))
    if identities and reachable and not only:
        findings += bulk(findings)
    order = list(TITLES)
    # Senders that share a domain have its findings in common.
    return sorted(dict.fromkeys(findings), key=lambda finding: order.index(finding.check))


def _asked(setup: Setup, domain: str) -> list[Finding]:
    """Ask one question; return a finding where the resolver is silent."""
    try:
        setup.dns.txt(domain)
    except SilenceError as error:
        left_out = ", ".join(TITLES[check.name] for check in CHECKS if check.asks_dns)
        return [
            _RESOLVER.fail(
                setup.dns.name,
                f"{error}; not looked at: {left_out}",
                "Name a resolver that answers: --resolver 9.9.9.9",
            )
        ]
    except NoDnsAnswerError:
        pass  # about this name alone; the checks tell it
    return []
