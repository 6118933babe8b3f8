"""Customers of whom nothing was heard for a long time, and those that only an unconfirmed sign-up made."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, literal, or_, select

from drumbeat.responses.kinds import Actor
from drumbeat.store.dialect.words import starts_with
from drumbeat.store.erased import is_erased
from drumbeat.store.tables import (
    carts,
    consent_events,
    consents,
    coupons,
    customers,
    events,
    messages,
    opt_ins,
    orders,
    responses,
)

SIGN_UP = "signup:"
"""How the external id of a customer begins whom a form of ours made (rendering.links.reader_name)."""

HEARD_OF = (
    (orders, orders.c.ordered_at),
    (carts, carts.c.updated_at),
    (coupons, coupons.c.redeemed_at),
    (events, events.c.at),
    (consent_events, consent_events.c.at),
    (opt_ins, opt_ins.c.asked_at),
)
"""What a customer does. What we send them is not."""


def inactive(before: datetime, after: int = 0) -> Select[tuple[int]]:
    """Return one customer row of each person of whom nothing was heard since `before`, by id, from those above `after`.

    An import that changed a row is a sign of life too, as is an open or a click that no machine made. Rows of our own
    staff (`seed`) are left out. Columns: id.
    """
    row = customers.alias("row_of_person")
    heard = or_(
        row.c.loaded_at >= before,
        row.c.created_at >= before,
        *(exists().where(of.c.customer_id == row.c.id, at >= before) for of, at in HEARD_OF),
        _reacted(row, before),
    )
    return (
        select(customers.c.id)
        .where(
            customers.c.id > after,
            # The first row of a person bears the person's number.
            customers.c.id == customers.c.person_id,
            ~customers.c.seed,
            ~is_erased(),
            ~exists(select(literal(1)).where(row.c.person_id == customers.c.person_id, heard)),
        )
        .order_by(customers.c.id)
    )


def made_by_sign_up(after: int = 0) -> Select[tuple[int]]:
    """Return the customers that only a form of ours made, and who confirmed nothing and did nothing else.

    Those with a request that is not over are left out, and so is everyone whom the company knows by an id of its own.
    Columns: id.
    """
    other = customers.alias("other_row")
    traces = (consents, orders, carts, coupons, events, opt_ins)
    return (
        select(customers.c.id)
        .where(
            customers.c.id > after,
            starts_with(customers.c.external_id, SIGN_UP),
            *(~exists().where(of.c.customer_id == customers.c.id) for of in traces),
            ~exists().where(other.c.person_id == customers.c.person_id, other.c.id != customers.c.id),
        )
        .order_by(customers.c.id)
    )


def _reacted(row: Any, before: datetime) -> ColumnElement[bool]:
    return exists(
        select(literal(1))
        .select_from(messages)
        .join(responses, responses.c.message_id == messages.c.id)
        .where(
            messages.c.customer_id == row.c.id,
            and_(responses.c.at >= before, responses.c["class"] != Actor.MACHINE),
            responses.c.kind.in_(["opened", "clicked", "unsubscribed", "subscribed", "complained"]),
        )
    )
