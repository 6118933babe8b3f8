"""The states of a message and the one table of legal moves. No other module changes `messages.state`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert, update

from drumbeat.store.tables import message_events, messages, outbox


class State(StrEnum):
    """Where a message stands. `final` states never change again."""

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
        """Say whether no move leads out of this state."""
        return not MOVES[self]


MOVES: Mapping[State, frozenset[State]] = {
    State.DEFERRED: frozenset({State.PLANNED, State.SKIPPED}),
    State.PLANNED: frozenset({State.HANDING_OVER, State.REFUSED, State.FAILED, State.SKIPPED, State.EXPIRED}),
    State.HANDING_OVER: frozenset({State.SENT, State.UNCERTAIN, State.REFUSED, State.PLANNED, State.FAILED}),
    State.SENT: frozenset(),
    State.UNCERTAIN: frozenset(),
    State.REFUSED: frozenset(),
    State.FAILED: frozenset(),
    State.SKIPPED: frozenset(),
    State.EXPIRED: frozenset(),
}
"""From each state, where a message may go. HANDING_OVER -> PLANNED is a retry after a temporary refusal."""


class Reason(StrEnum):
    """Why a message was not sent, or not yet."""

    NO_ADDRESS = "no_address"
    NO_CONSENT = "no_consent"
    SUPPRESSED = "suppressed"
    CAPPED = "capped"
    DUPLICATE_PERSON = "duplicate_person"
    NO_LONGER_ELIGIBLE = "no_longer_eligible"
    CAMPAIGN_GONE = "campaign_gone"
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

    Writes `message_events`; takes the message out of the outbox when the new state is final. `values` are
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
    connection.execute(
        insert(message_events).values(message_id=message_id, at=at, state=to, detail=detail or reason)
    )
    if to.final:
        connection.execute(delete(outbox).where(outbox.c.message_id == message_id))
    return True
