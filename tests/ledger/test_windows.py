"""A window opens in the customer's own time, over midnight and over the changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time
from types import SimpleNamespace

import pytest

from drumbeat.ledger.windows import next_open

DAY, NIGHT, EARLY = ("09:00", "20:00"), ("22:00", "06:00"), ("01:30", "05:00")


@pytest.mark.parametrize(
    ("window", "zone", "now", "expected"),
    [
        (DAY, "Europe/London", "2011-12-05T08:59", "2011-12-05T09:00"),
        (DAY, "Europe/London", "2011-12-05T09:00", "2011-12-05T09:00"),
        (DAY, "Europe/London", "2011-12-05T19:59", "2011-12-05T19:59"),
        (DAY, "Europe/London", "2011-12-05T20:00", "2011-12-06T09:00"),
        (DAY, "Asia/Tokyo", "2011-12-05T11:00", "2011-12-06T00:00"),
        (DAY, "Pacific/Kiritimati", "2011-12-05T09:00", "2011-12-05T19:00"),
        (DAY, "America/New_York", "2011-12-05T03:00", "2011-12-05T14:00"),
        (NIGHT, "Europe/London", "2011-12-05T02:00", "2011-12-05T02:00"),
        (NIGHT, "Europe/London", "2011-12-05T06:00", "2011-12-05T22:00"),
        (NIGHT, "Europe/London", "2011-12-05T23:00", "2011-12-05T23:00"),
        # 27 March 2011: London's clocks jump from 01:00 to 02:00; 01:30 does not exist and is taken as 02:30
        (EARLY, "Europe/London", "2011-03-27T00:00", "2011-03-27T01:30"),
        # 30 October 2011: 01:30 happens twice; the first one opens the window
        (EARLY, "Europe/London", "2011-10-30T00:00", "2011-10-30T00:30"),
        # Summer time ends at night: 09:00 local is an hour later in UTC
        (DAY, "Europe/London", "2011-10-29T19:30", "2011-10-30T09:00"),
    ],
)
def test_next_open(window, zone, now, expected):
    hours = SimpleNamespace(from_=time.fromisoformat(window[0]), to=time.fromisoformat(window[1]))
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert next_open(hours, zone, at) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_without_a_window_it_is_always_open():
    now = datetime(2011, 12, 5, 3, tzinfo=UTC)
    assert next_open(None, "Europe/London", now) == now
