"""Claims: a worker leases rows of the outbox, so that no other one takes them up at the same time.

A claim is committed before work starts: no transaction is held open while a mail server answers. A worker
that dies leaves its leases to run out.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Engine, or_, select, update

from drumbeat.ledger.states import State
from drumbeat.store.engine import writing
from drumbeat.store.tables import messages, outbox


class Claim(NamedTuple):
    """A leased row of the outbox; `attempts` are the temporary refusals so far."""

    message_id: int
    attempts: int


def worker_name() -> str:
    """Return a name that no other worker has, now or later: host, process and chance."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def claim(engine: Engine, *, worker: str, at: datetime, lease: timedelta, limit: int) -> list[Claim]:
    """Lease up to `limit` messages that are due, highest priority first, then longest due.

    One statement for both databases: PostgreSQL needs SKIP LOCKED (without it four workers deadlocked),
    SQLite leaves it out and is alone in its writing transaction anyway. The choice stands in a CTE,
    because PostgreSQL runs a locking CTE exactly once, while a locking subquery with LIMIT may be run
    again for each row.
    """
    due = (
        select(outbox.c.message_id)
        .join(messages, messages.c.id == outbox.c.message_id)
        .where(
            outbox.c.due_at <= at,
            or_(outbox.c.lease_until.is_(None), outbox.c.lease_until <= at),
            messages.c.state == State.PLANNED,
        )
        .order_by(outbox.c.priority.desc(), outbox.c.due_at, outbox.c.message_id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=outbox)
        .cte("due")
    )
    statement = (
        update(outbox)
        .where(outbox.c.message_id.in_(select(due.c.message_id)))
        .values(lease_until=at + lease, lease_owner=worker)
        .returning(outbox.c.message_id, outbox.c.attempts, outbox.c.priority, outbox.c.due_at)
    )
    with writing(engine) as connection:
        rows = connection.execute(statement).all()
    in_order = sorted(rows, key=lambda row: (-row.priority, row.due_at, row.message_id))
    return [Claim(row.message_id, row.attempts) for row in in_order]


def renew(engine: Engine, message_ids: Collection[int], *, worker: str, until: datetime) -> set[int]:
    """Lengthen the leases that are still the worker's own and return their messages."""
    with writing(engine) as connection:
        rows = connection.execute(
            update(outbox)
            .where(outbox.c.message_id.in_(message_ids), outbox.c.lease_owner == worker)
            .values(lease_until=until)
            .returning(outbox.c.message_id)
        )
        return set(rows.scalars())


def release(engine: Engine, message_ids: Collection[int], *, worker: str) -> None:
    """Give back what was claimed and not taken up; a message that is being handed over keeps its lease."""
    if not message_ids:
        return
    waiting = select(messages.c.id).where(messages.c.id.in_(message_ids), messages.c.state == State.PLANNED)
    with writing(engine) as connection:
        connection.execute(
            update(outbox)
            .where(outbox.c.message_id.in_(waiting), outbox.c.lease_owner == worker)
            .values(lease_until=None, lease_owner=None)
        )
