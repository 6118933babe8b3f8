"""A small shop for tests of delivery: a project in a folder, and rows put straight into its store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, insert, select
from sqlalchemy import text as sql

from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import carts, consents, customers, message_events, messages, outbox, runs

TRIGGERS = '''
from drumbeat.triggers import Trigger, sa, tables


class Cart(Trigger):
    """Carts with something in them."""

    kind = "cart"

    def select(self, moment):
        c = tables.carts.c
        return sa.select(
            c.customer_id,
            (sa.literal("cart:") + c.external_id).label("occasion"),
            c.id.label("subject_id"),
            c.updated_at.label("due_at"),
            sa.null().label("expires_at"),
        ).where(c.total > 0, c.updated_at <= moment.as_of)

    def context(self, connection, subjects, moment=None):
        c = tables.carts.c
        ids = [subject.subject_id for subject in subjects]
        found = {row.id: row for row in connection.execute(sa.select(tables.carts).where(c.id.in_(ids)))}
        return {s: {"cart": {"id": found[s.subject_id].external_id}} for s in subjects}


KINDS = {"cart": Cart}
'''

PARTS = {
    "subject.txt.j2": "Your cart {{ cart.id }}\n",
    "body.html.j2": "<!doctype html><html><head><title>Cart</title></head><body><p>Dear {{ customer.first_name }}, "
    'cart {{ cart.id }} waits.</p><p><a href="https://shop.example.com/">Shop</a> '
    '<a href="{{ unsubscribe_url }}">Unsubscribe</a> {{ sender.postal_address }}</p></body></html>\n',
    "body.txt.j2": "Dear {{ customer.first_name }}, cart {{ cart.id }} waits.\n{{ unsubscribe_url }}\n"
    "{{ sender.postal_address }}\n",
    "sample.yaml": "cart: {id: c1}\n",
}


def make_shop(
    root: Path,
    delivery: Mapping[str, Any] | None = None,
    campaign: Mapping[str, Any] | None = None,
    cap: int = 4,
    database: str | None = None,
) -> Path:
    """Write a project into `root` with one campaign `reminder`, changed by the given settings."""
    config = {
        "project": "shop",
        "senders": {
            "shop": {"name": "Shop", "address": "shop@example.com", "postal_address": "1 Lane, London"}
        },
        "topics": {"offers": "Offers"},
        "cap": {"messages": cap, "per": "168h"},
        "delivery": dict(delivery or {"backend": "file"}),
        **({"database": database} if database else {}),
    }
    reminder = {
        "campaign": "reminder",
        "description": "A cart waits",
        "topic": "offers",
        "segment": "everyone",
        "trigger": {"cart": {}},
        "message": {"template": "reminder"},
        **(campaign or {}),
    }
    # JSON is YAML.
    files = {
        "project.yaml": json.dumps(config),
        "segments.yaml": "at_home: {country: GB}\n",
        "campaigns/reminder.yaml": json.dumps(reminder),
        "triggers/__init__.py": TRIGGERS,
        **{f"templates/reminder/{name}": text for name, text in PARTS.items()},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def fill(
    engine: Engine,
    count: int,
    due_at: datetime,
    *,
    expires_at: datetime | None = None,
    priority: int = 50,
    **customer: Any,
) -> list[int]:
    """Put in `count` customers with consent, a cart and a planned mail each; return the message ids.

    Addresses are r1@example.com and so on, numbered like the customers.
    """
    with writing(engine) as connection:
        first = (connection.execute(select(func.max(customers.c.id))).scalar() or 0) + 1
        ids = range(first, first + count)
        defaults = {"first_name": "Ann", "country": "GB", "loaded_at": due_at, **customer}
        connection.execute(
            insert(customers),
            [
                {
                    "id": i,
                    "external_id": f"c{i}",
                    "person_id": i,
                    "email": f"r{i}@example.com",
                    "email_key": f"r{i}@example.com",
                    **defaults,
                }
                for i in ids
            ],
        )
        granted = {"topic": "offers", "granted": True, "at": due_at, "loaded_at": due_at}
        connection.execute(insert(consents), [{"customer_id": i, **granted} for i in ids])
        filled = {"updated_at": due_at, "total": 30, "loaded_at": due_at}
        connection.execute(
            insert(carts), [{"id": i, "external_id": f"a{i}", "customer_id": i, **filled} for i in ids]
        )
    return plan_mails(engine, [(i, f"cart:a{i}", i) for i in ids], due_at, expires_at, priority)


def plan_mails(
    engine: Engine,
    occasions: list[tuple[int, str, int]],
    due_at: datetime,
    expires_at: datetime | None = None,
    priority: int = 50,
) -> list[int]:
    """Plan a mail for each (customer_id, occasion, subject_id), as planning would; return the message ids."""
    with writing(engine) as connection:
        run = {"kind": "plan", "as_of": due_at, "started_at": due_at}
        (run_id,) = connection.execute(insert(runs).values(**run).returning(runs.c.id)).one()
        first = (connection.execute(select(func.max(messages.c.id))).scalar() or 0) + 1
        shared = {
            "run_id": run_id,
            "campaign": "reminder",
            "sender": "shop",
            "kind": "marketing",
            "topic": "offers",
            "template": "reminder",
            "priority": priority,
            "state": "planned",
            "planned_at": due_at,
            "due_at": due_at,
            "expires_at": expires_at,
        }
        rows = [
            {"id": first + n, "customer_id": who, "occasion": what, "subject_id": subject, **shared}
            for n, (who, what, subject) in enumerate(occasions)
        ]
        connection.execute(insert(messages), rows)
        connection.execute(
            insert(outbox), [{"message_id": r["id"], "due_at": due_at, "priority": priority} for r in rows]
        )
        if engine.dialect.name == "postgresql":
            # Ids of our own choice leave the sequence behind.
            last = "SELECT setval(pg_get_serial_sequence('messages', 'id'), max(id)) FROM messages"
            connection.execute(sql(last))
    return [row["id"] for row in rows]


def states(engine: Engine) -> dict[str, int]:
    """Count the messages by state."""
    with reading(engine) as connection:
        rows = connection.execute(select(messages.c.state, func.count()).group_by(messages.c.state))
        return dict(rows.tuples().all())


def message(engine: Engine, message_id: int) -> Any:
    """Return a message's row."""
    with reading(engine) as connection:
        return connection.execute(select(messages).where(messages.c.id == message_id)).one()


def waiting(engine: Engine) -> list[Any]:
    """Return the outbox."""
    with reading(engine) as connection:
        return list(connection.execute(select(outbox).order_by(outbox.c.message_id)).all())


def story(engine: Engine, message_id: int) -> list[str]:
    """Return the states a message went through after it was planned."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(message_events.c.state)
            .where(message_events.c.message_id == message_id)
            .order_by(message_events.c.id)
        )
        return list(rows.scalars())


def later(at: datetime, minutes: float) -> datetime:
    """Return `at` plus minutes."""
    return at + timedelta(minutes=minutes)
