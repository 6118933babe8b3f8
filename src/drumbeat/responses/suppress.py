"""Suppress addresses: what a reader's no, or a dead mailbox, does at once.

Mails of that person that still wait are withdrawn when their turn comes: `ledger.handover` looks at
suppressions and consent once more before a mail leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, select

from drumbeat.errors import UsageError
from drumbeat.issues import nearest
from drumbeat.responses.record import Response, possible, record
from drumbeat.store.dialect.insert import insert
from drumbeat.store.tables import consents, customers, messages, suppressions

STRENGTH: Mapping[str, int] = {"unsubscribed": 1, "manual": 2, "complained": 3, "bounced": 4}
"""There is one row per address and topic: a stronger reason replaces a weaker one, never the other way.

The two strongest stop service mail too (`ledger.reach.DEAD_ADDRESS`), so an earlier unsubscribe must not
hide a later bounce.
"""

EVERY_TOPIC = ""
"""The topic of a suppression that holds for all of them."""


def suppress(
    connection: Connection,
    email_key: str,
    *,
    topic: str = EVERY_TOPIC,
    reason: str,
    at: datetime,
    source: str,
) -> bool:
    """Keep marketing mail of `topic` (default: all) from an address; return whether that changed anything.

    `email_key` is the address as `ingest.people.email_key` writes it. `reason`: one of STRENGTH. Saying it
    again changes nothing. Raises UsageError for an unknown reason.
    """
    return _suppress(connection, {email_key: at}, topic=topic, reason=reason, source=source) > 0


def suppress_customer(
    connection: Connection,
    customer_id: int,
    *,
    topic: str = EVERY_TOPIC,
    reason: str,
    at: datetime,
    source: str,
) -> bool:
    """Suppress a customer's address, for every customer with that mailbox. False without address."""
    key = connection.execute(select(customers.c.email_key).where(customers.c.id == customer_id)).scalar()
    return key is not None and suppress(connection, key, topic=topic, reason=reason, at=at, source=source)


def unsubscribe(connection: Connection, hits: Sequence[Response], *, source: str) -> int:
    """Honour unsubscribes at once; return how many of them were new.

    For each: the response is recorded, the address is suppressed for all marketing, and consent to the
    message's topic is withdrawn for every customer with that mailbox, unless it was given after `hit.at`.
    """
    by_message = {hit.message_id: hit for hit in reversed(hits)}
    found = _readers(connection, set(by_message))
    at_by_key: dict[str, datetime] = {}
    for row in found:
        if row.email_key is not None:
            at = by_message[row.message_id].at
            at_by_key[row.email_key] = min(at, at_by_key.get(row.email_key, at))
    if at_by_key:
        _suppress(connection, at_by_key, topic=EVERY_TOPIC, reason="unsubscribed", source=source)
    _withdraw_consent(connection, found, by_message, source)
    return record(connection, hits)


def _readers(connection: Connection, message_ids: set[int]) -> Sequence[Row[Any]]:
    """Return every customer who shares the mailbox of a message's customer.

    Columns: message_id, topic, email_key, customer_id.
    """
    addressed, sharing = customers.alias("addressed"), customers.alias("sharing")
    same = (sharing.c.id == addressed.c.id) | (sharing.c.email_key == addressed.c.email_key)
    return connection.execute(
        select(
            messages.c.id.label("message_id"),
            messages.c.topic,
            addressed.c.email_key,
            sharing.c.id.label("customer_id"),
        )
        .join(addressed, addressed.c.id == messages.c.customer_id)
        .join(sharing, same)
        .where(messages.c.id.in_(possible(message_ids)))
    ).all()


def _suppress(
    connection: Connection, at_by_key: Mapping[str, datetime], *, topic: str, reason: str, source: str
) -> int:
    if reason not in STRENGTH:
        raise UsageError(f"unknown reason '{reason}' to suppress an address. {nearest(reason, STRENGTH)}")
    statement = insert(connection, suppressions).values(
        [
            {"email_key": key, "topic": topic, "reason": reason, "at": at, "source": source}
            for key, at in sorted(at_by_key.items())
        ]
    )
    standing = case(STRENGTH, value=suppressions.c.reason, else_=0)
    changed = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["email_key", "topic"],
            set_={name: statement.excluded[name] for name in ("reason", "at", "source")},
            where=standing < STRENGTH[reason],
        ).returning(suppressions.c.id)
    )
    return len(changed.all())


def _withdraw_consent(
    connection: Connection, found: Sequence[Row[Any]], by_message: Mapping[int, Response], source: str
) -> None:
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for row in found:
        at = by_message[row.message_id].at
        key = (row.customer_id, row.topic)
        if key not in rows or rows[key]["at"] < at:
            rows[key] = {
                "customer_id": row.customer_id,
                "topic": row.topic,
                "granted": False,
                "at": at,
                "source": source,
                "loaded_at": at,
            }
    if not rows:
        return
    statement = insert(connection, consents).values([rows[key] for key in sorted(rows)])
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["customer_id", "topic"],
            set_={name: statement.excluded[name] for name in ("granted", "at", "source", "loaded_at")},
            where=consents.c.granted & (consents.c.at <= statement.excluded.at),
        )
    )
