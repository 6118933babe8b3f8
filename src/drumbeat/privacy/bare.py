"""Responses down to the bare fact: which kind, when, by whom; nothing of what it was read from."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select, update

from drumbeat.responses.record import LINK, SMTP
from drumbeat.store.dialect.words import starts_with
from drumbeat.store.erased import STUB
from drumbeat.store.tables import responses

OURS = (LINK, SMTP)
"""Sources of responses whose keys name a message of ours, and no address."""

RULES = ("rule", "before")
"""Of what was seen these stay: our own names of the rules that classed a hit."""


def tells_something() -> ColumnElement[bool]:
    """Return the condition on responses that they hold more than the bare fact."""
    columns = (responses.c.raw, responses.c.url, responses.c.email_key)
    theirs = or_(responses.c.source.is_(None), responses.c.source.not_in(OURS))
    return or_(
        *(column.is_not(None) for column in columns), theirs & ~starts_with(responses.c.dedupe_key, STUB)
    )


def only_rules(raw: Any) -> dict[str, Any] | None:
    """Return what stays of `raw`."""
    seen = raw if isinstance(raw, dict) else {}
    return {name: seen[name] for name in RULES if name in seen} or None


def empty_responses(connection: Connection, which: ColumnElement[bool], stub: str) -> int:
    """Leave the bare facts of the responses; return how many changed.

    The key by which the same fact is told apart is a plain hash over the address where a server or a provider told
    it: whoever guesses the address could confirm it. Our own links' keys hold none.
    """
    number = 0
    for row in connection.execute(select(responses).where(which)).all():
        emptied: dict[str, Any] = {"raw": only_rules(row.raw), "url": None, "email_key": None}
        if row.source not in OURS and not row.dedupe_key.startswith(STUB):
            emptied["dedupe_key"] = f"{stub}:{row.id}"
        if any(row._mapping[name] != value for name, value in emptied.items()):
            connection.execute(update(responses).where(responses.c.id == row.id).values(emptied))
            number += 1
    return number
