"""What must hold when orders are attributed to mails: one case a row."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest

from drumbeat.responses.attribute import attributed_orders
from drumbeat.store.engine import reading

WEEK, DAY = timedelta(days=7), timedelta(days=1)
GOALS = {"promo": WEEK, "cart": DAY}
MICRO = 1 / 3_600_000_000


class Case(NamedTuple):
    """`mails`: campaign and hour (and state). `orders`: hour (and status). `belongs`: per order the mail's place."""

    says: str
    mails: list[tuple]
    orders: list[tuple]
    belongs: list[int | None]


CASES = [
    Case("an order after the mail belongs to it", [("promo", 0)], [(5,)], [0]),
    Case("an order before the mail does not", [("promo", 0)], [(-1,)], [None]),
    Case("an order at the mail's instant did not follow it", [("promo", 0)], [(0,)], [None]),
    Case("an order a microsecond after the mail did", [("promo", 0)], [(MICRO,)], [0]),
    Case("an order at the window's end still counts", [("promo", 0)], [(168,)], [0]),
    Case("one a microsecond later does not", [("promo", 0)], [(168 + MICRO,)], [None]),
    Case("each campaign has its own window", [("cart", 0)], [(24,), (25,)], [0, None]),
    Case("of two campaigns the later mail gets it", [("promo", 0), ("cart", 3)], [(5,)], [1]),
    Case("whatever the order of planning", [("cart", 3), ("promo", 0)], [(5,)], [0]),
    Case("a later mail whose window is over gives way", [("promo", 0), ("cart", 3)], [(30,)], [0]),
    Case("a later mail without a goal takes nothing away", [("promo", 0), ("letter", 3)], [(5,)], [0]),
    Case("a mail without a goal gets nothing", [("letter", 0)], [(5,)], [None]),
    Case("of one campaign's mails the later gets it", [("promo", 0), ("promo", 2)], [(5,)], [1]),
    Case("a mail after the order takes nothing away", [("promo", 0), ("promo", 6)], [(5,)], [0]),
    Case("every order of the window counts", [("promo", 0)], [(5,), (6,)], [0, 0]),
    Case("a cancelled order does not count", [("promo", 0)], [(5, "cancelled"), (6,)], [None, 0]),
    Case("a mail that was never sent gets nothing", [("promo", 0, "skipped")], [(5,)], [None]),
    Case("a planned one neither", [("promo", 0, "planned")], [(5,)], [None]),
    Case("one of uncertain end counts as sent", [("promo", 0, "uncertain")], [(5,)], [0]),
    Case("two mails at one instant: the order counts once", [("promo", 0), ("cart", 0)], [(5,)], [1]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_attribution(scene, case):
    reader = scene.customer()
    sent = [
        scene.message(reader, campaign, hours=hours, state=state[0] if state else "sent")
        for campaign, hours, *state in case.mails
    ]
    bought = [scene.order(reader, hours, status=(status or ["placed"])[0]) for hours, *status in case.orders]
    found = attribution(scene)
    assert [found.get(order) for order in bought] == [None if n is None else sent[n] for n in case.belongs]


def attribution(scene, since=None):
    with reading(scene.engine) as connection:
        rows = connection.execute(attributed_orders(GOALS, since=since)).all()
    assert len({row.order_id for row in rows}) == len(rows)
    return {row.order_id: row.message_id for row in rows}


def test_two_customer_rows_of_one_person_are_one_reader_and_another_person_is_not(scene):
    reader = scene.customer()
    twin, stranger = scene.customer(person=reader), scene.customer()
    mail = scene.message(reader, "promo")
    order, other = scene.order(twin, 3), scene.order(stranger, 3)
    assert attribution(scene) == {order: mail}
    assert other not in attribution(scene)


def test_mails_to_both_rows_of_one_person_share_the_order(scene):
    reader = scene.customer()
    twin = scene.customer(person=reader)
    scene.message(reader, "promo")
    later = scene.message(twin, "cart", hours=1)
    order = scene.order(reader, 3)
    assert attribution(scene) == {order: later}


def test_an_order_that_a_later_cancellation_of_its_amount_takes_back_does_not_count(scene):
    reader = scene.customer()
    mail = scene.message(reader, "promo")
    taken_back, kept = scene.order(reader, 3, "168469.60"), scene.order(reader, 4, "20")
    scene.order(reader, 3.2, "-168469.60", status="cancelled")
    scene.order(reader, 3.5, "-20", status="cancelled")
    assert attribution(scene) == {kept: mail}, "a cancellation before an order does not take it back"
    with reading(scene.engine) as connection:
        seen = connection.execute(attributed_orders(GOALS, until=scene.at(3.1))).all()
    assert [row.order_id for row in seen] == [taken_back], "before it was cancelled it counted"


def test_the_columns_are_as_documented(scene):
    reader = scene.customer()
    mail, order = scene.message(reader, "promo"), scene.order(reader, 3, "12.34")
    with reading(scene.engine) as connection:
        (row,) = connection.execute(attributed_orders(GOALS)).all()
    assert row._asdict() == {
        "order_id": order,
        "message_id": mail,
        "campaign": "promo",
        "ordered_at": scene.at(3),
        "total": Decimal("12.34"),
    }


def test_leaving_out_earlier_mails_changes_nothing_for_the_later_ones(scene):
    reader = scene.customer()
    scene.message(reader, "promo", hours=0)
    middle = scene.message(reader, "promo", hours=10)
    late = scene.message(reader, "cart", hours=20)
    first, second, third = scene.order(reader, 5), scene.order(reader, 15), scene.order(reader, 25)
    assert attribution(scene, since=scene.at(10)) == {second: middle, third: late}
    assert attribution(scene)[first] not in (middle, late)


def test_without_goals_nothing_is_attributed(scene):
    reader = scene.customer()
    scene.message(reader, "promo")
    scene.order(reader, 3)
    with reading(scene.engine) as connection:
        assert connection.execute(attributed_orders({})).all() == []
