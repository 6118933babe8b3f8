"""What others tell, in a form that every database takes: small, without NUL and without half characters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

LONGEST_TEXT = 500
MOST_ENTRIES = 40
DEEPEST = 3

ADDRESSES = frozenset(
    {"ip", "ip_address", "ipaddress", "client_ip", "client-ip", "clientip", "remote_ip", "sourceip"}
)
"""Names under which providers tell readers' IP addresses, in small letters; those are not kept."""

_BROKEN = re.compile("[\0\ud800-\udfff]")


def clean(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text without NUL (PostgreSQL takes none) and lone surrogates, at most so long."""
    return _BROKEN.sub("\N{REPLACEMENT CHARACTER}", text[:longest])


def told(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON document of what is not empty, without IP addresses, cut to a few kilobytes at most."""
    found = {name: _kept(value, deep=DEEPEST) for name, value in _entries(values)}
    return {name: value for name, value in found.items() if value not in (None, "", {}, [])}


def _entries(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in list(values.items())[:MOST_ENTRIES]:
        written = clean(str(name), 80)
        if written.lower() not in ADDRESSES:
            yield written, value


def _kept(value: Any, deep: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # NaN and infinity are not JSON; a number of a thousand digits is nobody's.
        return value if value == value and abs(value) < 2**63 else clean(str(value), 40)
    if deep and isinstance(value, Mapping):
        return {name: _kept(entry, deep - 1) for name, entry in _entries(value)}
    if deep and isinstance(value, list | tuple):
        return [_kept(entry, deep - 1) for entry in value[:MOST_ENTRIES]]
    return clean(str(value))
