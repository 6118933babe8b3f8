"""Send windows: the hours of the customer's own day in which mails may go out."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Protocol

from drumbeat.clock import zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


class Hours(Protocol):
    """A daily span in local time; `from_` after `to` spans midnight."""

    @property
    def from_(self) -> time:
        """Return when it opens."""
        ...

    @property
    def to(self) -> time:
        """Return when it closes; that minute is outside."""
        ...


def next_open(window: Hours | None, zone_name: str, now: datetime) -> datetime:
    """Return `now` where the window is open in the zone, else the next instant at which it opens, in UTC.

    A time that the change to summer time leaves out counts as the instant after the gap (PEP 495).
    """
    if window is None:
        return now
    where = zone(zone_name)
    today = now.astimezone(where).date()
    for days in (-1, 0, 1, 2):
        opens, closes = _span(window, today + timedelta(days=days), where)
        if opens <= now < closes:
            return now
        if opens > now:
            return opens
    raise AssertionError("a daily window opens within two days")  # pragma: no cover


def _span(window: Hours, day: date, where: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the window that opens on the local day, in UTC."""
    last_day = day if window.from_ < window.to else day + timedelta(days=1)
    return _instant(day, window.from_, where), _instant(last_day, window.to, where)


def _instant(day: date, at: time, where: ZoneInfo) -> datetime:
    return datetime.combine(day, at, tzinfo=where).astimezone(UTC)
