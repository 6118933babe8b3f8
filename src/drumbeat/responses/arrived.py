"""What arrives is stored as it came, before anybody reads it: a webhook call, a mail from the bounce mailbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Engine

from drumbeat.responses.webhooks import WebhookCall
from drumbeat.store.dialect.bulk import append_new
from drumbeat.store.dialect.insert import insert
from drumbeat.store.engine import writing
from drumbeat.store.tables import inbox

MAIL = "mail"
"""The source of what came to the bounce mailbox; every other source is a provider's name."""

KEPT_HEADERS = frozenset(
    {
        "content-type",
        "content-encoding",
        "user-agent",
        "x-amz-sns-message-type",
        "x-amz-sns-topic-arn",
        "x-twilio-email-event-webhook-timestamp",
        "svix-id",
        "svix-timestamp",
        "webhook-id",
        "webhook-timestamp",
    }
)
"""Headers that are stored with a call: what says how to read it. What proved it genuine is not: it is a secret."""

_ADDRESS = ":url"
"""Under this name, which no header can have, the call's address and method are kept among the headers."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A row of `inbox`. `source`: a provider's name or `mail`; `dedupe_key`: the same for the same thing again."""

    source: str
    dedupe_key: str
    received_at: datetime
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_call(self) -> WebhookCall:
        """Return the webhook call that it was."""
        method, _, url = self.headers.get(_ADDRESS, "POST ").partition(" ")
        headers = {name: value for name, value in self.headers.items() if name != _ADDRESS}
        return WebhookCall(headers, self.body, self.received_at, url, method)


def arrived_call(source: str, replay_key: str, call: WebhookCall) -> Arrived:
    """Return what is stored of a genuine call."""
    kept = {name: value for name, value in call.headers.items() if name in KEPT_HEADERS}
    # Some providers send JSON with characters that no database takes in a key.
    key = replay_key if replay_key.isprintable() and len(replay_key) <= 200 else _digest(replay_key.encode())
    return Arrived(
        source,
        f"{source}:{key}",
        call.received_at,
        call.body,
        {**kept, _ADDRESS: f"{call.method} {call.url}"},
    )


def arrived_mail(raw: bytes, received_at: datetime) -> Arrived:
    """Return what is stored of a mail; the same bytes again are the same mail."""
    return Arrived(MAIL, f"{MAIL}:{_digest(raw)}", received_at, raw)


def store_mail(engine: Engine, raw: bytes, received_at: datetime) -> bool:
    """Store a mail of the bounce mailbox, committed; return whether it is new. Raises StoreError."""
    with writing(engine) as connection:
        statement = insert(connection, inbox).values(_row(arrived_mail(raw, received_at)))
        statement = statement.on_conflict_do_nothing(index_elements=["dedupe_key"])
        return connection.execute(statement.returning(inbox.c.id)).first() is not None


def store_arrived(connection: Connection, arrived: Sequence[Arrived]) -> None:
    """Store what is not stored yet."""
    once = {one.dedupe_key: one for one in reversed(arrived)}
    # In the order of the unique key: two writers wait for each other, never in a ring.
    append_new(connection, inbox, [_row(once[key]) for key in sorted(once)], unique="dedupe_key")


def _row(one: Arrived) -> dict[str, Any]:
    return {
        "source": one.source,
        "dedupe_key": one.dedupe_key,
        "received_at": one.received_at,
        "headers": dict(one.headers),
        "body": one.body,
    }


def _digest(raw: bytes) -> str:
    return blake2b(raw, digest_size=20).hexdigest()
