"""The states of a message and the one table of legal moves. No other module changes `messages.state`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Text, and_, delete, insert, or_, select, update

from drumbeat.store.dialect.rows import rows
from drumbeat.store.tables import message_events, messages, outbox


class State(StrEnum):
    """Where a message stands. A `final` one has left the outbox."""

    DEFERRED = "deferred"  # kept back by the cap; each plan looks at it again until it expires
    PLANNED = "planned"  # in the outbox
    HANDING_OVER = "handing_over"  # past the point of no return
    SENT = "sent"  # accepted by the receiving side
    UNCERTAIN = "uncertain"  # cut off while handing over; counts as sent, is never resent by itself
    REFUSED = "refused"  # permanently refused by the receiving side
    FAILED = "failed"  # given up: cannot be rendered, or retries are used up
    SKIPPED = "skipped"  # decided against; `reason` says why
    EXPIRED = "expired"  # its time passed before it could go out

    @property
    def final(self) -> bool:
        """Say whether the message has left the outbox: only evidence changes an UNCERTAIN one, nothing the rest."""
        return self not in (State.DEFERRED, State.PLANNED, State.HANDING_OVER)


MOVES: Mapping[State, frozenset[State]] = {
    State.DEFERRED: frozenset({State.PLANNED, State.SKIPPED}),
    State.PLANNED: frozenset({State.HANDING_OVER, State.REFUSED, State.FAILED, State.SKIPPED, State.EXPIRED}),
    State.HANDING_OVER: frozenset(
        {
            *(State.SENT, State.UNCERTAIN, State.REFUSED, State.PLANNED, State.FAILED),
            *(State.SKIPPED, State.EXPIRED),
        }
    ),
    State.SENT: frozenset(),
    State.UNCERTAIN: frozenset({State.SENT, State.REFUSED, State.PLANNED, State.FAILED}),
    State.REFUSED: frozenset(),
    State.FAILED: frozenset(),
    State.SKIPPED: frozenset(),
    State.EXPIRED: frozenset(),
}
"""From each state, where a message may go.

HANDING_OVER -> PLANNED is a retry after a temporary refusal, or a message whose content never left; one that is
withdrawn in that state is SKIPPED or EXPIRED. Out of UNCERTAIN leads only evidence of what happened: the dead
worker's own journal, or the provider's word.
"""


class Reason(StrEnum):
    """Why a message was not sent, or not yet."""

    NO_ADDRESS = "no_address"
    NO_CONSENT = "no_consent"
    SUPPRESSED = "suppressed"
    CAPPED = "capped"
    PAUSED = "paused"
    DUPLICATE_PERSON = "duplicate_person"
    NO_LONGER_ELIGIBLE = "no_longer_eligible"
    CAMPAIGN_GONE = "campaign_gone"
    ERASED = "erased"
    TOO_LATE = "too_late"
    NOT_RENDERED = "not_rendered"
    RETRIES_USED_UP = "retries_used_up"
    LEASE_LOST = "lease_lost"  # never stored: another worker has the message now


def move(
    connection: Connection,
    message_id: int,
    to: State,
    *,
    at: datetime,
    reason: str | None = None,
    detail: str | None = None,
    where: Iterable[Any] = (),
    **values: Any,
) -> bool:
    """Change one message's state where the table of moves and `where` allow; return whether it changed.

    Writes `message_events`, but for the mark of a hand-over, which `handing_over_at` keeps (its event cost an
    eighth of PostgreSQL's time for a mail); takes the message out of the outbox when the new state is final.
    `values` are
    further columns of `messages` to set. `where` are conditions on `messages`, judged in the same UPDATE.
    """
    sources = [state for state, targets in MOVES.items() if to in targets]
    changed = connection.execute(
        update(messages)
        .where(messages.c.id == message_id, messages.c.state.in_(sources), *where)
        .values(state=to, reason=reason, **values)
        .returning(messages.c.id)
    ).first()
    if changed is None:
        return False
    if to is not State.HANDING_OVER:
        connection.execute(
            insert(message_events).values(message_id=message_id, at=at, state=to, detail=detail or reason)
        )
    if to.final:
        connection.execute(delete(outbox).where(outbox.c.message_id == message_id))
    return True


class Move(NamedTuple):
    """One message's move. `values`: further columns of `messages` to set, the same ones in all moves of a call."""

    message_id: int
    to: State
    at: datetime
    reason: str | None = None
    detail: str | None = None
    values: Mapping[str, Any] = {}


def move_many(connection: Connection, moves: Sequence[Move], *, where: Iterable[Any] = ()) -> set[int]:
    """Make many moves in three statements; return the messages that moved. Else as `move`."""
    if not moves:
        return set()
    names = list(moves[0].values)
    columns: dict[str, Any] = {"message_id": BigInteger(), "to": Text(), "reason": Text()}
    columns |= {f"new_{name}": messages.c[name].type for name in names}
    given = rows(
        "moves",
        columns,
        [(m.message_id, str(m.to), m.reason, *(m.values[name] for name in names)) for m in moves],
    )
    by_target: dict[frozenset[State], list[str]] = defaultdict(list)
    for to in sorted({m.to for m in moves}):
        by_target[frozenset(s for s, targets in MOVES.items() if to in targets)].append(to)
    legal = or_(
        *(
            and_(given.c.to.in_(targets), messages.c.state.in_(sorted(sources)))
            for sources, targets in by_target.items()
        )
    )
    changed = (
        update(messages)
        .values(
            {"state": given.c.to, "reason": given.c.reason} | {name: given.c[f"new_{name}"] for name in names}
        )
        .where(messages.c.id == given.c.message_id, legal, *where)
        .returning(messages.c.id)
    )
    moved = set(connection.execute(changed).scalars())
    if not moved:
        return moved
    told = [m for m in moves if m.message_id in moved and m.to is not State.HANDING_OVER]
    if told:
        _tell(connection, told)
    done = [m.message_id for m in moves if m.message_id in moved and m.to.final]
    if done:
        connection.execute(delete(outbox).where(outbox.c.message_id.in_(done)))
    return moved


def _tell(connection: Connection, moves: Sequence[Move]) -> None:
    columns = ("message_id", "at", "state", "detail")
    given = rows(
        "told",
        {name: message_events.c[name].type for name in columns},
        [(m.message_id, m.at, str(m.to), m.detail or m.reason) for m in moves],
    )
    connection.execute(insert(message_events).from_select(columns, select(*given.c)))


def resolve(connection: Connection, message_ids: Iterable[int], *, at: datetime, detail: str) -> set[int]:
    """Call UNCERTAIN messages SENT on the receiving side's word; return which changed.

    `at`: when the word came. `sent_at` stays: it is the latest moment they can have been sent at.
    """
    ids = list(message_ids)
    return move_many(
        connection,
        [Move(i, State.SENT, at, detail=detail) for i in ids],
        where=(messages.c.state == State.UNCERTAIN,),
    )
