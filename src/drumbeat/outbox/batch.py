"""A batch of claimed messages: everything a mail needs, loaded in one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, select

from drumbeat.ledger.handover import ADDRESS
from drumbeat.ledger.reach import MAIL
from drumbeat.outbox.claim import Claim
from drumbeat.store.tables import customers, messages
from drumbeat.triggers import Subject


@dataclass(frozen=True)
class Item:
    """One claimed message with its customer's row, as a template sees it."""

    message_id: int
    attempts: int
    priority: int
    campaign: str
    step: str
    channel: str
    sender: str
    kind: str
    topic: str
    template: str
    expires_at: datetime | None
    subject: Subject
    customer: dict[str, Any]

    @property
    def address(self) -> str | None:
        """The customer's address in the message's channel, if there is one; '' for a channel that needs none."""
        column = ADDRESS.get(self.channel)
        return "" if column is None else self.customer[column] or None

    @cached_property
    def domain(self) -> str:
        """The domain of a mail's recipient in small letters, as DNS has it; '' in other channels."""
        return (self.customer["email_key"] or "").rpartition("@")[2] if self.channel == MAIL else ""


def load(connection: Connection, claims: Sequence[Claim]) -> list[Item]:
    """Return the claimed messages in the order they were claimed."""
    rows = connection.execute(
        select(
            messages.c.id,
            messages.c.customer_id,
            messages.c.occasion,
            messages.c.subject_id,
            *(messages.c[name] for name in _OF_MESSAGE),
            *customers.c,
        )
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(messages.c.id.in_([claim.message_id for claim in claims]))
    )
    by_id = {row[0]: row for row in rows}
    return [_item(by_id[claim.message_id], claim.attempts) for claim in claims if claim.message_id in by_id]


_OF_MESSAGE = ("priority", "campaign", "step", "channel", "sender", "kind", "topic", "template", "expires_at")
"""The fields of an Item that are columns of `messages`, in this order."""

_SUBJECT = slice(1, 4)
_MESSAGE = slice(4, 4 + len(_OF_MESSAGE))
_CUSTOMER = slice(4 + len(_OF_MESSAGE), None)
_CUSTOMERS = tuple(customers.c.keys())


def _item(row: Sequence[Any], attempts: int) -> Item:
    # By place: 40 columns by name cost three times as much.
    customer = dict(zip(_CUSTOMERS, row[_CUSTOMER], strict=True))
    fields: list[Any] = [row[0], attempts, *row[_MESSAGE], Subject(*row[_SUBJECT]), customer]
    return Item(*fields)
