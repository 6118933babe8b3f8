"""The calendar of anniversaries: which days are remembered on a day, and when they began in a zone.

Not a trigger kind: a file in triggers/ whose name begins with an underscore is help for the others.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from drumbeat.clock import zone

DAY = timedelta(days=1)
# Nobody alive was born, and no shop's records began, earlier.
YEARS_OF_DATES, YEARS_OF_INSTANTS = 120, 60


def number(day: date) -> int:
    """Write a day as a number: 20120229."""
    return day.year * 10_000 + day.month * 100 + day.day


def in_year(original: date, year: int) -> date:
    """Return the anniversary in the year; 29 February is kept on 28 February in common years."""
    try:
        return original.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


@lru_cache(maxsize=512)
def originals_of(anniversary: date, years: int) -> tuple[date, ...]:
    """Return the days of earlier years that have their anniversary on this day, oldest first."""
    found = []
    for year in range(max(anniversary.year - years, 1), anniversary.year):
        for month, day in {(anniversary.month, anniversary.day), (2, 28), (2, 29)}:
            try:
                original = date(year, month, day)
            except ValueError:
                continue
            if in_year(original, anniversary.year) == anniversary:
                found.append(original)
    return tuple(sorted(found))


def _offset(day: date, where: ZoneInfo) -> timedelta:
    return datetime.combine(day, time(), tzinfo=where).utcoffset() or timedelta()


@lru_cache(maxsize=8192)
def spells(zone_name: str, anniversary: date) -> tuple[tuple[int, int, int, int], ...]:
    """Return when the remembered days opened and closed in the zone, in spells of years that did it alike.

    A spell: first and last remembered day (as ordinals), and the microseconds from their midnights in UTC
    to the local day's first instant and to the next day's. A zone keeps its offset on a given day of the
    year for decades, so 60 years are two or three spells: the joined table stays small.
    """
    spells: list[list[int]] = []
    where, microsecond = zone(zone_name), timedelta(microseconds=1)
    for original in originals_of(anniversary, YEARS_OF_INSTANTS):
        # A day begins at its midnight less the offset there, also where clocks jump over midnight (PEP 495).
        opens = -(_offset(original, where) // microsecond)
        closes = (DAY - _offset(original + DAY, where)) // microsecond
        if spells and spells[-1][2:] == [opens, closes]:
            spells[-1][1] = original.toordinal()
        else:
            spells.append([original.toordinal(), original.toordinal(), opens, closes])
    return tuple((first, last, opens, closes) for first, last, opens, closes in spells)
