"""Every kind is complete: listed, documented, with cases; and refuses parameters that cannot work."""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from pydantic import ValidationError
from sqlalchemy import Engine, select

from drumbeat.store.engine import reading
from drumbeat.store.tables import customers
from drumbeat.triggers import Moment, Subject, Trigger

CASES = Path(__file__).parent / "cases"
LONDON = ZoneInfo("Europe/London")
LONG_AGO = "2009-03-03T00:00:00Z"
AS_OF = datetime(2011, 12, 5, 9, tzinfo=UTC)
MOMENT = Moment(AS_OF, "Europe/London", ("Pacific/Auckland",))


def _files(project_root: Path) -> list[Path]:
    return sorted(p for p in (project_root / "triggers").glob("*.py") if not p.name.startswith("_"))


def test_each_file_in_triggers_is_one_kind_of_the_same_name_that_is_listed(
    project_root: Path, kinds: Mapping[str, type[Trigger]]
) -> None:
    """A file forgotten in KINDS would be a kind that nobody can use."""
    assert sorted(kinds) == [file.stem for file in _files(project_root)]
    for name, kind in kinds.items():
        assert kind.kind == name
        assert kind.__module__.endswith(f".{name}")


def test_each_kind_has_cases_and_a_manual_page_with_an_example(
    project_root: Path, kinds: Mapping[str, type[Trigger]]
) -> None:
    """The docstring is the manual page; docs/triggers.md has the kind too."""
    manual = (project_root / "docs/triggers.md").read_text(encoding="utf-8")
    for name, kind in kinds.items():
        assert list((CASES / name).glob("*.yaml")), f"tests/triggers/cases/{name}/ has no case"
        page = kind.__doc__ or ""
        assert f"{name}: {{" in page, f"{name}: the docstring shows no example"
        assert "Occasion: `" in page
        assert "Subject: " in page
        assert f"## {name}" in manual
        for field, info in kind.model_fields.items():
            assert info.description, f"{name}.{field} has no description for the JSON Schema"
            assert f"`{field}`" in manual, f"docs/triggers.md does not mention {name}'s {field}"


def test_every_case_folder_belongs_to_a_kind(kinds: Mapping[str, type[Trigger]]) -> None:
    """Cases of a kind that is gone would prove nothing."""
    assert {folder.name for folder in CASES.iterdir()} == set(kinds)


def test_kinds_import_nothing_heavy_themselves(project_root: Path) -> None:
    """SQLAlchemy comes through drumbeat.triggers, lazily; outside `if TYPE_CHECKING` nobody imports it."""
    for file in _files(project_root):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] in ("sqlalchemy", "prefect") for n in names), file.name


