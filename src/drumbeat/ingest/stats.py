"""customer_stats: one row a customer with orders that stand, kept from the orders."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, cast, delete, func, or_, select, true

from drumbeat.store.dialect.insert import insert
from drumbeat.store.tables import customer_stats, orders


def refresh(connection: Connection, touched: Select[Any] | None = None) -> None:
    """Bring customer_stats in line with the orders whose status is 'placed'; cancelled ones never count.

    `touched`: a SELECT of customer ids; only those are looked at. None: all customers. Rows that are
    right already stay untouched.
    """
    among_orders: ColumnElement[bool] = true() if touched is None else orders.c.customer_id.in_(touched)
    among_stats: ColumnElement[bool] = (
        true() if touched is None else customer_stats.c.customer_id.in_(touched)
    )
    standing = and_(orders.c.status == "placed", among_orders)
    still = select(orders.c.id).where(
        orders.c.customer_id == customer_stats.c.customer_id, orders.c.status == "placed"
    )
    connection.execute(delete(customer_stats).where(among_stats, ~still.exists()))
    total = customer_stats.c.total.type
    fresh = (
        select(
            orders.c.customer_id,
            func.count(),
            # PostgreSQL sums BIGINT as NUMERIC.
            cast(func.sum(orders.c.total), total),
            func.min(orders.c.ordered_at),
            func.max(orders.c.ordered_at),
        )
        .where(standing)
        .group_by(orders.c.customer_id)
    )
    figures = ("orders", "total", "first_order_at", "last_order_at")
    statement = insert(connection, customer_stats).from_select(["customer_id", *figures], fresh)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["customer_id"],
            set_={name: statement.excluded[name] for name in figures},
            where=or_(
                *(customer_stats.c[name].is_distinct_from(statement.excluded[name]) for name in figures)
            ),
        )
    )
