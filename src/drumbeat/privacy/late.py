"""What came in about erased people after they were erased: emptied as the rest of them was.

A bounce may come hours later and quotes the address, a link in an old mail may be followed: the fact is a figure
and stays, what tells who it was goes. Found by the messages of what is left of them, and, where no message is
known, by the address: its keyed hash says that its owner was erased.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, or_, select, update

from drumbeat.privacy.bare import empty_responses, tells_something
from drumbeat.privacy.names import Names
from drumbeat.store.dialect.bulk import changed
from drumbeat.store.dialect.words import contains
from drumbeat.store.erased import STUB, Erased, any_erased, is_erased
from drumbeat.store.tables import (
    consent_events,
    consents,
    customers,
    message_events,
    messages,
    preferences,
    responses,
    suppressions,
)

PAGE = 2_000

AGAIN = 10_000
"""So many ids before the last one are looked at again: a transaction may commit after one with a greater id."""

LATE = f"{STUB}late"


@dataclass
class ByAddress:
    """Rows that name an erased address and no message. `seen`: the last ids that were looked at, by table."""

    ids: dict[str, list[int]] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    seen: dict[str, int] = field(default_factory=dict)


def look(connection: Connection, erased: Erased, seen: Mapping[str, int]) -> ByAddress:
    """Look at the rows that are new since `seen`. Whoever exists again as a customer is left alone."""
    found = ByAddress(seen=dict(seen))
    if not any_erased(connection):
        return found
    for of in (responses, suppressions):
        last = max(0, seen.get(of.name, 0) - AGAIN)
        while page := _page(connection, of, last):
            last = page[-1].id
            gone = _gone(connection, erased, {row.email_key for row in page})
            found.keys |= gone
            found.ids.setdefault(of.name, []).extend(row.id for row in page if row.email_key in gone)
        found.seen[of.name] = last
    return found


def sweep(connection: Connection, found: ByAddress) -> int:
    """Empty what came in about erased people; return how many rows that were."""
    stubs = select(customers.c.id).where(is_erased())
    theirs = select(messages.c.id).where(messages.c.customer_id.in_(stubs))
    told = responses.c.message_id.in_(theirs) & tells_something()
    rows = empty_responses(connection, told, LATE)
    rows += empty_responses(connection, responses.c.id.in_(found.ids.get("responses", [])), LATE)
    rows += _words(connection, messages, "answer", messages.c.customer_id.in_(stubs))
    rows += _words(connection, message_events, "detail", message_events.c.message_id.in_(theirs))
    known = or_(messages.c.address_key.is_not(None), messages.c.remote_id.is_not(None))
    named = update(messages).where(messages.c.customer_id.in_(stubs), known)
    proved = consent_events.c.customer_id.in_(stubs) & consent_events.c.proof.is_not(None)
    statements = (
        named.values(address_key=None, remote_id=None),
        delete(consents).where(consents.c.customer_id.in_(stubs)),
        update(consent_events).where(proved).values(proof=None),
        delete(suppressions).where(suppressions.c.id.in_(found.ids.get("suppressions", []))),
        delete(preferences).where(preferences.c.email_key.in_(sorted(found.keys))),
    )
    return rows + sum(changed(connection, statement) for statement in statements)


def _words(connection: Connection, of: Table, column: str, which: ColumnElement[bool]) -> int:
    """Leave the codes of servers' answers that quote an address."""
    nobody = Names(())
    rows = connection.execute(select(of.c.id, of.c[column]).where(which, contains(of.c[column], "@"))).all()
    for row_id, text in rows:
        kept = {column: nobody.scrubbed(text)}
        connection.execute(update(of).where(of.c.id == row_id).values(kept))
    return len(rows)


def _page(connection: Connection, of: Table, after: int) -> Sequence[Any]:
    return connection.execute(
        select(of.c.id, of.c.email_key)
        .where(of.c.id > after, of.c.email_key.is_not(None))
        .order_by(of.c.id)
        .limit(PAGE)
    ).all()


def _gone(connection: Connection, erased: Erased, keys: Collection[str]) -> set[str]:
    """Return the addresses whose owners were erased, and that no customer has (again)."""
    found = set(erased.since(connection, keys))
    if not found:
        return found
    phones = [key.removeprefix("tel:") for key in found if key.startswith("tel:")]
    chats = [key.removeprefix("tg:") for key in found if key.startswith("tg:")]
    held: set[str] = set()
    for column, values, before in (
        (customers.c.email_key, sorted(found), ""),
        (customers.c.phone, phones, "tel:"),
        (customers.c.telegram_id, chats, "tg:"),
    ):
        if values:
            rows = connection.execute(select(column).where(column.in_(values))).scalars()
            held |= {f"{before}{value}" for value in rows}
    return found - held
