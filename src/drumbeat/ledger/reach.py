"""Who may be written to: address, suppression, pause and consent, judged in one place for planning and hand-over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, case, exists, literal, null, or_, select

from drumbeat.ledger.states import Reason
from drumbeat.store.dialect.words import domain_of
from drumbeat.store.tables import consents, customers, opt_ins, preferences, suppressions

DEAD_ADDRESS = ("bounced", "complained", "erased")
"""Suppressions that stop service messages too: the address is dead, its owner calls us spam, or was erased."""

MAIL, SMS, TELEGRAM, WEBHOOK, TASK = CHANNELS = ("mail", "sms", "telegram", "webhook", "task")
"""Every way to reach somebody."""


def address_key(channel: str) -> ColumnElement[Any]:
    """Return an expression over `customers`: the address in the channel, as suppressions name it; NULL without.

    A webhook and a task go to our own systems and people: they need no address of the customer.
    """
    keys: Mapping[str, ColumnElement[Any]] = {
        MAIL: customers.c.email_key,
        SMS: literal("tel:", Text) + customers.c.phone,
        TELEGRAM: literal("tg:", Text) + customers.c.telegram_id,
    }
    return keys.get(channel, literal("", Text))


def _asked_for_mail(at: datetime | ColumnElement[Any]) -> ColumnElement[bool]:
    """Return an expression over `customers`: whether a request for mail waits to be confirmed (double opt-in)."""
    return exists(
        select(literal(1)).where(
            opt_ins.c.customer_id == customers.c.id,
            opt_ins.c.confirmed_at.is_(None),
            opt_ins.c.expires_at > at,
        )
    )


def unreachable(
    *,
    marketing: bool,
    topic: str | ColumnElement[str],
    at: datetime | ColumnElement[Any],
    channel: str = MAIL,
) -> ColumnElement[Any]:
    """Return an expression over `customers`: why this customer may not be written to at `at`, NULL where they may.

    Marketing needs a granted consent to its topic, no suppression of the address (or its whole domain) for the
    topic or for all topics, and no pause that the reader chose. Service messages are stopped only by
    suppressions that say the address is dead. One that stands because its owner was erased lets them through while
    a request of the owner's own waits to be confirmed, or the mail that asks for that could not go out.
    """
    key = address_key(channel)
    # A domain's suppression stands under `@example.com`: both are looked up in the one index.
    named = suppressions.c.email_key == key
    if channel == MAIL:
        named = suppressions.c.email_key.in_([key, literal("@", Text) + domain_of(key)])
    suppressed = exists(
        select(literal(1)).where(
            named,
            or_(suppressions.c.topic == "", suppressions.c.topic == topic)
            if marketing
            else suppressions.c.reason.in_(DEAD_ADDRESS)
            & or_(suppressions.c.reason != "erased", ~_asked_for_mail(at)),
        )
    )
    refused: list[tuple[ColumnElement[bool], Any]] = [
        (key.is_(None), literal(Reason.NO_ADDRESS, Text)),
        (suppressed, literal(Reason.SUPPRESSED, Text)),
    ]
    if marketing:
        consented = exists(
            select(literal(1)).where(
                consents.c.customer_id == customers.c.id, consents.c.topic == topic, consents.c.granted
            )
        )
        paused = exists(
            select(literal(1)).where(
                preferences.c.email_key == customers.c.email_key, preferences.c.paused_until > at
            )
        )
        refused += [
            (~consented, literal(Reason.NO_CONSENT, Text)),
            (paused, literal(Reason.PAUSED, Text)),
        ]
    return case(*refused, else_=null())
