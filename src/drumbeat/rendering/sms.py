"""How long an SMS is: in septets of the GSM alphabet or in UCS-2, and how many segments it takes.

3GPP TS 23.038 (the alphabet, and its extension table that takes two septets a character) and TS 23.040 (what
the header of a part costs): 160 septets or 70 code units in one segment, 153 or 67 in each of several. One
character beyond the alphabet turns the whole message into UCS-2, at less than half the length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The alphabet's characters: one septet each."""

EXTENSION = frozenset("\f^{}\\[~]|€")
"""Characters of the extension table: two septets each."""

GSM, UCS2 = "GSM 7-bit", "UCS-2"

_ROOM = {GSM: (160, 153), UCS2: (70, 67)}
"""By encoding: units in a message of one segment, and in each segment of a longer one."""


class Length(NamedTuple):
    """An SMS as it is sent and billed. `units`: septets or UTF-16 code units; `because`: what made it UCS-2."""

    encoding: str
    units: int
    segments: int
    because: str | None = None

    def __str__(self) -> str:
        of = "septets" if self.encoding == GSM else "code units"
        why = f", because of {self.because!r}" if self.because is not None else ""
        into = f"{self.segments} segment{'' if self.segments == 1 else 's'}"
        return f"{self.units} {of} in {into} ({self.encoding}{why})"


def length(text: str) -> Length:
    """Measure a text. An empty one is one segment, as networks count it."""
    odd = next((c for c in text if c not in BASIC and c not in EXTENSION), None)
    encoding, units_of = (GSM, _septets) if odd is None else (UCS2, _code_units)
    sizes = [units_of(c) for c in text]
    total, (alone, each) = sum(sizes), _ROOM[encoding]
    segments = 1 if total <= alone else sum(1 for _ in _filled(sizes, each))
    return Length(encoding, total, segments, odd)


def _septets(character: str) -> int:
    return 2 if character in EXTENSION else 1


def _code_units(character: str) -> int:
    return 2 if ord(character) > 0xFFFF else 1


def _filled(sizes: list[int], room: int) -> Iterator[int]:
    """Give how much of each segment is used. Neither an escape nor a surrogate is parted from its other half."""
    used = 0
    for size in sizes:
        if used + size > room:
            yield used
            used = 0
        used += size
    yield used
