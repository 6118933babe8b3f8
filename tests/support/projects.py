"""A small project to load, and customers and events to fill its store with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select, update

from drumbeat.project.load import load_project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import consents, customers, events, messages

MINIMAL_PROJECT = {
    "project.yaml": """
project: minimal
time_zone: Europe/London
senders:
  shop: {name: The Shop, address: shop@shop.example, postal_address: "1 High Street, London"}
topics: {offers: Offers, news: News}
delivery: {backend: file, lease: 10m, attempts: 4}
""",
    "segments.yaml": "shoppers: {consent: offers}\n",
    "triggers/__init__.py": '''
"""One kind for tests: every event of a name is an occasion."""

from __future__ import annotations

from typing import ClassVar

from drumbeat.triggers import Duration, Moment, Trigger, sa, sql_time, tables


class Happened(Trigger):
    """Events called `name` in the last `within`."""

    kind: ClassVar[str] = "happened"
    name: str
    within: Duration = "30d"

    def select(self, moment):
        e = tables.events.c
        return sa.select(
            e.customer_id,
            (sa.literal("event:") + e.external_id).label("occasion"),
            e.id.label("subject_id"),
            e.at.label("due_at"),
            sql_time.shifted(e.at, self.within).label("expires_at"),
        ).where(e.name == self.name, e.at <= moment.as_of, e.at > moment.as_of - self.within)


KINDS = {Happened.kind: Happened}
''',
    "templates/hello/subject.txt.j2": "Hello {{ customer.first_name }}",
    "templates/hello/body.html.j2": """<!doctype html><html><head><title>Hello</title></head>
<body><p>Hello</p><a href="{{ unsubscribe_url }}">Unsubscribe</a></body></html>
""",
    "templates/hello/body.txt.j2": "Hello\n\nUnsubscribe: {{ unsubscribe_url }}\n",
    "templates/hello/sample.yaml": "customer: {first_name: Ada}\n",
}


def campaign_file(name: str, **settings: object) -> str:
    """The YAML of a campaign on the event of its own name; `settings` replace the defaults."""
    campaign = {
        "campaign": name,
        "description": f"Mails on {name}",
        "topic": "offers",
        "segment": "shoppers",
        "trigger": {"happened": {"name": name}},
        "message": {"template": "hello"},
        **settings,
    }
    return json.dumps(campaign)


@pytest.fixture
def make_project(tmp_path: Path):
    """Write a small project and load it: `make_project({"a.yaml": text}, campaigns={"hello": {...}})`."""

    def make(files: dict[str, str] | None = None, *, campaigns: dict[str, dict[str, object]] | None = None):
        root = tmp_path / "project"
        texts = {**MINIMAL_PROJECT, **(files or {})}
        for name, settings in (campaigns if campaigns is not None else {"hello": {}}).items():
            texts[f"campaigns/{name}.yaml"] = campaign_file(name, **settings)
        for path, text_ in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text_, encoding="utf-8")
        return load_project(root)

    return make


@pytest.fixture
def people(store: Engine):
    """Fill the store: `people.add(3)`, `people.happen("hello", customer_id, at)`, `people.rows()`."""
    return People(store)


class People:
    """Writes customers with consent, and events, straight into the tables."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._events = 0

    def add(
        self, count: int = 1, *, consent: bool = True, at: datetime | None = None, **columns: object
    ) -> list[int]:
        """Add customers with a mailbox each; return their ids."""
        at = at or datetime(2011, 1, 1, tzinfo=UTC)
        ids = []
        with writing(self.engine) as connection:
            start = connection.execute(select(func.count()).select_from(customers)).scalar_one()
            for number in range(start + 1, start + count + 1):
                row = {
                    "external_id": f"c{number}",
                    "email": f"c{number}@example.com",
                    "email_key": f"c{number}@example.com",
                    "first_name": f"Name{number}",
                    "loaded_at": at,
                    **columns,
                }
                customer_id = connection.execute(
                    insert(customers).values(row).returning(customers.c.id)
                ).scalar_one()
                ids.append(customer_id)
                connection.execute(
                    update(customers)
                    .where(customers.c.id == customer_id, customers.c.person_id.is_(None))
                    .values(person_id=customer_id)
                )
                if consent:
                    connection.execute(
                        insert(consents),
                        [
                            {
                                "customer_id": customer_id,
                                "topic": t,
                                "granted": True,
                                "at": at,
                                "loaded_at": at,
                            }
                            for t in ("offers", "news")
                        ],
                    )
        return ids

    def happen(self, name: str, customer_id: int, at: datetime, times: int = 1) -> None:
        """Add events: each is an occasion of the campaign of that name."""
        with writing(self.engine) as connection:
            for _ in range(times):
                self._events += 1
                connection.execute(
                    insert(events).values(
                        external_id=f"e{self._events}",
                        customer_id=customer_id,
                        name=name,
                        at=at,
                        properties={},
                        loaded_at=at,
                    )
                )

    def ledger(self) -> list[tuple[str, int, str, str | None]]:
        """Return (campaign, customer_id, state, reason) of every message, in order of id."""
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(
                    messages.c.campaign, messages.c.customer_id, messages.c.state, messages.c.reason
                ).order_by(messages.c.id)
            ).all()
        return [tuple(row) for row in rows]
