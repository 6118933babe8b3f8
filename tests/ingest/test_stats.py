"""customer_stats says what the standing orders say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, insert, select, update

from drumbeat.ingest import stats
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import customer_stats, customers, orders

AT = datetime(2026, 1, 1, tzinfo=UTC)


def fill(store: Engine) -> None:
    """Three customers: two orders and a cancelled one; one order; a cancelled one only."""
    with writing(store) as connection:
        connection.execute(
            insert(customers), [{"id": i, "external_id": str(i), "loaded_at": AT} for i in (1, 2, 3)]
        )
        told = [
            (1, 0, "10.10", "placed"),
            (1, 5, "20.2020", "placed"),
            (1, 9, "-3", "cancelled"),
            (2, 1, "7", "placed"),
            (3, 1, "9", "cancelled"),
        ]
        connection.execute(
            insert(orders),
            [
                {
                    "external_id": f"o{n}",
                    "customer_id": who,
                    "ordered_at": AT + timedelta(days=day),
                    "total": total,
                    "status": status,
                    "loaded_at": AT,
                }
                for n, (who, day, total, status) in enumerate(told)
            ],
        )


def figures(store: Engine) -> list[tuple[Any, ...]]:
    with reading(store) as connection:
        return [
            tuple(row)
            for row in connection.execute(select(customer_stats).order_by(customer_stats.c.customer_id))
        ]


ALL = [
    (1, 2, Decimal("30.302"), AT, AT + timedelta(days=5)),
    (2, 1, Decimal(7), AT + timedelta(days=1), AT + timedelta(days=1)),
]


def test_only_orders_that_stand_count(store: Engine) -> None:
    fill(store)
    with writing(store) as connection:
        stats.refresh(connection)
    assert figures(store) == ALL


def test_a_customer_without_a_standing_order_has_no_row(store: Engine) -> None:
    fill(store)
    with writing(store) as connection:
        stats.refresh(connection)
        connection.execute(update(orders).where(orders.c.customer_id == 2).values(status="cancelled"))
        stats.refresh(connection)
    assert figures(store) == ALL[:1]


def test_only_the_touched_are_looked_at(store: Engine) -> None:
    fill(store)
    with writing(store) as connection:
        stats.refresh(connection, select(customers.c.id).where(customers.c.id == 2))
    assert figures(store) == ALL[1:]
    with writing(store) as connection:
        connection.execute(update(orders).values(status="cancelled"))
        stats.refresh(connection, select(customers.c.id).where(customers.c.id == 1))
    assert figures(store) == ALL[1:]
