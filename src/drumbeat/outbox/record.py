"""Recording: how hand-overs ended, a chunk in one commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Engine, Integer, exists, select, update

from drumbeat.delivery import Answer, Outcome, Scope
from drumbeat.ledger.states import Move, Reason, State, move_many
from drumbeat.store.dialect.insert import insert
from drumbeat.store.dialect.rows import rows
from drumbeat.store.engine import writing
from drumbeat.store.tables import messages, outbox
from drumbeat.store.types import UtcDateTime

BACK_OFF = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 240))
"""How long a mail waits after its first, second, ... temporary refusal; the last holds for all later ones."""


def back_off(attempts: int) -> timedelta:
    """Return the wait after the given number of temporary refusals, which is at least one."""
    return BACK_OFF[min(attempts, len(BACK_OFF)) - 1]


class Ended(NamedTuple):
    """How a message that was marked HANDING_OVER ended; `attempts`: its temporary refusals before this one."""

    message_id: int
    attempts: int
    priority: int
    answer: Answer
    at: datetime


def record(
    engine: Engine,
    ended: Sequence[Ended],
    *,
    attempts: int,
    more: Callable[[Connection], None] = lambda connection: None,
) -> dict[int, State]:
    """Write down how hand-overs ended, in one commit, and return the messages' new states.

    `attempts`: give up after that many temporary refusals. A retry comes back as PLANNED, and so does a
    message that was WITHDRAWN without a word said of it, as its content never left. What recovery has called
    UNCERTAIN meanwhile becomes what it is known to be. Messages that somebody else has settled are left out.
    `more` is called within the same transaction.
    """
    with writing(engine) as connection:
        states = settle(connection, ended, attempts=attempts)
        more(connection)
    return states


def settle(connection: Connection, ended: Sequence[Ended], *, attempts: int) -> dict[int, State]:
    """Do `record` within a transaction."""
    targets = {one.message_id: _target(one, attempts) for one in ended}
    moved: set[int] = set()
    for waits in (True, False):
        moves = []
        for one in ended:
            state, reason = targets[one.message_id]
            if (state is State.PLANNED) is waits:
                values = _waiting_values(one) if waits else _final_values(one, state)
                moves.append(Move(one.message_id, state, one.at, reason, one.answer.text or None, values))
        # A PLANNED message is not of this chunk any more: check_again settled it, and it is claimed anew perhaps.
        moved |= move_many(
            connection, moves, where=(messages.c.state.in_((State.HANDING_OVER, State.UNCERTAIN)),)
        )
    again = [one for one in ended if one.message_id in moved and targets[one.message_id][0] is State.PLANNED]
    _put_back(connection, again)
    return {message_id: targets[message_id][0] for message_id in moved}


def _waiting_values(one: Ended) -> dict[str, Any]:
    return {"handing_over_at": None, "sent_at": None, "answer": one.answer.text or None}


def _final_values(one: Ended, state: State) -> dict[str, Any]:
    return {
        "sent_at": one.at if state in (State.SENT, State.UNCERTAIN) else None,
        "answer": one.answer.text or None,
        "via": one.answer.via,
        "remote_id": one.answer.remote_id,
    }


def _target(one: Ended, attempts: int) -> tuple[State, Reason | None]:
    if _is_attempt(one) and one.attempts + 1 >= attempts:
        return State.FAILED, Reason.RETRIES_USED_UP
    return {
        Outcome.ACCEPTED: (State.SENT, None),
        Outcome.UNCERTAIN: (State.UNCERTAIN, None),
        Outcome.REFUSED: (State.REFUSED, None),
        Outcome.DEFERRED: (State.PLANNED, None),
        Outcome.WITHDRAWN: (State.PLANNED, None),
    }[one.answer.outcome]


def _put_back(connection: Connection, again: Sequence[Ended]) -> None:
    """Let messages wait in the outbox again: after a refusal for the pause it asks for, withdrawn ones at once."""
    if not again:
        return
    given = rows(
        "again",
        {
            "message_id": BigInteger(),
            "due_at": UtcDateTime(),
            "priority": Integer(),
            "attempts": Integer(),
        },
        [
            (one.message_id, one.at + _pause(one), one.priority, one.attempts + _is_attempt(one))
            for one in again
        ],
    )
    # Recovery takes messages out of the outbox when it calls them uncertain: these come back into it.
    statement = insert(connection, outbox).from_select(
        ["message_id", "due_at", "priority", "attempts"],
        select(given.c.message_id, given.c.due_at, given.c.priority, given.c.attempts).where(
            given.c.message_id.is_not(None)
        ),
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["message_id"],
            set_={
                "due_at": statement.excluded.due_at,
                "attempts": statement.excluded.attempts,
                "lease_until": None,
                "lease_owner": None,
            },
        )
    )


def _is_attempt(one: Ended) -> int:
    """Return 1 for a refusal that is about this message; a whole server's trouble must not use its tries up."""
    return int(one.answer.outcome is Outcome.DEFERRED and one.answer.scope is not Scope.SERVER)


def _pause(one: Ended) -> timedelta:
    if one.answer.outcome is not Outcome.DEFERRED:
        return timedelta()
    usual = back_off(one.attempts + 1)
    return usual if one.answer.retry_after is None else max(one.answer.retry_after, timedelta(seconds=1))


def not_rendered(engine: Engine, failed: Sequence[tuple[int, str]], *, worker: str, at: datetime) -> set[int]:
    """Give messages up that cannot be rendered, each with the reason; return those that were still ours."""
    if not failed:
        return set()
    ours = exists().where(outbox.c.message_id == messages.c.id, outbox.c.lease_owner == worker)
    with writing(engine) as connection:
        return move_many(
            connection,
            [
                Move(message_id, State.FAILED, at, Reason.NOT_RENDERED, text, {"answer": text})
                for message_id, text in failed
            ],
            where=(messages.c.state == State.PLANNED, ours),
        )


def put_off(connection: Connection, until: Sequence[tuple[int, datetime]], *, worker: str) -> None:
    """Let claimed messages wait until a time each, without an attempt counted; the lease must be ours."""
    if not until:
        return
    given = rows("put_off", {"message_id": BigInteger(), "due_at": UtcDateTime()}, until)
    connection.execute(
        update(outbox)
        .where(outbox.c.message_id == given.c.message_id, outbox.c.lease_owner == worker)
        .values(due_at=given.c.due_at, lease_until=None, lease_owner=None)
    )
