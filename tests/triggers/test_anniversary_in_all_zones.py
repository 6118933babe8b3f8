"""The set-based anniversary against the plain rule, customer by customer, in 400 zones at once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from sqlalchemy import Engine, insert, select

from drumbeat.clock import start_of_day
from drumbeat.store import tables
from drumbeat.store.engine import reading, writing
from drumbeat.triggers import Moment, Trigger
from drumbeat.triggers.contract import check_trigger

ZONES = tuple(
    sorted(z for z in available_timezones() if "/" in z and not z.startswith(("posix/", "right/")))
)[:400]
DAY = timedelta(days=1)
MOMENTS = (
    datetime(2013, 2, 28, 10, 30, tzinfo=UTC),
    datetime(2012, 2, 29, 0, 0, tzinfo=UTC),
    datetime(2011, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)


def _in_year(day: date, year: int) -> date:
    if (day.month, day.day) == (2, 29) and (year % 4 or (year % 100 == 0 and year % 400)):
        return date(year, 2, 28)
    return day.replace(year=year)


def _expected(
    original: date, zone: str, as_of: datetime, shift: int, late: int
) -> tuple[int, datetime] | None:
    """Say by the plain rule which year's anniversary is due, and since when; None where none is."""
    today = as_of.astimezone(ZoneInfo(zone)).date()
    for days in range(late + 1):
        mail_day = today - days * DAY
        anniversary = mail_day - shift * DAY
        if original.year < anniversary.year and _in_year(original, anniversary.year) == anniversary:
            return anniversary.year, start_of_day(mail_day, zone)
    return None


@pytest.mark.parametrize("of", ["first_order", "created_at", "birth_date"])
@pytest.mark.parametrize(("params", "shift", "late"), [({}, 0, 0), ({"after": "3d", "catch_up": "1d"}, 3, 1)])
def test_every_customer_of_400_zones_is_judged_as_the_plain_rule_says(
    of: str,
    params: dict[str, str],
    shift: int,
    late: int,
    kinds: Mapping[str, type[Trigger]],
    case_store: Engine,
) -> None:
    """Instants crowd around local midnights of the days in question; not one may fall on the wrong side."""
    chance = random.Random(f"{of}{params}")
    people = _people(chance, shift, late)
    _store(case_store, people)
    trigger = kinds["anniversary"].model_validate({"of": of, **params})
    matched = 0
    for as_of in MOMENTS:
        moment = Moment(as_of, "Europe/London", ZONES)
        with reading(case_store) as connection:
            rows = connection.execute(trigger.select(moment)).all()
        found = {row.customer_id: (row.occasion, row.due_at) for row in rows}
        assert len(found) == len(rows)
        expected = {}
        for key, (zone, at) in people.items():
            original = at.date() if of == "birth_date" else at.astimezone(ZoneInfo(zone)).date()
            if due := _expected(original, zone, as_of, shift, late):
                expected[key] = (f"anniversary:{due[0]}", due[1])
        assert found == expected
        matched += len(found)
        assert check_trigger(trigger, moment, case_store) == []
    assert matched > 100


def _people(chance: random.Random, shift: int, late: int) -> dict[int, tuple[str, datetime]]:
    """Six customers a zone whose instants lie within hours of a local midnight near a moment's day."""
    people = {}
    for zone in ZONES:
        for _ in range(6):
            moment = chance.choice(MOMENTS)
            day = moment.astimezone(ZoneInfo(zone)).date() - (shift + chance.randint(-1, late + 1)) * DAY
            original = _in_year(day, day.year - chance.randint(0, 45))
            if (original.month, original.day) == (2, 28) and chance.random() < 0.5 and original.year % 4 == 0:
                original = original.replace(day=29)
            near = chance.choice(
                [timedelta(), timedelta(microseconds=-1), timedelta(hours=chance.uniform(-3, 26))]
            )
            people[len(people) + 1] = (zone, start_of_day(original, zone) + near)
    return people


def _store(engine: Engine, people: Mapping[int, tuple[str, datetime]]) -> None:
    loaded: dict[str, Any] = {"loaded_at": MOMENTS[0]}
    with writing(engine) as connection:
        connection.execute(
            insert(tables.customers),
            [
                {
                    "id": key,
                    "external_id": str(key),
                    "time_zone": zone,
                    "created_at": at,
                    "birth_date": at.date(),
                    **loaded,
                }
                for key, (zone, at) in people.items()
            ],
        )
        connection.execute(
            insert(tables.customer_stats),
            [
                {"customer_id": key, "orders": 1, "total": 1, "first_order_at": at, "last_order_at": at}
                for key, (_, at) in people.items()
            ],
        )
        assert connection.execute(select(tables.customers.c.id)).first()
