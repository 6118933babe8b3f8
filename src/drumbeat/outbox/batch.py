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
    columns = [customers.c[name].label(f"customer__{name}") for name in customers.c.keys()]  # noqa: SIM118 - not a dict
    rows = connection.execute(
        select(messages, *columns)
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(messages.c.id.in_([claim.message_id for claim in claims]))
    )
    by_id = {row["id"]: row for row in rows.mappings()}
    return [_item(by_id[claim.message_id], claim.attempts) for claim in claims if claim.message_id in by_id]


def _item(row: Any, attempts: int) -> Item:
    return Item(
        message_id=row["id"],
        attempts=attempts,
        priority=row["priority"],
        campaign=row["campaign"],
        step=row["step"],
        channel=row["channel"],
        sender=row["sender"],
        kind=row["kind"],
        topic=row["topic"],
        template=row["template"],
        expires_at=row["expires_at"],
        subject=Subject(row["customer_id"], row["occasion"], row["subject_id"]),
        customer={name: row[f"customer__{name}"] for name in customers.c.keys()},  # noqa: SIM118 - not a dict
    )
