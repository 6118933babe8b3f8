"""Explain says which clause of a trigger keeps a customer away, for each kind."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import insert, update

from drumbeat.project.kinds import trigger_kinds
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import cart_items, carts, coupons, customer_stats, customers, events
from drumbeat.triggers import Moment

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def findings(store, people, project_root, now):
    """Return the unmet clauses of a kind for the first customer."""
    people.add(time_zone="Pacific/Auckland")
    kinds = trigger_kinds(project_root)

    def ask(kind: str, **params) -> list[str]:
        trigger = kinds[kind].model_validate(params)
        moment = Moment(now, "Europe/London", ("Pacific/Auckland",))
        with reading(store) as connection:
            found = trigger.findings(connection, 1, moment)
            due = connection.execute(trigger.select(moment)).all()
        assert bool(due) == all(finding.met for finding in found), "the clauses agree with the rule"
        return [finding.text for finding in found if not finding.met]

    return ask


def put(store, table, **values) -> None:
    with writing(store) as connection:
        connection.execute(insert(table).values(values))


def cart(store, now, age, **values) -> None:
    row = {"external_id": "k1", "customer_id": 1, "updated_at": now - age, "total": 30, "loaded_at": now}
    put(store, carts, **{**row, **values})
    put(store, cart_items, cart_id=1, line=1, quantity=1, unit_price=30)


def test_no_cart(findings):
    assert findings("abandoned_cart") == ["a cart with something in it"]


def test_a_cart_touched_a_moment_ago(store, findings, now):
    cart(store, now, HOUR)
    assert findings("abandoned_cart") == ["idle for 4h (cart k1 was changed 2011-12-05 08:00 UTC)"]


def test_a_cart_that_is_too_old_and_too_small(store, findings, now):
    cart(store, now, 3 * DAY)
    assert findings("abandoned_cart", min_total=50) == [
        "changed within 3d (cart k1 was changed 2011-12-02 09:00 UTC)",
        "total at least 50 (found: 30)",
    ]


def test_a_cart_that_is_due_leaves_no_clause_unmet(store, findings, now):
    cart(store, now, 5 * HOUR)
    assert findings("abandoned_cart") == []


def coupon(store, now, **values) -> None:
    row = {"external_id": "p1", "customer_id": 1, "expires_at": now + DAY, "loaded_at": now}
    put(store, coupons, **{**row, **values})


def test_coupons(store, findings, now):
    assert findings("expiring_promo") == ["a coupon"]
    coupon(store, now, redeemed_at=now - HOUR)
    assert findings("expiring_promo") == ["coupon p1 is not redeemed"]
    coupon(store, now, external_id="p2", expires_at=now + 9 * DAY, starts_at=now + HOUR)
    assert findings("expiring_promo") == [
        "coupon p2 has started",
        "coupon p2 expires within 3d (expires 2011-12-14 09:00 UTC)",
    ]
    coupon(store, now, external_id="p3")
    assert findings("expiring_promo") == []


def test_the_next_time_of_a_schedule(findings):
    assert findings("schedule", cron="0 8 * * 3", time_zone="Europe/London") == [
        "a time of '0 8 * * 3' in the last 1d (the next one is 2011-12-07 08:00 GMT)"
    ]


def test_days_to_remember(store, findings, now):
    assert findings("anniversary", of="birth_date") == ["a day to remember: birth_date"]
    with writing(store) as connection:
        born = {"birth_date": date(1980, 5, 17), "attributes": {"wedding": "2001-02-03", "odd": "soon"}}
        connection.execute(update(customers).values(born))
    other_day = "its mail belongs to the present local day (that is for 2011-12-05 in Pacific/Auckland)"
    assert findings("anniversary", of="birth_date") == [other_day]
    assert findings("anniversary", of={"attribute": "wedding"}) == [other_day]
    assert findings("anniversary", of={"attribute": "odd"}) == ["a day to remember: odd"]
    put(
        store,
        customer_stats,
        customer_id=1,
        orders=1,
        total=1,
        first_order_at=now - 9 * DAY,
        last_order_at=now,
    )
    assert findings("anniversary", of="first_order") == [other_day]
    put(store, events, customer_id=1, name="joined", at=now - 400 * DAY, properties={}, loaded_at=now)
    assert findings("anniversary", of={"event": "joined"}) == [other_day]


def test_a_birthday_today_leaves_no_clause_unmet(store, project_root, findings, now):
    with writing(store) as connection:
        connection.execute(update(customers).values(birth_date=date(1980, 12, 5)))
    kinds = trigger_kinds(project_root)
    moment = Moment(now, "Europe/London", ("Pacific/Auckland",))
    with reading(store) as connection:
        assert connection.execute(kinds["anniversary"](of="birth_date").select(moment)).all()