@pytest.mark.parametrize(
    ("kind", "params", "fault"),
    [
        ("abandoned_cart", {"idle_for": "3d", "within": "3d"}, "idle_for must be shorter than within"),
        ("abandoned_cart", {"min_total": -1}, "greater than or equal to 0"),
        ("abandoned_cart", {"min_total": "lots"}, "valid decimal"),
        ("abandoned_cart", {"min_total": float("nan")}, "finite number"),
        ("abandoned_cart", {"min_items": 0}, "greater than or equal to 1"),
        ("abandoned_cart", {"within": "99999999999d"}, "too long; expected at most 36500d"),
        ("expiring_promo", {"within": "0s"}, "must be longer than 0s"),
        ("opt_in", {"within": "0s"}, "must be longer than 0s"),
        ("anniversary", {}, "Field required"),
        ("anniversary", {"of": "first_oder"}, "unknown date 'first_oder'. Did you mean 'first_order'?"),
        (
            "anniversary",
            {"of": {"atribute": "x"}},
            "expected one of birth_date, first_order, last_order, created_at,",
        ),
        ("anniversary", {"of": {"attribute": ""}}, "{attribute: name} or {event: name}"),
        ("anniversary", {"of": {"event": "x", "attribute": "y"}}, "cannot read"),
        ("anniversary", {"of": ["birth_date"]}, "cannot read ['birth_date']"),
        ("anniversary", {"of": None}, "cannot read None"),
        ("anniversary", {"of": "birth_date", "before": "12h"}, "expected whole days, at most 180d"),
        ("anniversary", {"of": "birth_date", "after": "1d1s"}, "expected whole days, at most 180d"),
        ("anniversary", {"of": "birth_date", "catch_up": "181d"}, "expected whole days, at most 180d"),
        ("anniversary", {"of": "birth_date", "before": "-7d"}, "cannot read '-7d' as a duration"),
        (
            "anniversary",
            {"of": "birth_date", "before": "1d", "after": "1d"},
            "before and after exclude each other",
        ),
        ("schedule", {"cron": "0 8 * *"}, "'0 8 * *' has 4 fields; expected five"),
        ("schedule", {"cron": "0 0 8 * * 1"}, "has 6 fields; expected five"),
        ("schedule", {"cron": "@daily"}, "has 1 fields; expected five"),
        ("schedule", {"cron": ""}, "has 0 fields; expected five"),
        ("schedule", {"cron": "61 8 * * 1"}, "cannot read '61 8 * * 1': bad minute"),
        ("schedule", {"cron": "0 8 31 2 *"}, "cannot read '0 8 31 2 *': bad day-of-month"),
        ("schedule", {"cron": 8}, "valid string"),
        ("schedule", {"cron": "0 8 * * 1", "time_zone": "Londn"}, "unknown time zone 'Londn'"),
        ("schedule", {"cron": "0 8 * * 1", "catch_up": "0s"}, "must be longer than 0s"),
    ],
)
def test_parameters_that_cannot_work_are_refused(
    kinds: Mapping[str, type[Trigger]], kind: str, params: dict[str, Any], fault: str
) -> None:
    """With what was found and what was expected."""
    with pytest.raises(ValidationError) as caught:
        kinds[kind].model_validate(params)
    assert fault in str(caught.value)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("zone", ["Europe/London", "America/New_York", "America/Sao_Paulo"])
@pytest.mark.parametrize(
    "cron", ["30 1 * * *", "0 2 * * *", "15 */6 * * *", "*/20 * * * *", "30 1,2,3 * * 0"]
)
def test_walking_back_finds_the_ticks_that_walking_on_gives(
    kinds: Mapping[str, type[Trigger]], zone: str, cron: str
) -> None:
    """Around both changes of clocks, asked at odd moments. (Sao Paulo's were at midnight.)"""
    where = ZoneInfo(zone)
    start = datetime(2011, 1, 1, tzinfo=UTC)
    walk = CronSim(cron, start.astimezone(where))
    ticks = []
    while not ticks or ticks[-1] < datetime(2012, 1, 1, tzinfo=UTC):
        ticks.append(next(walk).astimezone(UTC))
    schedule: Any = kinds["schedule"].model_validate({"cron": cron, "time_zone": zone, "catch_up": "8d"})
    for month, day in ((2, 20), (3, 13), (3, 27), (10, 16), (10, 30), (11, 6)):
        for minutes in range(-3 * 60, 14 * 60, 11):
            as_of = datetime(2011, month, day, tzinfo=UTC) + timedelta(minutes=minutes)
            latest = schedule.latest_tick(Moment(as_of, "UTC"))
            assert latest is not None
            assert latest.astimezone(UTC) == ticks[bisect_right(ticks, as_of) - 1], as_of


def _contexts(
    engine: Engine, trigger: Trigger, moment: Moment = MOMENT
) -> dict[str, tuple[Subject, dict[str, Any]]]:
    with reading(engine) as connection:
        subjects = [
            Subject(r.customer_id, r.occasion, r.subject_id)
            for r in connection.execute(trigger.select(moment))
        ]
        return {
            s.occasion: (s, context) for s, context in trigger.context(connection, subjects, moment).items()
        }


