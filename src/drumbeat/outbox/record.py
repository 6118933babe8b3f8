"""Recording: how each hand-over ended, committed before the next mail goes out."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, exists, insert, update

from drumbeat.delivery import Answer, Outcome
from drumbeat.ledger.states import Reason, State, move
from drumbeat.outbox.batch import Item
from drumbeat.store.engine import writing
from drumbeat.store.tables import message_events, messages, outbox

BACK_OFF = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 240))
"""How long a mail waits after its first, second, ... temporary refusal; the last holds for all later ones."""


def back_off(attempts: int) -> timedelta:
    """Return the wait after the given number of temporary refusals, which is at least one."""
    return BACK_OFF[min(attempts, len(BACK_OFF)) - 1]


def record(
    engine: Engine,
    item: Item,
    answer: Answer,
    *,
    begun: bool,
    worker: str,
    at: datetime,
    attempts: int,
) -> State | None:
    """Write down how a hand-over ended and return the message's new state.

    `begun`: the message went past the point of no return. `attempts`: give up after that many temporary
    refusals. A retry comes back as PLANNED. Returns None where another worker has the message by now; a
    message that recovery has called UNCERTAIN meanwhile stays so.
    """
    with writing(engine) as connection:
        if answer.outcome is Outcome.DEFERRED and item.attempts + 1 < attempts:
            return _try_again(connection, item, answer.text, begun=begun, worker=worker, at=at)
        moved = _finish(connection, item, answer, begun=begun, worker=worker, at=at)
    if moved is None and begun:
        return State.UNCERTAIN
    return moved


def not_rendered(engine: Engine, item: Item, text: str, *, worker: str, at: datetime) -> bool:
    """Give a message up that cannot be rendered; return whether it was still ours."""
    with writing(engine) as connection:
        return move(
            connection,
            item.message_id,
            State.FAILED,
            at=at,
            reason=Reason.NOT_RENDERED,
            detail=text,
            where=(messages.c.state == State.PLANNED, _leased_by(worker)),
            answer=text,
        )


def _leased_by(worker: str) -> ColumnElement[bool]:
    return exists().where(outbox.c.message_id == messages.c.id, outbox.c.lease_owner == worker)


def _finish(
    connection: Connection, item: Item, answer: Answer, *, begun: bool, worker: str, at: datetime
) -> State | None:
    """Move to the final state that the outcome stands for; None where the message is not ours any more."""
    state, reason = {
        Outcome.ACCEPTED: (State.SENT, None),
        Outcome.UNCERTAIN: (State.UNCERTAIN, None),
        Outcome.REFUSED: (State.REFUSED, None),
        Outcome.DEFERRED: (State.FAILED, Reason.RETRIES_USED_UP),
    }[answer.outcome]
    moved = move(
        connection,
        item.message_id,
        state,
        at=at,
        reason=reason,
        detail=answer.text,
        where=(messages.c.state == (State.HANDING_OVER if begun else State.PLANNED), _leased_by(worker)),
        sent_at=at if state in (State.SENT, State.UNCERTAIN) else None,
        answer=answer.text,
    )
    return state if moved else None


def _try_again(
    connection: Connection, item: Item, text: str, *, begun: bool, worker: str, at: datetime
) -> State | None:
    """Put the message back into the outbox, to be due after the back-off."""
    tried = item.attempts + 1
    waiting = connection.execute(
        update(outbox)
        .where(outbox.c.message_id == item.message_id, outbox.c.lease_owner == worker)
        .values(due_at=at + back_off(tried), attempts=tried, lease_until=None, lease_owner=None)
        .returning(outbox.c.message_id)
    ).first()
    if waiting is None:
        return State.UNCERTAIN if begun else None
    if begun:
        ours = (messages.c.state == State.HANDING_OVER,)
        move(
            connection,
            item.message_id,
            State.PLANNED,
            at=at,
            detail=text,
            where=ours,
            handing_over_at=None,
            answer=text,
        )
    else:
        # No change of state, but the temporary refusal belongs to the message's story.
        connection.execute(
            insert(message_events).values(message_id=item.message_id, at=at, state=State.PLANNED, detail=text)
        )
    return State.PLANNED
