"""Store responses: in batches, each fact once, however often it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

from sqlalchemy import CTE, BigInteger, Connection, or_, select

from drumbeat.responses.kinds import Actor, Kind
from drumbeat.store.dialect.insert import insert
from drumbeat.store.dialect.rows import OverRows
from drumbeat.store.tables import messages, responses
from drumbeat.store.types import to_microseconds

SAME_HIT_S = 10
"""Two hits on one link within the same ten seconds are one: a double click, a retry, a preloading browser.

Longer would swallow real second visits; a clock window rather than "since the last hit" keeps the key a
pure function of the hit, so that reading the same hits in again changes nothing.
"""

BATCH = 1_000
"""Rows in one INSERT. PostgreSQL stores 0.5k rows/s one by one, 34k at this size, 27k at 5,000."""

LINK = "link"
"""The source of what came over our own links."""

SMTP = "smtp"
"""The source of what a mail server said while a mail was handed over."""


@dataclass(frozen=True, slots=True)
class Response:
    """One fact about a message. `at` is when it happened, aware; `raw` is what was seen, small and JSON.

    `dedupe_key` names the fact: a provider's own event id where there is one, else `hit_key`. `message_id`:
    None where no message of ours is known; then `email_key` says whom it is about. `bounce` and `reason`: of
    bounces, as in responses.reasons. `source`: link, smtp, mail or webhook:<provider>.
    """

    message_id: int | None
    kind: Kind
    at: datetime
    dedupe_key: str
    actor: Actor = Actor.UNKNOWN
    url: str | None = None
    raw: Mapping[str, Any] | None = None
    email_key: str | None = None
    bounce: Literal["hard", "soft"] | None = None
    reason: str | None = None
    source: str = LINK


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
    # Of two hits with one key the first one stays, as it would in the store.
    once = {hit.dedupe_key: hit for hit in reversed(hits)}
    # In the order of the unique key: two writers of the same hits wait for each other, never in a ring.
    rows = [_row(once[key], loaded_at) for key in sorted(once) if _possible(once[key].message_id)]
    return sum(
        len(_INSERT.execute(connection, rows[start : start + BATCH])) for start in range(0, len(rows), BATCH)
    )


_COLUMNS = [column for column in responses.columns if column is not responses.c.id]


def _row(hit: Response, loaded_at: datetime | None) -> tuple[Any, ...]:
    """Return the cells of _COLUMNS."""
    return (
        hit.dedupe_key,
        hit.message_id,
        hit.email_key,
        str(hit.kind),
        hit.at,
        str(hit.actor),
        hit.url,
        hit.bounce,
        hit.reason,
        hit.source,
        hit.raw,
        loaded_at or hit.at,
    )


def _insert(given: CTE, connection: Connection) -> Any:
    known = or_(given.c.message_id.is_(None), messages.c.id.is_not(None))
    rows = (
        select(*given.c)
        .outerjoin(messages, messages.c.id == given.c.message_id)
        .where(known)
        .order_by(given.c.dedupe_key)
    )
    names = [column.name for column in _COLUMNS]
    statement = insert(connection, responses).from_select(names, rows)
    return statement.on_conflict_do_nothing(index_elements=["dedupe_key"]).returning(responses.c.id)


_INSERT = OverRows({column.name: column.type for column in _COLUMNS}, _insert, [BigInteger()])


def _possible(message_id: int | None) -> bool:
    return message_id is None or 0 < message_id < 2**63


def possible(ids: Iterable[int | None]) -> set[int]:
    """Return those of the ids that a BIGINT key can be: the drivers fail on others."""
    return {i for i in ids if i is not None and _possible(i)}