def test_a_carts_mail_knows_the_cart_and_what_is_in_it(
    kinds: Mapping[str, type[Trigger]], load: Callable[[Any], None], case_store: Engine
) -> None:
    """Exact amounts; the shop's own title first, then the product's; what nobody knows is None."""
    load(
        {
            "products": [
                {"id": "P1", "title": "Teapot", "url": "https://shop.example.com/p1", "price": "3.10"}
            ],
            "carts": [
                {
                    "id": "c",
                    "customer": "ann",
                    "updated_at": "2011-12-05T04:00:00Z",
                    "total": "31.70",
                    "currency": "GBP",
                    "items": [
                        {"product": "P1", "quantity": 3, "unit_price": "3.10"},
                        {"product": "P2", "title": "Kettle", "quantity": 1, "unit_price": "22.40"},
                        {"product": "P3", "title": "Gone", "quantity": 0, "unit_price": "1"},
                    ],
                }
            ],
        }
    )
    _, context = _contexts(case_store, kinds["abandoned_cart"]())["cart:c:v1"]
    cart = {"id": "c", "total": Decimal("31.70"), "currency": "GBP", "url": None}
    assert context["cart"] == {**cart, "updated_at": datetime(2011, 12, 5, 4, tzinfo=UTC)}
    assert {key: context[key] for key in ("total", "currency", "url")} == {
        k: v for k, v in cart.items() if k != "id"
    }
    teapot = {"product": "P1", "title": "Teapot", "quantity": 3, "unit_price": Decimal("3.10")}
    kettle = {"product": "P2", "title": "Kettle", "quantity": 1, "unit_price": Decimal("22.40")}
    page = "https://shop.example.com/p1"
    assert context["items"] == [
        {**teapot, "line_total": Decimal("9.30"), "product_url": page, "image_url": None},
        {**kettle, "line_total": Decimal("22.40"), "product_url": None, "image_url": None},
    ]


@pytest.mark.parametrize(
    ("zone", "expires_at", "last_day", "days_left"),
    [
        (None, "2011-12-07T23:59:59Z", date(2011, 12, 7), 2),
        (None, "2011-12-08T00:00:00Z", date(2011, 12, 7), 2),
        (None, "2011-12-05T23:00:00Z", date(2011, 12, 5), 0),
        ("Pacific/Auckland", "2011-12-06T10:59:00Z", date(2011, 12, 6), 1),
        ("Pacific/Auckland", "2011-12-06T11:00:01Z", date(2011, 12, 7), 2),
    ],
)
def test_a_coupons_mail_counts_local_days(
    kinds: Mapping[str, type[Trigger]],
    load: Callable[[Any], None],
    case_store: Engine,
    zone: str | None,
    expires_at: str,
    last_day: date,
    days_left: int,
) -> None:
    """A coupon that expires at midnight is good until the day before."""
    load(
        {
            "customers": [{"id": "ann", "time_zone": zone}],
            "coupons": [
                {"id": "k", "customer": "ann", "expires_at": expires_at, "value": "5", "title": "Five off"}
            ],
        }
    )
    _, context = _contexts(case_store, kinds["expiring_promo"]())["coupon:k"]
    assert (context["last_day"], context["days_left"]) == (last_day, days_left)
    assert context["coupon"]["value"] == Decimal(5)
    assert context["coupon"]["expires_at"] == datetime.fromisoformat(expires_at)
    assert context["coupon"]["expires_at"].utcoffset() == (timedelta(hours=13) if zone else timedelta())


def test_an_anniversarys_mail_counts_the_years(
    kinds: Mapping[str, type[Trigger]], load: Callable[[Any], None], case_store: Engine
) -> None:
    """In the reader's own days: New Year's Eve in New York is the old year."""
    load(
        {
            "customers": [
                {"id": "ann", "birth_date": "1980-02-29"},
                {"id": "bob", "time_zone": "America/New_York"},
            ],
            "customer_stats": [{"customer": "bob", "first_order_at": "2010-01-01T03:00:00Z"}],
            "events": [{"customer": "ann", "name": "visited", "at": "2009-12-05T10:00:00Z"}],
        }
    )
    kind = kinds["anniversary"]
    leap = Moment(datetime(2013, 2, 28, 9, tzinfo=UTC), "Europe/London")
    _, context = _contexts(case_store, kind.model_validate({"of": "birth_date"}), leap)["anniversary:2013"]
    assert context == {
        "of": "birth_date",
        "years": 33,
        "date": date(1980, 2, 29),
        "anniversary": date(2013, 2, 28),
    }
    eve = Moment(datetime(2011, 12, 31, 12, tzinfo=UTC), "Europe/London", ("America/New_York",))
    _, context = _contexts(case_store, kind.model_validate({"of": "first_order"}), eve)["anniversary:2011"]
    assert (context["years"], context["date"]) == (2, date(2009, 12, 31))
    visited = kind.model_validate({"of": {"event": "visited"}})
    _, context = _contexts(case_store, visited)["anniversary:2011-12-05"]
    assert (context["of"], context["years"], context["date"]) == ("visited", 2, date(2009, 12, 5))


