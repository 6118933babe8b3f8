"""A store filled by hand: a few lines say who was sent what and when."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select

from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import consents, customers, messages, metadata, orders, runs


class Scene:
    """Adds rows with sensible values; every method returns the new row's id. Times are in hours after `start`."""

    def __init__(self, engine: Engine, start: datetime) -> None:
        self.engine, self.start = engine, start
        self._numbers = count(1)
        self._run: int | None = None

    def at(self, hours: float) -> datetime:
        return self.start + timedelta(hours=hours)

    def customer(self, email: str | None = None, *, person: int | None = None, **values: Any) -> int:
        number = next(self._numbers)
        address = email if email is not None else f"reader{number}@example.com"
        row = {
            "external_id": f"C{number}",
            "email": address,
            "email_key": address.lower(),
            "loaded_at": self.start,
        }
        key = self._add(customers, {**row, **values})
        with writing(self.engine) as connection:
            connection.execute(
                customers.update()
                .where(customers.c.id == key)
                .values(person_id=key if person is None else person)
            )
        return key

    def consent(
        self, customer: int, topic: str = "offers", *, granted: bool = True, hours: float = -100
    ) -> None:
        at = self.at(hours)
        with writing(self.engine) as connection:
            connection.execute(
                insert(consents).values(
                    customer_id=customer, topic=topic, granted=granted, at=at, source="test", loaded_at=at
                )
            )

    def message(
        self,
        customer: int,
        campaign: str = "offers_mail",
        *,
        state: str = "sent",
        hours: float = 0,
        **values: Any,
    ) -> int:
        if self._run is None:
            self._run = self._add(runs, {"kind": "plan", "as_of": self.start, "started_at": self.start})
        at = self.at(hours)
        row = {
            "run_id": self._run,
            "campaign": campaign,
            "customer_id": customer,
            "occasion": f"occasion:{next(self._numbers)}",
            "sender": "shop",
            "kind": "marketing",
            "topic": "offers",
            "template": "mail",
            "priority": 50,
            "state": state,
            "planned_at": at,
            "due_at": at,
            "sent_at": at if state in ("sent", "uncertain") else None,
        }
        return self._add(messages, {**row, **values})

    def order(self, customer: int, hours: float, total: str = "10", **values: Any) -> int:
        row = {
            "external_id": f"O{next(self._numbers)}",
            "customer_id": customer,
            "ordered_at": self.at(hours),
            "total": Decimal(total),
            "loaded_at": self.start,
        }
        return self._add(orders, {**row, **values})

    def rows(self, table: str) -> list[Any]:
        with reading(self.engine) as connection:
            return list(connection.execute(select(metadata.tables[table])).all())

    def count(self, table: str) -> int:
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).select_from(metadata.tables[table])).scalar_one()

    def _add(self, table: Any, row: dict[str, Any]) -> int:
        with writing(self.engine) as connection:
            return int(connection.execute(insert(table).values(row).returning(table.c.id)).scalar_one())


@pytest.fixture
def scene(store: Engine, now: datetime) -> Scene:
    """An empty scene that starts at `now`."""
    return Scene(store, now)
