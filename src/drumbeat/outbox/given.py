"""Tasks whose hand-over was cut off: the store itself says whether they were given."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sqlalchemy import Engine, select

from drumbeat.delivery import Answer, Outcome
from drumbeat.delivery.task import written
from drumbeat.ledger.reach import TASK
from drumbeat.ledger.states import State
from drumbeat.outbox.record import Ended, settle
from drumbeat.store.engine import writing
from drumbeat.store.tables import messages


def settle_tasks(engine: Engine, *, at: datetime, attempts: int) -> Counter[str]:
    """Settle the tasks that were called uncertain at `at`; return by how much to correct the counts of states.

    A task that is in the store was given; any other waits again, and is given once by its message's own key.
    """
    counts: Counter[str] = Counter()
    with writing(engine) as connection:
        rows = connection.execute(
            select(messages.c.id, messages.c.priority).where(
                messages.c.channel == TASK, messages.c.state == State.UNCERTAIN, messages.c.sent_at == at
            )
        ).all()
        there = written(connection, [row.id for row in rows])
        given = Answer(Outcome.ACCEPTED, "the task is in the store")
        waits = Answer(Outcome.WITHDRAWN, "the worker stopped before the task was given")
        ended = [Ended(row.id, 0, row.priority, given if row.id in there else waits, at) for row in rows]
        for state in settle(connection, ended, attempts=attempts).values():
            counts["uncertain"] -= 1
            counts["sent"] += state is State.SENT
    return counts
