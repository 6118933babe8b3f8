"""What others tell, in a form that every database takes: small, without NUL and without half characters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST_TEXT = 500
MOST_ENTRIES = 40
DEEPEST = 3

_BROKEN = re.compile("[\0\ud800-\udfff]")


def clean(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text without NUL (PostgreSQL takes none) and lone surrogates, at most so long."""
    return _BROKEN.sub("\N{REPLACEMENT CHARACTER}", text[:longest])


def told(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON document of what is not empty, cut to a few kilobytes at most."""
    found: dict[str, Any] = {}
    for name, value in list(values.items())[:MOST_ENTRIES]:
        kept = _kept(value, DEEPEST)
        if kept not in (None, "", {}, []):
            found[clean(str(name), 80)] = kept
    return found


def _kept(value: Any, deep: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # NaN and infinity are not JSON; a number of a thousand digits is nobody's.
        return value if value == value and abs(value) < 2**63 else clean(str(value), 40)
    if deep and isinstance(value, Mapping):
        entries = list(value.items())[:MOST_ENTRIES]
        return {clean(str(name), 80): _kept(entry, deep - 1) for name, entry in entries}
    if deep and isinstance(value, list | tuple):
        return [_kept(entry, deep - 1) for entry in value[:MOST_ENTRIES]]
    return clean(str(value))
