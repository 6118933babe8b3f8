"""An SMS is as long as networks count and bill it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drumbeat.rendering.sms import BASIC, EXTENSION, GSM, UCS2, length

CASES = [
    ("", GSM, 0, 1),
    ("a" * 160, GSM, 160, 1),
    ("a" * 161, GSM, 161, 2),
    ("a" * 306, GSM, 306, 2),
    ("a" * 307, GSM, 307, 3),
    ("€" * 80, GSM, 160, 1),
    ("€" * 81, GSM, 162, 2),
    # 152 septets and an escape: the escape and its character do not part, so the first segment has 152.
    ("a" * 152 + "€" + "a" * 151, GSM, 305, 2),
    ("a" * 152 + "€" + "a" * 152, GSM, 306, 3),
    ("ж" * 70, UCS2, 70, 1),
    ("ж" * 71, UCS2, 71, 2),
    ("ж" * 134, UCS2, 134, 2),
    ("ж" * 135, UCS2, 135, 3),
    ("🧺" * 35, UCS2, 70, 1),
    # A surrogate pair does not part either: 66 units and a pair fill more than 67.
    ("ж" * 66 + "🧺" + "ж" * 66, UCS2, 134, 3),
    ("a" * 70 + "ё", UCS2, 71, 2),
    ("`", UCS2, 1, 1),
    ("ÄÖÜäöüßÉéàèìòù@£$¥ΔΦΓΛΩΠΨΣΘΞ§¿¡", GSM, 31, 1),
    ("\n\r", GSM, 2, 1),
]


@pytest.mark.parametrize(("text", "encoding", "units", "segments"), CASES)
def test_segments(text: str, encoding: str, units: int, segments: int) -> None:
    found = length(text)
    assert (found.encoding, found.units, found.segments) == (encoding, units, segments)


def test_the_alphabet_has_127_characters_and_its_extension_ten() -> None:
    """128 places, of which one is the escape; 3GPP TS 23.038, 6.2.1 and 6.2.1.1 (with the form feed)."""
    assert len(BASIC) == 127
    assert len(EXTENSION) == 10
    assert not BASIC & EXTENSION


def test_what_made_it_ucs_2_is_named() -> None:
    assert str(length("Grüße ё")) == "7 code units in 1 segment (UCS-2, because of 'ё')"
    assert str(length("x" * 161)) == "161 septets in 2 segments (GSM 7-bit)"


@given(st.text(alphabet="aé€^ж🧺\n", max_size=400))
def test_no_segment_holds_more_than_fits_and_none_could_be_saved_by_more_than_one(text: str) -> None:
    found = length(text)
    room = 153 if found.encoding == GSM else 67
    alone = 160 if found.encoding == GSM else 70
    if found.units <= alone:
        assert found.segments == 1
    else:
        # Each full segment may waste one unit at its end, where a pair did not fit.
        assert -(-found.units // room) <= found.segments <= -(-found.units // (room - 1))
