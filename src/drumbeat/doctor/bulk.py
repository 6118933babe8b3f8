"""The check of the bulk-sender rules: what mailbox providers ask of whoever sends them 5,000 mails a day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drumbeat.doctor.findings import TITLES, Finding, Level, Reporter

SAYS = Reporter("bulk")

_ASKED = {
    "Gmail": (
        ("spf", "dkim", "dmarc", "ptr", "unsubscribe", "links"),
        "https://support.google.com/a/answer/81126",
    ),
    "Yahoo": (
        ("spf", "dkim", "dmarc", "ptr", "unsubscribe", "links"),
        "https://senders.yahooinc.com/best-practices/",
    ),
    "Outlook.com": (("spf", "dkim", "dmarc"), "https://sendersupport.olc.protection.outlook.com/pm/"),
}
"""Which of the checks each provider's rules are about, and where they stand (November 2026)."""


def bulk(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Whether the rules for bulk senders are met, as far as can be seen from here.

    Gmail and Yahoo (since February 2024) and Outlook.com (since May 2025) ask whoever sends them 5,000 mails a day
    or more for SPF and DKIM, DMARC that agrees with the From domain, and, Gmail and Yahoo, reverse DNS and
    one-click unsubscribe that is honoured within two days. This sums the other checks up. What cannot be seen from
    here is the share of readers who report mails as spam: under 0.1 % is well, 0.3 % gets mails refused.
    """
    for provider, (checks, docs) in _ASKED.items():
        broken = [name for name in checks if _worst(findings, name) is Level.FAIL]
        open_ = [name for name in checks if _worst(findings, name) in (Level.WARN, None)]
        if broken:
            yield SAYS.warn(
                provider, f"not met: {_list(broken)}", f"Mend these before you send 5,000 a day. {docs}"
            )
        elif open_:
            yield SAYS.note(provider, f"met as far as seen; look at {_list(open_)}", docs)
        else:
            yield SAYS.ok(provider, "met, as far as can be seen from here")
    yield SAYS.note(
        "spam rate",
        "cannot be seen from here: keep it under 0.1 %, never at 0.3 %",
        "Watch it at https://postmaster.google.com and https://sendersupport.olc.protection.outlook.com/snds/",
    )


def _worst(findings: Sequence[Finding], check: str) -> Level | None:
    """Return the worst level of a check's findings; None where nothing was looked at."""
    found = [f.level for f in findings if f.check == check]
    order = [Level.FAIL, Level.WARN, Level.OK]
    return next((level for level in order if level in found), None)


def _list(names: Sequence[str]) -> str:
    return ", ".join(TITLES[name] for name in names)
