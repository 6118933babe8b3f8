"""How often, and for how long a break: as readers read it, and as a form says it."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from drumbeat.clock import zone_or
from drumbeat.rendering.environment import locale_for
from drumbeat.responses.preferences import FOREVER

PAUSES = (("2w", "two_weeks"), ("1m", "one_month"), ("3m", "three_months"), ("always", "always"))
"""The breaks that are offered: as a form says them, and the names of their words."""

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class Spoken(NamedTuple):
    """Says limits and dates in a reader's language and zone. `per`: the cap's span."""

    words: Mapping[str, str]
    language: str
    country: str | None
    per: timedelta
    time_zone: str | None
    default_zone: str

    def at_most(self, n: int) -> str:
        """Say a limit: `At most two messages a week`."""
        text = self.words.get(f"most_{n}", self.words["most_n"])
        return text.format(n=n, span=self._span())

    def kept(self, until: datetime) -> str:
        """Say that a break goes on."""
        if until >= FOREVER:
            return self.words["keep_always"]
        return self.words["keep_pause"].format(date=self.day(until))

    def day(self, instant: datetime) -> str:
        """Write the reader's own date of an instant."""
        from babel.dates import format_date

        where = zone_or(self.time_zone, self.default_zone)
        locale = locale_for(self.language, self.country)
        return format_date(instant.astimezone(where).date(), "long", locale=locale)

    def _span(self) -> str:
        if self.per == timedelta(days=7):
            return self.words["week"]
        if self.per == timedelta(days=1):
            return self.words["day"]
        from babel.units import format_unit

        seconds = int(self.per.total_seconds())
        unit, size = next((u, s) for u, s in _UNITS if seconds % s == 0)
        span = format_unit(seconds // size, f"duration-{unit}", "long", locale=self.language)
        return self.words["span"].format(span=span)


def read_pause(value: str, now: datetime, standing: datetime | None) -> datetime | None:
    """Return the end of the break that a form asks for, None for none; `standing`: the one that there is.

    `none`, `keep` (also where the form says nothing), `2w`, `1m`, `3m`, `always`, or `until:` with an instant (the way
    to undo). Raises ValueError for anything else.
    """
    if value in ("", "keep"):
        return standing
    if value == "none":
        return None
    if value == "always":
        return FOREVER
    if value == "2w":
        return now + timedelta(weeks=2)
    if value in ("1m", "3m"):
        return months_later(now, int(value[0]))
    if not value.startswith("until:"):
        raise ValueError(f"'{value[:40]}' is no break")
    until = datetime.fromisoformat(value.removeprefix("until:"))
    if until.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    # Compared before it is converted: the first and the last day of all have no instant in every zone.
    return min(until, FOREVER).astimezone(UTC) if until > now else None


def pause_until(until: datetime | None) -> str:
    """Return how a form says a break that ends then."""
    return "none" if until is None else f"until:{until.astimezone(UTC).isoformat()}"


def months_later(instant: datetime, months: int) -> datetime:
    """Return the same day `months` later; the month's last day where it has no such day."""
    years, month = divmod(instant.month - 1 + months, 12)
    year = instant.year + years
    day = min(instant.day, calendar.monthrange(year, month + 1)[1])
    return instant.replace(year=year, month=month + 1, day=day)
