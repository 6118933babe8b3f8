"""A fault found in a file of the project: code, place, what was found and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A spot in a file. `line` and `column` count from 1; `path` is shown as given."""

    path: Path
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Issue:
    """One fault. Prints as `campaigns/x.yaml:9:5 DB014 unknown trigger 'foo'. Did you mean 'bar'?`."""

    place: Place
    code: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.place} {self.code} {self.message}" + (f" {self.fix}" if self.fix else "")


def nearest(found: str, known: Iterable[str]) -> str:
    """Return `Did you mean 'x'?` for the nearest known name, else the list of what is known."""
    names = sorted(set(known))
    close = get_close_matches(found, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if names else "None is defined yet."
