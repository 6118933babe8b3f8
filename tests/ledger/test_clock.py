"""Time as a parameter: clocks, durations and instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from drumbeat.clock import (
    FixedClock,
    ShiftedClock,
    format_duration,
    parse_duration,
    parse_instant,
    start_of_day,
)
from drumbeat.errors import UsageError


def test_a_shifted_clock_begins_exactly_at_its_start_and_runs_on(now):
    clock = ShiftedClock(now)
    assert clock.now() == now
    assert now < clock.now() < now + timedelta(minutes=1)


def test_a_fixed_clock_moves_only_when_told(now):
    clock = FixedClock(now)
    assert clock.advance(timedelta(hours=1)) == clock.now() == now + timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("4h", 14400), ("1d12h", 129600), (" 2 w ", 1209600)]
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


@pytest.mark.parametrize("text", ["", "4", "h", "-4h", "4 hours", "4h!", "1.5h", "4x"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="expected a number with s, m, h, d or w, such as 4h"):
        parse_duration(text)


def test_an_instant_without_offset_is_in_the_given_zone():
    assert parse_instant("2011-07-05T10:00", "Europe/London") == datetime(2011, 7, 5, 9, tzinfo=UTC)
    assert parse_instant("2011-07-05T10:00+00:00", "Europe/London") == datetime(2011, 7, 5, 10, tzinfo=UTC)
    with pytest.raises(UsageError, match="cannot read 'noon' as a time"):
        parse_instant("noon")


def test_a_day_starts_at_the_jump_where_clocks_jump_over_midnight():
    day = datetime(2018, 11, 4, tzinfo=UTC).date()  # Sao Paulo: 00:00 does not exist
    assert start_of_day(day, "America/Sao_Paulo") == datetime(2018, 11, 4, 3, tzinfo=UTC)
