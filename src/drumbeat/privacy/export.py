"""Everything that is held about a person, as one JSON document; its shape is in docs/privacy.md.

Written as a stream: a person's rows are read in portions, so that memory does not grow with them. The same data
gives the same document, to the byte.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from drumbeat.privacy.inbox import Row as InboxRow
from drumbeat.privacy.inbox import rows_naming
from drumbeat.privacy.names import Names
from drumbeat.privacy.person import Person
from drumbeat.privacy.registry import POLICIES, exported, parts_of, personal, table
from drumbeat.responses.arrived import MAIL, Arrived
from drumbeat.responses.find import address_key
from drumbeat.responses.webhooks import Event
from drumbeat.store.tables import audit, responses

SHAPE = "drumbeat-customer-1"
"""The name of the document's shape: another one where a key is renamed or removed."""

PORTION = 500
"""Rows in memory at a time, with their parts."""

Read = Callable[[Arrived], Sequence[Event]]
"""Reads what arrived into events; raises whatever it likes."""


def export(
    connection: Connection,
    person: Person,
    names: Names,
    *,
    project: str,
    at: datetime,
    read: Read | None = None,
) -> Iterator[str]:
    """Give the document's text, bit by bit. `read`: what takes stored calls and mails apart, where there is such.

    One reading transaction's view of the store.
    """
    head = {
        "shape": SHAPE,
        "project": project,
        "as_of": at,
        "asked_for": person.asked,
        "customers_are": person.external_ids,
        "addresses": sorted(person.addresses),
        "shared_addresses": sorted(person.shared),
    }
    yield "{\n"
    yield ",\n".join(f"{_json(name)}: {_json(value)}" for name, value in head.items())
    for name in sections():
        yield f",\n{_json(name)}: ["
        first = True
        for row in _rows(connection, person, names, name, read):
            yield f"{'' if first else ','}\n  {_json(row)}"
            first = False
        yield "]" if first else "\n]"
    yield "\n}\n"


def sections() -> list[str]:
    """Return the names of the document's lists of rows, in order: tables that are part of another stand within it.

    `responses` is there twice: within messages, and by itself for those that name an address and no message.
    """
    return [name for name in personal() if POLICIES[name].within is None] + ["responses", "inbox", "audit"]


def _rows(
    connection: Connection, person: Person, names: Names, name: str, read: Read | None
) -> Iterator[dict[str, Any]]:
    if name == "inbox":
        return (_call(row, names, read) for row in rows_naming(connection, names))
    if name == "audit":
        return audit_rows(connection, person, names)
    if name == "responses":
        about = and_(responses.c.message_id.is_(None), responses.c.email_key.in_(sorted(person.addresses)))
        return _plain(connection, select(responses).where(about), name)
    return _whole(connection, name, condition(person, name))


def condition(person: Person, name: str) -> ColumnElement[bool]:
    """Return the condition on a table of the registry that says which rows are the person's."""
    policy, of = POLICIES[name], table(name)
    if policy.by == "email_key":
        return of.c.email_key.in_(sorted(person.addresses))
    if policy.within is not None:
        parent = table(policy.within)
        return of.c[policy.by].in_(select(parent.c.id).where(condition(person, policy.within)))
    return of.c[policy.by].in_(person.ids)


def audit_rows(connection: Connection, person: Person, names: Names | None) -> Iterator[dict[str, Any]]:
    """Give the entries of the audit log about somebody: as their subject, or by `names` in what is told besides."""
    about: ColumnElement[bool] = audit.c.subject.in_(sorted(person.subjects))
    if names is not None:
        # The log is short, and what is told besides is JSON: it is read here rather than in two dialects of SQL.
        about = or_(about, audit.c.detail.is_not(None))
    found = connection.execute(
        select(audit).where(about).order_by(audit.c.id).execution_options(yield_per=PORTION)
    )
    for row in found:
        if row.subject in person.subjects or (names is not None and names.mentioned_in(row.detail)):
            yield _as_dict(row, "audit")


def _whole(connection: Connection, name: str, which: ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    """Give a table's rows with their parts."""
    key = _key(name)
    parts = parts_of(name)
    last: Any = None
    while True:
        page = select(table(name)).where(which).order_by(*key).limit(PORTION)
        if last is not None:
            page = page.where(_after(key, last))
        rows = connection.execute(page).all()
        if not rows:
            return
        last = [rows[-1]._mapping[column.name] for column in key]
        of_each = {part: _parts(connection, part, [row.id for row in rows]) for part in parts}
        for row in rows:
            own = _as_dict(row, name)
            for part, found in of_each.items():
                own[str(POLICIES[part].part)] = found.get(row.id, [])
            yield own


def _parts(connection: Connection, part: str, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    of, by = table(part), POLICIES[part].by
    rows = connection.execute(select(of).where(of.c[by].in_(ids)).order_by(*_key(part)))
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row._mapping[by]].append(_as_dict(row, part))
    return found


def _plain(connection: Connection, rows: Select[Any], name: str) -> Iterator[dict[str, Any]]:
    for row in connection.execute(rows.order_by(*_key(name)).execution_options(yield_per=PORTION)):
        yield _as_dict(row, name)


def _key(name: str) -> list[ColumnElement[Any]]:
    return list(table(name).primary_key.columns)


def _after(key: Sequence[ColumnElement[Any]], last: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that a row comes after another one by its key."""
    return or_(
        *(
            and_(*(key[i] == last[i] for i in range(place)), column > last[place])
            for place, column in enumerate(key)
        )
    )


def _as_dict(row: Any, name: str) -> dict[str, Any]:
    return {column: row._mapping[column] for column in exported(name)}


def _call(row: InboxRow, names: Names, read: Read | None) -> dict[str, Any]:
    """Return what of a call or mail is about them. One call may tell of many people: theirs is only their part."""
    arrived = Arrived(row.source, "", row.received_at, row.body, row.headers)
    events: Sequence[Event] | None = None
    if read is not None:
        try:
            events = list(read(arrived))
        except Exception:  # noqa: BLE001 - what nobody could read then either is still told, without its content
            events = None
    own = [event for event in events or () if concerns(event, names)]
    alone = row.source == MAIL or (events is not None and len(own) == len(events) > 0)
    return {
        "id": row.id,
        "source": row.source,
        "state": row.state,
        "received_at": row.received_at,
        "events": None if events is None else [_event(event) for event in own],
        "body": row.body.decode("utf-8", "backslashreplace") if alone else None,
    }


def concerns(event: Event, names: Names) -> bool:
    """Say whether an event is about them."""
    if address_key(event.recipient) in names.addresses:
        return True
    said = (event.recipient, event.token, event.message_id, event.remote_id)
    return names.named(" ".join(filter(None, said)).casefold())


def _event(event: Event) -> dict[str, Any]:
    return {one.name: getattr(event, one.name) for one in fields(event)}


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=_written, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # half a character, which JSON can hold escaped and a file cannot
        return json.dumps(value, default=_written)
    except ValueError:  # infinity, which SQLite keeps in its JSON and JSON does not know
        loose = json.dumps(value, default=_written)
        return json.dumps(json.loads(loose, parse_constant=lambda _: None))
    return text


def _written(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else str(value)
