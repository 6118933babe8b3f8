"""A finding: one thing that was looked at, how it stands, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

TITLES: Mapping[str, str] = {
    "senders": "Senders",
    "resolver": "Resolver",
    "spf": "SPF",
    "dkim": "DKIM",
    "dmarc": "DMARC",
    "mx": "Bounces and answers (MX)",
    "ptr": "Reverse DNS (PTR)",
    "tls": "Mail server",
    "links": "Links",
    "unsubscribe": "Unsubscribe",
    "size": "Size",
    "bulk": "5,000 mails a day and more",
}
"""What each check is called, in the order in which they are shown."""


class Level(StrEnum):
    """How it stands. NOTE: not looked at, or nothing to judge; the rest in rising order of harm."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found out.

    `check`: the check's name. `about`: the domain, address, server or template. `found`: one line, what is
    there. `advice`: one line, what to do; empty where nothing is to be done.
    """

    check: str
    about: str
    level: Level
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes the findings of one check, which bear its name."""

    check: str

    def ok(self, about: str, found: str, advice: str = "") -> Finding:
        """Return that it is as it should be."""
        return self.finding(Level.OK, about, found, advice)

    def note(self, about: str, found: str, advice: str = "") -> Finding:
        """Return what is neither good nor bad."""
        return self.finding(Level.NOTE, about, found, advice)

    def warn(self, about: str, found: str, advice: str) -> Finding:
        """Return what works but does harm, or may."""
        return self.finding(Level.WARN, about, found, advice)

    def fail(self, about: str, found: str, advice: str) -> Finding:
        """Return what gets mails refused or lost."""
        return self.finding(Level.FAIL, about, found, advice)

    def finding(self, level: Level, about: str, found: str, advice: str) -> Finding:
        """Return a finding in one line of letters: what strangers publish goes to a terminal here."""
        return Finding(self.check, _shown(about), level, _shown(found), _shown(advice))


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else f"\\x{ord(c):02x}" for c in text)
