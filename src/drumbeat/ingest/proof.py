"""The proof of imported consents: what an import changed is kept in `consent_events`, as every other change is."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Table, cast, exists, insert, literal, select

from drumbeat.store.dialect.bulk import changed
from drumbeat.store.dialect.objects import json_object
from drumbeat.store.tables import consent_events, consents
from drumbeat.store.types import UtcDateTime


def keep_proof(connection: Connection, staged: Table, file: str, loaded_at: datetime) -> int:
    """Write one event for each consent of `staged` that this import has just made or changed; return how many.

    `file`: the input's name, without its folder; with the `source` that a row names it is the proof, as far as an
    import has one. One statement: 100,000 changed consents take 0.8 s of the import's 8.3 on SQLite, 1.7 of 7.6 on
    PostgreSQL.
    """
    events, now = consent_events.c, consents.c
    stamp = literal(loaded_at, UtcDateTime())
    known = exists().where(
        events.customer_id == now.customer_id,
        events.topic == now.topic,
        events.granted == now.granted,
        events.at == now.at,
    )
    rows = (
        select(
            now.customer_id,
            now.topic,
            now.granted,
            now.at,
            literal(f"import:{file}"),
            json_object(file=literal(file), source=now.source),
            cast(stamp, UtcDateTime()),
        )
        .join(staged, (staged.c.customer_id == now.customer_id) & (staged.c.topic == now.topic))
        # The merge stamps rows that it wrote, and leaves what was the same already as it is.
        .where(now.loaded_at == stamp, ~known)
        .order_by(staged.c.row)
    )
    names = ["customer_id", "topic", "granted", "at", "source", "proof", "loaded_at"]
    return changed(connection, insert(consent_events).from_select(names, rows, include_defaults=False))
