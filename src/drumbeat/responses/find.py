"""Find the message that an event is about, for many events at once: two queries, however many they are.

Our signed token names it for certain; else the provider's own id does, and where that names several (one call
sent to many) the address decides.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, select

from drumbeat.ingest.people import email_key
from drumbeat.rendering.identity import find_token
from drumbeat.rendering.links import Links
from drumbeat.responses.record import possible
from drumbeat.responses.told import clean
from drumbeat.responses.webhooks import Event
from drumbeat.store.tables import customers, messages

CHUNK = 1_000
"""Ids in one query."""

_PHONE = re.compile(r"\+[1-9][0-9]{5,14}")
_CHAT = re.compile(r"tg:-?[0-9]{1,20}")
_CHAT = re.compile(r"tg:-?[0-9]{1,20}")


class Found(NamedTuple):
    """A message that an event is about. `address_key`: where it went to; None where its reader was erased.

    `signed`: our own token named it, which only who has the mail, or carried it, can know.
    """

    message_id: int
    address_key: str | None
    state: str
    signed: bool


def find_messages(connection: Connection, links: Links, events: Sequence[Event]) -> list[Found | None]:
    """Return each event's message, in the order of the events; None where it is not known."""
    tokens = [_token(event, links) for event in events]
    by_id = {row.id: row for row in _rows(connection, messages.c.id, possible(tokens))}
    remote = [clean(event.remote_id or "", 200) for event in events]
    unsigned = {name for name, token in zip(remote, tokens, strict=True) if token not in by_id and name}
    by_remote: Mapping[str, list[Row[Any]]] = defaultdict(list)
    for row in _rows(connection, messages.c.remote_id, unsigned):
        by_remote[row.remote_id].append(row)
    found: list[Found | None] = []
    for event, token, name in zip(events, tokens, remote, strict=True):
        if token in by_id:
            found.append(_found(by_id[token], signed=True))
        else:
            meant = _meant(by_remote.get(name, ()), address_key(event.recipient))
            found.append(None if meant is None else _found(meant, signed=False))
    return found


@lru_cache(maxsize=8192)
def address_key(recipient: str | None) -> str | None:
    """Return a recipient in the form of suppressions; None where it is no mail address, phone number or chat."""
    text = (recipient or "").strip()
    if _PHONE.fullmatch(text):
        return f"tel:{text}"
    if _CHAT.fullmatch(text):
        return text
    try:
        return email_key(text)
    except (ValueError, UnicodeError):
        return None


def _token(event: Event, links: Links) -> int | None:
    if event.token and (named := links.read_mail_token(event.token.strip().lower())) is not None:
        return named
    return find_token(event.message_id, links) if event.message_id else None


def _rows(connection: Connection, column: Any, values: Iterable[Any]) -> list[Row[Any]]:
    wanted = sorted(values)
    rows: list[Row[Any]] = []
    for start in range(0, len(wanted), CHUNK):
        rows += connection.execute(_question().where(column.in_(wanted[start : start + CHUNK]))).all()
    return rows


def _question() -> Select[Any]:
    return select(
        messages.c.id,
        messages.c.remote_id,
        messages.c.address_key,
        messages.c.state,
        customers.c.email_key,
    ).join(customers, customers.c.id == messages.c.customer_id)


def _meant(rows: Sequence[Row[Any]], recipient: str | None) -> Row[Any] | None:
    """Return the one that is meant of the messages with one remote id."""
    addressed = [
        row for row in rows if recipient is not None and recipient in (row.address_key, row.email_key)
    ]
    if len(addressed) == 1:
        return addressed[0]
    return rows[0] if len(rows) == 1 else None


def _found(row: Row[Any], *, signed: bool) -> Found:
    return Found(row.id, row.address_key or row.email_key, row.state, signed)
