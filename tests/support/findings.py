"""Findings of the doctor as lines that tests search."""

from __future__ import annotations

from collections.abc import Iterable

from drumbeat.doctor.findings import Finding, Level


def told(findings: Iterable[Finding], level: Level) -> str:
    """Return what was found and advised at a level, a line each."""
    return "\n".join(f"{f.about}: {f.found} -> {f.advice}" for f in findings if f.level is level)
