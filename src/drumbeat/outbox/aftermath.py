"""After a kill: settle what a dead worker left, by its own journal. Done before anything else is handed over."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, or_, select, update

from drumbeat.delivery import Answer, Outcome
from drumbeat.ledger.states import State
from drumbeat.outbox.journal import Left, abandoned
from drumbeat.outbox.record import Ended, settle
from drumbeat.outbox.recover import CUT_OFF
from drumbeat.store.engine import writing
from drumbeat.store.tables import messages, outbox


def settle_abandoned(engine: Engine, root: Path, *, at: datetime, attempts: int) -> Counter[str]:
    """Settle what workers that died on this machine were handing over, and give back what they had claimed.

    Returns how many messages ended how, by state. A message whose content never began waits again; one with
    an answer in the journal ended so; one that was begun and has no answer is UNCERTAIN, at most one a
    connection. Safe to do by several at once, and again.
    """
    counts: Counter[str] = Counter()
    for left in abandoned(root):
        with writing(engine) as connection:
            ended = _ended(connection, left, at)
            states = settle(connection, ended, attempts=attempts)
            connection.execute(
                update(outbox)
                .where(outbox.c.lease_owner == left.worker)
                .values(lease_until=None, lease_owner=None)
            )
        answers = {one.message_id: one.answer.outcome for one in ended}
        for message_id, state in states.items():
            if state is not State.PLANNED:
                counts[state.value] += 1
            elif answers[message_id] is Outcome.DEFERRED:
                counts["deferred"] += 1
    return counts


def _ended(connection: Connection, left: Left, at: datetime) -> list[Ended]:
    """Return how the journal's messages ended that the store still shows as being handed over, or as cut off."""
    rows = connection.execute(
        select(messages.c.id, messages.c.priority, outbox.c.attempts)
        .outerjoin(outbox, outbox.c.message_id == messages.c.id)
        .where(
            messages.c.id.in_(left.chunk),
            or_(
                (messages.c.state == State.HANDING_OVER) & (outbox.c.lease_owner == left.worker),
                # Another machine's worker has found the lease run out before we came.
                (messages.c.state == State.UNCERTAIN) & (messages.c.answer == CUT_OFF),
            ),
        )
    ).all()
    return [
        Ended(row.id, row.attempts or 0, row.priority, *_end_of(left, row.id, at))
        for row in sorted(rows, key=lambda row: row.id)
    ]


def _end_of(left: Left, message_id: int, at: datetime) -> tuple[Answer, datetime]:
    if message_id in left.ended:
        return left.ended[message_id]
    if message_id in left.begun or not left.same_boot:
        return Answer(Outcome.UNCERTAIN, CUT_OFF), at
    return Answer(Outcome.WITHDRAWN, "the worker stopped before its content left"), at
