"""The mails of which nobody knows whether they went out, for a person to look at."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, case, select

from drumbeat.ledger.reach import MAIL
from drumbeat.ledger.states import State
from drumbeat.store.tables import customers, messages


class Uncertain(NamedTuple):
    """A mail whose hand-over was cut off; `at` is the latest moment it can have gone out."""

    message_id: int
    customer: str
    email: str | None
    campaign: str
    occasion: str
    at: datetime
    answer: str | None


def list_uncertain(
    connection: Connection, *, since: datetime | None = None, limit: int | None = None
) -> list[Uncertain]:
    """Return the uncertain mails, newest first; with `since` only those from that moment on."""
    rows = connection.execute(
        select(
            messages.c.id,
            customers.c.external_id,
            # As suppressions name it: tel:+44... Of a mail as it is written.
            case((messages.c.channel == MAIL, customers.c.email), else_=messages.c.address_key),
            messages.c.campaign,
            messages.c.occasion,
            messages.c.sent_at,
            messages.c.answer,
        )
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(
            messages.c.state == State.UNCERTAIN,
            *([messages.c.sent_at >= since] if since is not None else []),
        )
        .order_by(messages.c.sent_at.desc(), messages.c.id)
        .limit(limit)
    )
    return [Uncertain(*row) for row in rows]


class Failure(NamedTuple):
    """A mail that was given up, with what is known."""

    campaign: str
    customer: str
    answer: str | None


def newest_failure(connection: Connection) -> Failure | None:
    """Return the newest message that failed: one tells what is wrong with all of a broken template."""
    row = connection.execute(
        select(messages.c.campaign, customers.c.external_id, messages.c.answer)
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(messages.c.state == State.FAILED)
        .order_by(messages.c.id.desc())
        .limit(1)
    ).first()
    return None if row is None else Failure(*row)