def test_a_subject_that_is_gone_has_nothing_to_say(
    kinds: Mapping[str, type[Trigger]], case_store: Engine
) -> None:
    """A cart or coupon deleted between plan and delivery: rendering then fails for this mail alone."""
    gone = Subject(1, "x", 999)
    with reading(case_store) as connection:
        for name in ("abandoned_cart", "expiring_promo", "opt_in"):
            assert kinds[name]().context(connection, [gone], MOMENT) == {gone: {}}


@pytest.mark.parametrize(
    ("kind", "params", "given"),
    [
        ("abandoned_cart", {}, {}),
        ("abandoned_cart", {}, {"carts": [{"customer": "ann", "updated_at": "2011-12-05T08:00:00Z"}]}),
        ("abandoned_cart", {}, {"carts": [{"customer": "ann", "updated_at": "2011-12-01T08:00:00Z"}]}),
        (
            "abandoned_cart",
            {"min_total": 99},
            {"carts": [{"customer": "ann", "updated_at": "2011-12-05T04:00:00Z"}]},
        ),
        (
            "abandoned_cart",
            {"min_items": 9},
            {"carts": [{"customer": "ann", "updated_at": "2011-12-05T04:00:00Z"}]},
        ),
        (
            "abandoned_cart",
            {},
            {
                "carts": [{"customer": "ann", "updated_at": "2011-12-05T04:00:00Z"}],
                "orders": [{"customer": "ann", "ordered_at": "2011-12-05T04:10:00Z"}],
            },
        ),
        ("expiring_promo", {}, {}),
        ("expiring_promo", {}, {"coupons": [{"customer": "ann", "expires_at": "2011-12-30T00:00:00Z"}]}),
        ("anniversary", {"of": "birth_date"}, {}),
        ("anniversary", {"of": "birth_date"}, {"customers": [{"id": "ann", "birth_date": "1980-02-29"}]}),
        (
            "anniversary",
            {"of": {"attribute": "day"}},
            {"customers": [{"id": "ann", "attributes": {"day": "20091205"}}]},
        ),
        (
            "anniversary",
            {"of": "first_order"},
            {"customer_stats": [{"customer": "ann", "first_order_at": LONG_AGO}]},
        ),
        (
            "anniversary",
            {"of": {"event": "visited"}},
            {"events": [{"customer": "ann", "name": "visited", "at": LONG_AGO}]},
        ),
        ("opt_in", {}, {}),
        (
            "opt_in",
            {},
            {
                "opt_ins": [
                    {
                        "customer": "ann",
                        "asked_at": "2011-12-03T09:00:00Z",
                        "expires_at": "2011-12-04T09:00:00Z",
                        "confirmed_at": "2011-12-03T10:00:00Z",
                    }
                ]
            },
        ),
        ("schedule", {"cron": "0 8 * * 5"}, {}),
    ],
)
def test_who_is_not_due_is_told_a_clause_that_is_not_met(
    kinds: Mapping[str, type[Trigger]],
    load: Callable[[Any], None],
    case_store: Engine,
    kind: str,
    params: dict[str, Any],
    given: dict[str, Any],
) -> None:
    """`drumbeat explain` must never leave the reader with ticks alone."""
    load({"customers": [{"id": "ann"}], **given})
    trigger = kinds[kind].model_validate(params)
    with reading(case_store) as connection:
        assert connection.execute(trigger.select(MOMENT)).all() == []
        (ann,) = connection.execute(select(customers.c.id)).scalars()
        findings = trigger.findings(connection, ann, MOMENT)
    assert [finding for finding in findings if not finding.met], findings
