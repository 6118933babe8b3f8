"""Who may be mailed: address, suppression and consent, judged in one place for planning and for hand-over."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text, case, exists, literal, null, or_, select

from drumbeat.ledger.states import Reason
from drumbeat.store.tables import consents, customers, suppressions

DEAD_ADDRESS = ("bounced", "complained")
"""Suppressions that stop service mail too: the address is dead, or its owner calls our mail spam."""


def unreachable(*, marketing: bool, topic: str | ColumnElement[str]) -> ColumnElement[Any]:
    """Return an expression over `customers`: why this customer may not be mailed, NULL where they may.

    Marketing mail needs a granted consent to its topic, and no suppression of the address for the topic
    or for all topics. Service mail is stopped only by suppressions that say the address is dead.
    """
    suppressed = exists(
        select(literal(1)).where(
            suppressions.c.email_key == customers.c.email_key,
            or_(suppressions.c.topic == "", suppressions.c.topic == topic)
            if marketing
            else suppressions.c.reason.in_(DEAD_ADDRESS),
        )
    )
    refused: list[tuple[ColumnElement[bool], Any]] = [
        (customers.c.email_key.is_(None), literal(Reason.NO_ADDRESS, Text)),
        (suppressed, literal(Reason.SUPPRESSED, Text)),
    ]
    if marketing:
        consented = exists(
            select(literal(1)).where(
                consents.c.customer_id == customers.c.id, consents.c.topic == topic, consents.c.granted
            )
        )
        refused.append((~consented, literal(Reason.NO_CONSENT, Text)))
    return case(*refused, else_=null())
