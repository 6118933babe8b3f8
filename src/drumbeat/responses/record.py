"""Store responses: in batches, each fact once, however often it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, select

from drumbeat.responses.kinds import Actor, Kind
from drumbeat.store.dialect.insert import insert
from drumbeat.store.tables import messages, responses
from drumbeat.store.types import to_microseconds

SAME_HIT_S = 10
"""Two hits on one link within the same ten seconds are one: a double click, a retry, a preloading browser.

Longer would swallow real second visits; a clock window rather than "since the last hit" keeps the key a
pure function of the hit, so that reading the same hits in again changes nothing.
"""

BATCH = 1_000
"""Rows in one INSERT. PostgreSQL stores 0.5k rows/s one by one, 34k at this size, 27k at 5,000."""


@dataclass(frozen=True, slots=True)
class Response:
    """One fact about a message. `at` is when it happened, aware; `raw` is what was seen, small and JSON.

    `dedupe_key` names the fact: a provider's own event id where there is one, else `hit_key`.
    """

    message_id: int
    kind: Kind
    at: datetime
    dedupe_key: str
    actor: Actor = Actor.UNKNOWN
    url: str | None = None
    raw: Mapping[str, Any] | None = None


def hit_key(
    message_id: int, kind: Kind, at: datetime, *, url: str | None = None, actor: Actor = Actor.UNKNOWN
) -> str:
    """Return the dedupe key of an open or a click: message, kind, link, who, and the ten seconds it fell in.

    Who is part of it, so that a scanner just before the reader does not take the reader's place. An
    unsubscribe has no window: the first one counts, those after it change nothing.
    """
    if kind is Kind.UNSUBSCRIBED:
        return f"{kind}:{message_id}"
    window = to_microseconds(at) // (SAME_HIT_S * 1_000_000)
    link = blake2b((url or "").encode(), digest_size=9).hexdigest() if url else "-"
    who = "machine" if actor is Actor.MACHINE else "reader"
    return f"{kind}:{message_id}:{link}:{who}:{window}"


def record(connection: Connection, hits: Sequence[Response], *, loaded_at: datetime | None = None) -> int:
    """Store the responses that are not stored yet; return how many were new.

    Hits on messages that the ledger does not have (a database that was made anew) are left out: they
    would fail the whole batch. `loaded_at` is when Drumbeat learned of them; default: each one's `at`.
    """
    stored = 0
    for start in range(0, len(hits), BATCH):
        stored += _record_batch(connection, hits[start : start + BATCH], loaded_at)
    return stored


def _record_batch(connection: Connection, hits: Sequence[Response], loaded_at: datetime | None) -> int:
    known = known_messages(connection, {hit.message_id for hit in hits})
    rows = {
        hit.dedupe_key: {
            "dedupe_key": hit.dedupe_key,
            "message_id": hit.message_id,
            "kind": str(hit.kind),
            "at": hit.at,
            "class": str(hit.actor),
            "url": hit.url,
            "raw": dict(hit.raw) if hit.raw is not None else None,
            "loaded_at": loaded_at or hit.at,
        }
        # Reversed: of two hits with one key the first one in the batch stays, as it would in the store.
        for hit in reversed(hits)
        if hit.message_id in known
    }
    if not rows:
        return 0
    # In the order of the unique key: two writers of the same hits wait for each other, never in a ring.
    statement = insert(connection, responses).on_conflict_do_nothing(index_elements=["dedupe_key"])
    # Rows as parameters, not as VALUES of the statement: that would be compiled anew for every batch.
    new = connection.execute(statement.returning(responses.c.id), [rows[key] for key in sorted(rows)])
    return len(new.all())


def known_messages(connection: Connection, ids: set[int]) -> set[int]:
    """Return those of the ids that the ledger has."""
    return set(connection.execute(select(messages.c.id).where(messages.c.id.in_(possible(ids)))).scalars())


def possible(ids: Iterable[int]) -> set[int]:
    """Return those of the ids that a BIGINT key can be: the drivers fail on others."""
    return {i for i in ids if 0 < i < 2**63}
