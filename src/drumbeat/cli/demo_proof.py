"""What the demo proves from the ledger and the mailbox, not from what the program says of itself."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from drumbeat.ledger.states import State
from drumbeat.store.engine import reading
from drumbeat.store.tables import customers, messages

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.project.load import Project

Sent = tuple[object, datetime]


@dataclass(frozen=True)
class Proof:
    """What was counted. `most_in_any_span`: the most mails that one person got in any rolling span."""

    sent: int
    people: int
    most_in_any_span: int
    twice: int
    kept_away_by_cap: int


def prove(engine: Engine, project: Project) -> Proof:
    """Count the mails that went out, per person and sender, by the time each was accepted."""
    person = func.coalesce(customers.c.person_id, -customers.c.id)
    with reading(engine) as connection:
        rows = connection.execute(
            select(
                person, messages.c.sender, messages.c.sent_at, messages.c.counts_toward_cap,
                messages.c.campaign, messages.c.step, messages.c.occasion, messages.c.customer_id,
            )
            .join(customers, customers.c.id == messages.c.customer_id)
            .where(messages.c.state.in_([State.SENT, State.UNCERTAIN]))
            .order_by(messages.c.sent_at)
        ).all()  # fmt: skip
        capped = connection.execute(
            select(func.count()).select_from(messages).where(messages.c.reason == "capped")
        ).scalar_one()
    occasions = Counter((row.campaign, row.step, row.customer_id, row.occasion) for row in rows)
    return Proof(
        sent=len(rows),
        people=len({row[0] for row in rows}),
        most_in_any_span=most_in_any_span(
            (((row[0], row.sender), row.sent_at) for row in rows if row.counts_toward_cap),
            project.config.cap.per,
        ),
        twice=sum(count - 1 for count in occasions.values()),
        kept_away_by_cap=capped,
    )


def most_in_any_span(sent: Iterable[Sent], span: timedelta) -> int:
    """Return the most mails of one key within any half-open window of `span`; `sent` is in order of time."""
    windows: dict[object, deque[datetime]] = {}
    most = 0
    for key, at in sent:
        window = windows.setdefault(key, deque())
        window.append(at)
        while window[0] <= at - span:
            window.popleft()
        most = max(most, len(window))
    return most
