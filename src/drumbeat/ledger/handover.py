"""The last check: consent, suppression and the cap once more, at the moment a mail is handed over."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Engine, select, update

from drumbeat.ledger.cap import CapRule, lock_people, lock_person, reached_before
from drumbeat.ledger.reach import unreachable
from drumbeat.ledger.states import Reason, State, move
from drumbeat.store.engine import writing
from drumbeat.store.tables import customers, messages, outbox


def begin(
    engine: Engine,
    message_id: int,
    *,
    worker: str,
    at: datetime,
    rule: CapRule,
    email: str | None = None,
) -> Reason | None:
    """Move the message to HANDING_OVER, committed, or withdraw it; return None to go on, else why not.

    To be called directly before the first byte of a mail's content leaves. `worker` must hold the
    message's lease at `at`. Withdrawn messages are settled here: SKIPPED for a missing address or consent
    and for a suppression, EXPIRED when their time is over; one over the cap stays PLANNED and is due
    again when a place comes free (the cap was lowered, or two customers turned out to be one person).
    Two workers handing over to one person are put in order by a lock on the person. `email`: the address
    that the mail is written to; where the customer has another one by now, the lease is given up, so that
    the mail is claimed and written anew.
    """
    with writing(engine) as connection:
        lock_people(connection)
        row = connection.execute(
            select(messages, customers.c.person_id, customers.c.email)
            .join(customers, customers.c.id == messages.c.customer_id)
            .where(messages.c.id == message_id)
        ).one()
        if row.obeys_cap:
            # A statement of its own: what is counted next must be seen after the lock was won.
            lock_person(connection, row.sender, row.person_id)
        leased = connection.execute(
            select(outbox.c.message_id).where(
                outbox.c.message_id == message_id, outbox.c.lease_owner == worker, outbox.c.lease_until > at
            )
        ).first()
        if leased is None:
            return Reason.LEASE_LOST
        if row.expires_at is not None and row.expires_at <= at:
            move(connection, message_id, State.EXPIRED, at=at, reason=Reason.TOO_LATE)
            return Reason.TOO_LATE
        refusal = connection.execute(
            select(unreachable(marketing=row.kind == "marketing", topic=row.topic)).where(
                customers.c.id == row.customer_id
            )
        ).scalar()
        if refusal is not None:
            move(connection, message_id, State.SKIPPED, at=at, reason=refusal)
            return Reason(refusal)
        if email is not None and row.email != email:
            # What was judged above is the new address; the old one may have been given up by a suppression.
            connection.execute(
                update(outbox)
                .where(outbox.c.message_id == message_id)
                .values(lease_until=None, lease_owner=None)
            )
            return Reason.LEASE_LOST
        if row.obeys_cap and not _has_place(connection, message_id, at, rule):
            return Reason.CAPPED
        moved = move(connection, message_id, State.HANDING_OVER, at=at, handing_over_at=at)
        return None if moved else Reason.LEASE_LOST


def _has_place(connection: Connection, message_id: int, at: datetime, rule: CapRule) -> bool:
    """Say whether the cap leaves a place; where not, put the message off until the place comes free."""
    reached = connection.execute(reached_before(message_id, rule, at)).scalars().all()
    if len(reached) < rule.messages:
        return True
    # With k mails too many, a place comes free when the one that now stands at the last place leaves the span.
    last = reached[rule.messages - 1]
    free_at = (last or at) + rule.per
    connection.execute(
        update(outbox)
        .where(outbox.c.message_id == message_id)
        .values(due_at=free_at, lease_until=None, lease_owner=None)
    )
    return False
