"""Time: the only module that asks the machine what time it is.

Instants are aware datetimes in UTC everywhere; durations are `timedelta`. Commands and flows make a
clock once and pass it, or the instant it gives, down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from drumbeat.errors import UsageError


class Clock(Protocol):
    """Gives the present instant, aware, in UTC."""

    def now(self) -> datetime:
        """Return the present instant in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the machine's time in UTC."""
        return datetime.now(UTC)


@dataclass
class FixedClock:
    """A clock that stands still until it is moved: for `--as-of`, demos and tests."""

    at: datetime

    def now(self) -> datetime:
        """Return the instant it was set to."""
        return self.at

    def advance(self, by: timedelta) -> datetime:
        """Move the clock on by `by` and return the new instant."""
        self.at += by
        return self.at


@dataclass
class ShiftedClock:
    """A clock that runs on from `start` at the machine's pace: a worker under `--as-of`.

    It starts when it is first asked, so that a plan `--as-of` noon is a plan of noon to the microsecond.
    """

    start: datetime
    _offset: timedelta | None = field(default=None, init=False)

    def now(self) -> datetime:
        """Return `start` plus the time gone by since the first call."""
        machine = datetime.now(UTC)
        if self._offset is None:
            self._offset = self.start - machine
        return machine + self._offset


def zone(name: str) -> ZoneInfo:
    """Return the time zone `name` of the IANA database. Raises UsageError where it does not exist."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"unknown time zone '{name}'; expected an IANA name such as Europe/London") from None


def zone_or(name: str | None, default: str) -> ZoneInfo:
    """Return the zone `name`, or the zone `default` where `name` is missing or does not exist.

    For zones that come with customers' data: a wrong one must not stop a run.
    """
    if name:
        try:
            return zone(name)
        except UsageError:
            pass
    return zone(default)


def parse_instant(text: str, default_zone: str = "UTC") -> datetime:
    """Read an ISO 8601 date or date-time as an instant in UTC; without an offset it is in `default_zone`."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"cannot read '{text}' as a time; expected for example 2011-12-05 or 2011-12-05T09:00+00:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone(default_zone))
    return moment.astimezone(UTC)


_DURATION = re.compile(r"(\d+)\s*([smhdw])")
_LONGEST = timedelta(days=36_500)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `30m`, `4h`, `3d`, `2w` or a sum such as `1d12h`. A day is 24 hours.

    Raises UsageError for anything else, negative ones included.
    """
    compact = text.strip().lower()
    parts = _DURATION.findall(compact)
    if not parts or "".join(f"{n}{u}" for n, u in parts) != re.sub(r"\s+", "", compact):
        raise UsageError(
            f"cannot read '{text}' as a duration; expected a number with s, m, h, d or w, such as 4h"
        )
    try:
        span = sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    except (OverflowError, ValueError):  # ValueError: more digits than Python reads as a number
        span = timedelta.max
    if span > _LONGEST:
        raise UsageError(f"the duration '{text[:40]}' is too long; expected at most {_LONGEST.days}d")
    return span


def format_duration(span: timedelta) -> str:
    """Write a duration as `parse_duration` reads it, in the largest unit that fits exactly."""
    seconds = int(span.total_seconds())
    for unit, size in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def start_of_day(day: date, zone_name: str) -> datetime:
    """Return the first instant of the local day in UTC.

    Where clocks jump over midnight the day starts at the jump (PEP 495: a time in a gap read with
    fold=0 maps to the instant after it).
    """
    return datetime.combine(day, time(), tzinfo=zone(zone_name)).astimezone(UTC)
