"""Compiles tests of a customer's orders and events to correlated subqueries, one a test.

Orders without a window or a product are read from `customer_stats`, one row by its key. Those figures cover
all orders that were loaded; where the last of them is after `as_of` (a plan made for an earlier time), the
orders themselves are asked.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from drumbeat.segments.comparisons import attribute_condition, back, value_condition
from drumbeat.segments.nodes import NEGATED, History, Test
from drumbeat.store.tables import customer_stats, customers, events, order_items, orders

_AT_LEAST_ONE = Test("at_least", 1)


def history_condition(node: History, as_of: datetime) -> ColumnElement[bool]:
    """Return whether the customer's orders or events pass all tests; never NULL."""
    counts = node.count if node.count or _implies_one(node) else (_AT_LEAST_ONE,)
    return sa.and_(
        sa.true(),
        *(_count_condition(node, test, as_of) for test in counts),
        *(value_condition(figure(node, "total", as_of), test, as_of) for test in node.total),
        *(value_condition(figure(node, "first", as_of), test, as_of) for test in node.first),
        *(value_condition(figure(node, "last", as_of), test, as_of) for test in node.last),
    )


def figure(node: History, name: str, as_of: datetime) -> ColumnElement[Any]:
    """Return `count`, `total`, `first` or `last` of the chosen rows: 0 or NULL where there are none."""
    counted = name in ("count", "total")
    if not is_kept_in_stats(node):
        found = _select(node, name, as_of).scalar_subquery()
        return sa.func.coalesce(found, 0, type_=found.type) if name == "total" else found
    stats = customer_stats.c
    kept = {
        "count": stats.orders,
        "total": stats.total,
        "first": stats.first_order_at,
        "last": stats.last_order_at,
    }[name]
    if name == "first":
        value: ColumnElement[Any] = sa.case((kept <= as_of, kept))
    else:
        value = sa.case(
            (stats.last_order_at <= as_of, kept), else_=_select(node, name, as_of).scalar_subquery()
        )
    found = sa.select(value).where(stats.customer_id == customers.c.id).correlate(customers).scalar_subquery()
    return sa.func.coalesce(found, sa.literal(0, kept.type), type_=kept.type) if counted else found


def is_kept_in_stats(node: History) -> bool:
    """Say whether customer_stats has the figures: all orders, without a window or a product."""
    return node.kind == "orders" and node.within is None and not node.names


def _implies_one(node: History) -> bool:
    """Say whether a test fails anyway where there are no rows, so that counting them adds nothing."""
    if any(test.operator not in NEGATED for test in (*node.first, *node.last)):
        return True
    return any(_fails_on_nothing(test) for test in node.total)


def _fails_on_nothing(test: Test) -> bool:
    match test:
        case Test("at_least", Decimal() as least):
            return least > 0
        case Test("more_than", Decimal() as bound):
            return bound >= 0
    return False


def _count_condition(node: History, test: Test, as_of: datetime) -> ColumnElement[bool]:
    """Compare the count; whether there is any row at all is an EXISTS, which stops at the first."""
    match (test.operator, test.value):
        case ("at_least", 0):
            return sa.true()
        case ("at_least", 1) | ("more_than", 0) | ("is_not", 0):
            return _any(node, as_of)
        case ("at_most", 0) | ("less_than", 1) | ("is", 0):
            return sa.not_(_any(node, as_of))
    return value_condition(figure(node, "count", as_of), test, as_of)


def _any(node: History, as_of: datetime) -> ColumnElement[bool]:
    if is_kept_in_stats(node):
        stats = customer_stats.c
        return (
            sa.exists()
            .where(stats.customer_id == customers.c.id, stats.first_order_at <= as_of)
            .correlate(customers)
        )
    return sa.exists().where(*_chosen(node, as_of)).correlate(customers)


def _select(node: History, name: str, as_of: datetime) -> sa.Select[Any]:
    at = orders.c.ordered_at if node.kind == "orders" else events.c.at
    what = {
        "count": sa.func.count(),
        "total": sa.func.sum(orders.c.total),
        "first": sa.func.min(at),
        "last": sa.func.max(at),
    }[name]
    table = orders if node.kind == "orders" else events
    return sa.select(what).select_from(table).where(*_chosen(node, as_of)).correlate(customers)


def _chosen(node: History, as_of: datetime) -> list[ColumnElement[bool]]:
    """Return what chooses the rows that the tests look at."""
    if node.kind == "orders":
        at, conditions = (
            orders.c.ordered_at,
            [orders.c.customer_id == customers.c.id, orders.c.status == "placed"],
        )
    else:
        at, conditions = events.c.at, [events.c.customer_id == customers.c.id, events.c.name.in_(node.names)]
        if len(node.names) == 1:
            conditions[-1] = events.c.name == node.names[0]
    conditions.append(at <= as_of)
    if node.within is not None:
        conditions.append(at > back(as_of, node.within))
    if node.kind == "orders" and node.names:
        holds = sa.exists().where(
            order_items.c.order_id == orders.c.id, order_items.c.product.in_(node.names)
        )
        conditions.append(holds.correlate(orders))
    conditions += [attribute_condition(events.c.properties, where.key, where.tests) for where in node.where]
    return conditions
