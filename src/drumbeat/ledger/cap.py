"""The cap: the one place that says which messages count, and for whom.

At most `messages` mails reach a person from one sender in any rolling `per`. What counts, from the ledger
alone (no counters that could drift):

- rows that wait or are being handed over, whatever their age: they may still reach the reader at any time;
- rows sent, or of uncertain end, after `at - per` (half-open: exactly `per` ago is outside).

Counting `sent_at` and every waiting row, rather than `due_at`, holds even where a stopped mail server
lets planned mails pile up. Why it holds at every instant: take any mails handed over within one span, and
of these the one that was planned last. When it was planned, each of the others was waiting or had been
sent within the span before, so each of them was counted.

The person, not the customer row, is capped: two customer rows with one mailbox are one reader. A project may
cap single channels beside that, and a reader may choose fewer messages than the cap allows (`preferences`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, true

from drumbeat.ingest.people import PEOPLE
from drumbeat.ledger.states import State
from drumbeat.store.dialect.locks import lock
from drumbeat.store.tables import customers, messages, preferences

RESERVED = (State.PLANNED, State.HANDING_OVER)
"""States that hold a place under the cap at any age."""

REACHED = (State.SENT, State.UNCERTAIN)
"""States that hold a place for the span after `sent_at`."""


# Made once: an alias of a wide table costs 3 ms to make, more than the query it serves.
_THIS, _MINE, _THEIRS = messages.alias("this"), customers.alias("mine"), customers.alias("theirs")


class CapRule(NamedTuple):
    """At most `messages` per person and sender in any rolling `per`; of one `channel`, or of all together."""

    messages: int
    per: timedelta
    channel: str | None = None


def rules_of(cap: Any) -> tuple[CapRule, ...]:
    """Return the rules of a project's `cap` (project.models.Cap): the one over all channels first."""
    return (
        CapRule(cap.messages, cap.per),
        *(CapRule(one.messages, one.per, channel) for channel, one in sorted(cap.channels.items())),
    )


def counts(rule: CapRule, at: datetime) -> ColumnElement[bool]:
    """Return the condition on `messages` that says which rows hold a place under the cap at `at`."""
    of_channel = messages.c.channel == rule.channel if rule.channel is not None else true()
    return (
        messages.c.counts_toward_cap
        & of_channel
        & or_(
            messages.c.state.in_(RESERVED),
            messages.c.state.in_(REACHED) & (messages.c.sent_at > at - rule.per),
        )
    )


def used_by(rule: CapRule, sender: str, at: datetime, person: ColumnElement[int]) -> ColumnElement[int]:
    """Return an expression: how many places the person in the column has used. Evaluate it once a row.

    A look-up for each person and no join with a sum over the candidates' people: SQLite, which does not
    know how many candidates there are, joined that by reading the mails of all customers, or each
    candidate with each other one (bench: 1.7 s CPU for a plan at 100,000 customers, this way 0.3 s).
    PostgreSQL takes 1.4 s for 500,000 candidates over 8M mails, and took 0.9 s for the join.
    """
    owner = customers.alias("cap_customer")
    return (
        select(func.count())
        .select_from(owner)
        .join(messages, messages.c.customer_id == owner.c.id)
        .where(owner.c.person_id == person, messages.c.sender == sender, counts(rule, at))
        .scalar_subquery()
    )


def chosen_by(person: ColumnElement[int]) -> ColumnElement[Any]:
    """Return an expression: the most messages that the person in the column chose to get, NULL where none."""
    owner = customers.alias("choosing_customer")
    return (
        select(func.min(preferences.c.max_messages))
        .select_from(owner)
        .join(preferences, preferences.c.email_key == owner.c.email_key)
        .where(owner.c.person_id == person)
        .scalar_subquery()
    )


def reached_before(message_ids: Collection[int], since: datetime) -> Select[Any]:
    """Return every OTHER counted message that has, or may have, reached the person of one of the messages.

    Columns: message_id (the one asked about), other_id, channel, sent_at. Newest first; a row being handed over
    right now has NULL as `sent_at`. Rows that only wait are left out: they hold a place against new plans, not
    against each other. `since`: sent later than that.
    """
    return (
        select(
            _THIS.c.id.label("message_id"),
            messages.c.id.label("other_id"),
            messages.c.channel,
            messages.c.sent_at,
        )
        .select_from(_THIS)
        .join(_MINE, _MINE.c.id == _THIS.c.customer_id)
        .join(_THEIRS, _THEIRS.c.person_id == _MINE.c.person_id)
        .join(messages, messages.c.customer_id == _THEIRS.c.id)
        .where(
            _THIS.c.id.in_(message_ids),
            messages.c.id != _THIS.c.id,
            messages.c.sender == _THIS.c.sender,
            messages.c.counts_toward_cap,
            or_(
                messages.c.state == State.HANDING_OVER,
                messages.c.state.in_(REACHED) & (messages.c.sent_at > since),
            ),
        )
        .order_by(_THIS.c.id, messages.c.sent_at.desc().nulls_first())
    )


def lock_sender(connection: Connection, sender: str) -> None:
    """Be the only one who admits mails of this sender until the transaction ends. Call it before counting."""
    lock(connection, "cap", sender)


def lock_people(connection: Connection) -> None:
    """Keep persons from merging until the transaction ends. Call it before asking who the person is."""
    lock(connection, PEOPLE, shared=True)


def lock_handover(connection: Connection, sender: str) -> None:
    """Be the only one who marks mails of this sender as being handed over until the transaction ends.

    Short, for a chunk of mails: two workers with mails to one person must see each other's marks.
    """
    lock(connection, "handover", sender)
