"""The findings for people: a table by check, what to do below what was found, and a sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from drumbeat.doctor.findings import TITLES, Finding, Level

if TYPE_CHECKING:
    from rich.console import RenderableType

_MARKS = {
    Level.OK: ("✓ ok", "green"),
    Level.NOTE: ("· note", "cyan"),
    Level.WARN: ("! warn", "bold yellow"),
    Level.FAIL: ("✗ FAIL", "bold red"),
}


def rendered(title: str, findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """Yield what to print: a heading, one part a check, a line that sums up."""
    from rich.text import Text

    yield Text(title, style="bold")
    yield from _parts(findings)
    yield ""
    yield _sum(findings)


def _parts(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    most = max(16, min(34, get_terminal_size((160, 24)).columns // 4))
    widest = max((min(len(finding.about), most) for finding in findings), default=0)
    for check, group in groupby(findings, key=lambda finding: finding.check):
        yield ""
        yield Text(TITLES[check], style="bold underline")
        part = Table.grid(padding=(0, 2, 0, 0))
        part.add_column(width=6, no_wrap=True)
        part.add_column(width=widest, overflow="fold")
        part.add_column(overflow="fold", ratio=1)
        before = None
        for finding in group:
            mark, style = _MARKS[finding.level]
            about = finding.about if finding.about != before else ""
            part.add_row(Text(mark, style=style), Text(about), _told(finding))
            before = finding.about
        yield part


def _told(finding: Finding) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = Text(finding.found, style="dim" if finding.level is Level.NOTE else "")
    if not finding.advice:
        return found
    advice = Table.grid(padding=(0, 1, 0, 0))
    style = "dim" if finding.level in (Level.OK, Level.NOTE) else "italic"
    advice.add_row(
        Text("→", style=_MARKS[finding.level][1]), Text(finding.advice, style=style, overflow="fold")
    )
    return Group(found, advice)


def _sum(findings: Sequence[Finding]) -> RenderableType:
    from rich.text import Text

    counts = Counter(finding.level for finding in findings)
    words = {
        Level.FAIL: f"{counts[Level.FAIL]} failed",
        Level.WARN: f"{counts[Level.WARN]} warning{'' if counts[Level.WARN] == 1 else 's'}",
        Level.OK: f"{counts[Level.OK]} ok",
    }
    total = Text()
    for level, text in words.items():
        if counts[level] or level is Level.OK:
            total.append(" · " if total else "", style="dim")
            total.append(text, style=_MARKS[level][1])
    return total
