"""Consent: what each customer agreed to, and the proof of every change (`consent_events`, append-only).

Whoever changes a consent changes it here, or in `ingest.proof` for imports, so that no change is without its
proof: where it happened, what the reader saw and did, in which language and with which program.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, select

from drumbeat.responses.record import BATCH
from drumbeat.store.dialect.insert import insert
from drumbeat.store.tables import consent_events, consents, customers


class Change(NamedTuple):
    """A consent given or taken back. `source`: preferences, opt_in, link, webhook:<provider>, ...

    `proof`: url, text (as the reader saw it), language, agent, and ip where the project keeps it.
    """

    customer_id: int
    topic: str
    granted: bool
    at: datetime
    source: str
    proof: Mapping[str, Any] | None = None


def change(
    connection: Connection,
    changes: Sequence[Change],
    *,
    renew: bool = False,
    loaded_at: datetime | None = None,
) -> int:
    """Change consents and keep the proof of each that changed; return how many did.

    A consent decided later than `at` stays: an old no does not undo a new yes, nor the other way round.
    `renew`: a consent that is granted already is granted anew, with the new proof. `loaded_at`: when Drumbeat
    learned of it; default: each one's `at`.
    """
    latest: dict[tuple[int, str], Change] = {}
    for one in changes:
        key = (one.customer_id, one.topic)
        if key not in latest or latest[key].at < one.at:
            latest[key] = one
    # In the order of the key: two writers of the same consents wait for each other, never in a ring.
    ordered = [latest[key] for key in sorted(latest)]
    return sum(
        _change(connection, ordered[start : start + BATCH], renew, loaded_at)
        for start in range(0, len(ordered), BATCH)
    )


def _change(
    connection: Connection, changes: Sequence[Change], renew: bool, loaded_at: datetime | None
) -> int:
    statement = insert(connection, consents)
    new = statement.excluded
    differs: ColumnElement[bool] = consents.c.granted != new.granted
    upsert = statement.on_conflict_do_update(
        index_elements=["customer_id", "topic"],
        set_={name: new[name] for name in ("granted", "at", "source", "loaded_at")},
        where=(consents.c.at <= new.at) & ((new.granted | differs) if renew else differs),
    ).returning(consents.c.customer_id, consents.c.topic)
    rows = [
        {
            "customer_id": one.customer_id,
            "topic": one.topic,
            "granted": one.granted,
            "at": one.at,
            "source": one.source,
            "loaded_at": loaded_at or one.at,
        }
        for one in changes
    ]
    changed = {(row.customer_id, row.topic) for row in connection.execute(upsert, rows)}
    events = [
        {**row, "proof": dict(one.proof) if one.proof is not None else None}
        for row, one in zip(rows, changes, strict=True)
        if (one.customer_id, one.topic) in changed
    ]
    if events:
        connection.execute(insert(connection, consent_events), events)
    return len(events)


BY_READER = ("preferences", "opt_in")
"""Sources of a consent that the reader gave on a page of ours: they take an earlier no back."""


def asked_since(
    connection: Connection, customer_ids: Collection[int], since: datetime | None
) -> dict[int, dict[str, datetime]]:
    """Return the topics that each of the customers has asked for on a page of ours after `since`, and when last."""
    found: dict[int, dict[str, datetime]] = {}
    if since is None:
        return found
    for row in connection.execute(
        select(consent_events)
        .where(
            consent_events.c.customer_id.in_(customer_ids),
            consent_events.c.granted,
            consent_events.c.source.in_(BY_READER),
            consent_events.c.at > since,
        )
        .order_by(consent_events.c.at)
    ):
        found.setdefault(row.customer_id, {})[row.topic] = row.at
    return found


def granted_topics(connection: Connection, customer_ids: Collection[int]) -> dict[int, set[str]]:
    """Return the topics that each of the customers agrees to now."""
    found: dict[int, set[str]] = {}
    for row in connection.execute(
        select(consents.c.customer_id, consents.c.topic).where(
            consents.c.customer_id.in_(customer_ids), consents.c.granted
        )
    ):
        found.setdefault(row.customer_id, set()).add(row.topic)
    return found


def mailbox_of(connection: Connection, email_key: str) -> list[int]:
    """Return every customer with this mailbox, the first one known first."""
    return list(
        connection.execute(
            select(customers.c.id).where(customers.c.email_key == email_key).order_by(customers.c.id)
        ).scalars()
    )


def history(connection: Connection, customer_id: int) -> Sequence[Row[Any]]:
    """Return every change of a customer's consents, oldest first. Columns: those of `consent_events`."""
    return connection.execute(
        select(consent_events)
        .where(consent_events.c.customer_id == customer_id)
        .order_by(consent_events.c.at, consent_events.c.id)
    ).all()


def standing(connection: Connection, customer_id: int) -> Sequence[Row[Any]]:
    """Return what a customer's consents are now, by topic. Columns: those of `consents`."""
    return connection.execute(
        select(consents).where(consents.c.customer_id == customer_id).order_by(consents.c.topic)
    ).all()
