"""A batch of claimed messages: everything a mail needs, loaded in one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from drumbeat.outbox.claim import Claim
from drumbeat.store.tables import customers, messages
from drumbeat.triggers import Subject


@dataclass(frozen=True)
class Item:
    """One claimed message with its customer's row, as a template sees it."""

    message_id: int
    attempts: int
    campaign: str
    step: str
    sender: str
    kind: str
    topic: str
    template: str
    expires_at: datetime | None
    subject: Subject
    customer: dict[str, Any]

    @property
    def address(self) -> str | None:
        """The customer's mail address, if there is one."""
        return self.customer["email"] or None


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
        campaign=row["campaign"],
        step=row["step"],
        sender=row["sender"],
        kind=row["kind"],
        topic=row["topic"],
        template=row["template"],
        expires_at=row["expires_at"],
        subject=Subject(row["customer_id"], row["occasion"], row["subject_id"]),
        customer={name: row[f"customer__{name}"] for name in customers.c.keys()},  # noqa: SIM118 - not a dict
    )
