"""Notes to hand over, and what the ledger says of them after."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, select

from drumbeat.delivery import Note, Outcome
from drumbeat.store.engine import reading
from drumbeat.store.tables import messages, suppressions

TOKEN = "abcdefghijklmnopqrstuvwx27"

WAITS = (Outcome.WITHDRAWN, Outcome.DEFERRED)
"""Ends of a message that certainly was not sent and goes out later."""


def note(to: str = "+447700900123", key: str = "k1", **changes: Any) -> Note:
    """A note ready to leave."""
    values = {"channel": "sms", "text": "Hello", "token": TOKEN, "campaign": "sale", **changes}
    return Note(key, to=to, **values)


def ledger(engine: Engine) -> list[tuple[Any, ...]]:
    """Return (campaign, state, reason, address_key, remote_id) of every message."""
    names = ("campaign", "state", "reason", "address_key", "remote_id")
    with reading(engine) as connection:
        rows = connection.execute(select(*(messages.c[name] for name in names)).order_by(messages.c.id))
        return [tuple(row) for row in rows]


def suppressed(engine: Engine) -> list[tuple[str, str, str]]:
    """Return (address, topic, reason) of every suppression."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(suppressions.c.email_key, suppressions.c.topic, suppressions.c.reason).order_by(
                suppressions.c.email_key
            )
        )
        return [tuple(row) for row in rows]
