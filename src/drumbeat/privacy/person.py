"""Who is meant by an id, an address or a phone number: all customer rows of the person, and what is theirs alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from drumbeat.errors import UsageError
from drumbeat.ingest.people import email_key
from drumbeat.store.erased import Erased
from drumbeat.store.tables import (
    audit,
    customers,
    messages,
    opt_ins,
    preferences,
    responses,
    suppressions,
)

_PHONE = re.compile(r"\+[1-9][0-9]{5,14}")


class GoneError(UsageError):
    """Nothing is held about an address any more: its owner was erased, last at `at`."""

    def __init__(self, asked: str, at: datetime) -> None:
        super().__init__(
            f"nothing is held about '{asked}' any more: it was erased on {at:%Y-%m-%d %H:%M} UTC, and mail stays away"
        )
        self.at = at


@dataclass(frozen=True)
class Person:
    """A person: every customer row with the same `person_id`, and the addresses that are nobody else's.

    `asked`: how they were named. `rows`: of `customers`, by id; none for an address that no customer has.
    `addresses`: keys of suppressions (mailboxes, `tel:`, `tg:`), earlier ones included. `shared`: those that a
    customer of another person has too, such as a family's telephone: they stay that one's.
    """

    asked: str
    rows: tuple[Row[Any], ...]
    addresses: frozenset[str]
    shared: frozenset[str] = frozenset()

    @property
    def ids(self) -> list[int]:
        """Return the ids of the customer rows."""
        return [row.id for row in self.rows]

    @property
    def external_ids(self) -> list[str]:
        """Return the names that the company's own systems use."""
        return [row.external_id for row in self.rows]

    @property
    def subjects(self) -> set[str]:
        """Return what entries of the audit log may call them."""
        return {*self.external_ids, *self.addresses}

    @cached_property
    def words(self) -> frozenset[str]:
        """Return what in a text would point to them beside an address: names and ids."""
        named = (value for row in self.rows for value in (row.first_name, row.last_name, row.external_id))
        local = (key.rpartition("@")[0] for key in self.addresses if "@" in key)
        return frozenset(word.strip() for word in (*named, *local) if word and word.strip())


def find_person(connection: Connection, asked: str, erased: Erased | None = None) -> Person:
    """Return who is meant by an external id, an e-mail address, a phone number or `tg:CHAT`.

    An address that no customer has is a person too, as long as anything is kept about it. Raises UsageError where
    several people have the address, and where
    nothing is: GoneError for an erased one (`erased` knows), else with who had the address before.
    """
    text = asked.strip()
    row = connection.execute(select(customers).where(customers.c.external_id == text)).first()
    if row is not None:
        return person_of(connection, row, asked)
    keys = address_keys(text)
    rows = (
        connection.execute(select(customers).where(_has(keys)).order_by(customers.c.id)).all() if keys else []
    )
    if rows:
        person = person_of(connection, rows[0], asked)
        others = [one.external_id for one in rows if one.id not in person.ids]
        if others:
            raise UsageError(
                f"several people have '{asked}': {', '.join([rows[0].external_id, *others][:5])}; name one of them by "
                "that id"
            )
        return person
    for key in keys:
        if _kept(connection, key):
            return Person(asked, (), frozenset([key]))
    raise _unknown(connection, asked, keys, erased)


def person_of(connection: Connection, row: Row[Any], asked: str) -> Person:
    """Return the person of a customer row."""
    same = [customers.c.id == row.id]
    if row.person_id is not None:
        same.append(customers.c.person_id == row.person_id)
    if row.email_key is not None:
        same.append(customers.c.email_key == row.email_key)
    rows = tuple(connection.execute(select(customers).where(or_(*same)).order_by(customers.c.id)))
    ids = [one.id for one in rows]
    held = {key for one in rows for key in keys_of(one)}
    held |= set(
        connection.execute(
            select(messages.c.address_key)
            .where(messages.c.customer_id.in_(ids), messages.c.address_key.is_not(None))
            .distinct()
        ).scalars()
    )
    asked_for = connection.execute(select(opt_ins.c.proof).where(opt_ins.c.customer_id.in_(ids))).scalars()
    held |= {proof["address"] for proof in asked_for if proof and isinstance(proof.get("address"), str)}
    shared = _of_others(connection, held - {""}, ids)
    return Person(asked, rows, frozenset(held - shared - {""}), frozenset(shared))


def address_keys(text: str) -> list[str]:
    """Return what a text may mean as an address, in the form of suppressions."""
    if text.startswith(("tel:", "tg:")):
        return [text]
    if "@" in text:
        try:
            return [email_key(text)]
        except ValueError:
            return []
    phone = re.sub(r"[\s().\-/]", "", text)
    phone = f"+{phone[2:]}" if phone.startswith("00") else phone
    return [f"tel:{phone}"] if _PHONE.fullmatch(phone) else []


def keys_of(row: Row[Any]) -> list[str]:
    """Return a customer's addresses in the form of suppressions."""
    keys = [row.email_key] if row.email_key else []
    keys += [f"tel:{row.phone}"] if row.phone else []
    return keys + ([f"tg:{row.telegram_id}"] if row.telegram_id else [])


def _has(keys: Iterable[str]) -> Any:
    named = sorted(keys)
    phones = [key.removeprefix("tel:") for key in named if key.startswith("tel:")]
    chats = [key.removeprefix("tg:") for key in named if key.startswith("tg:")]
    anyone = [customers.c.email_key.in_(named)]
    # These two have no index.
    anyone += [customers.c.phone.in_(phones)] if phones else []
    anyone += [customers.c.telegram_id.in_(chats)] if chats else []
    return or_(*anyone)


def _of_others(connection: Connection, keys: set[str], ids: Sequence[int]) -> set[str]:
    if not keys:
        return set()
    rows = connection.execute(select(customers).where(_has(keys), customers.c.id.not_in(ids)))
    return {key for row in rows for key in keys_of(row)} & keys


def _kept(connection: Connection, key: str) -> bool:
    """Say whether anything is kept about an address that no customer has."""
    looked_up = (
        (suppressions, suppressions.c.email_key),
        (preferences, preferences.c.email_key),
        (responses, responses.c.email_key),
        (audit, audit.c.subject),
    )
    return any(
        connection.execute(select(func.count()).select_from(table).where(column == key)).scalar()
        for table, column in looked_up
    )


def _unknown(connection: Connection, asked: str, keys: Sequence[str], erased: Erased | None) -> UsageError:
    if erased is not None and (gone := erased.since(connection, keys)):
        return GoneError(asked, max(gone.values()))
    before = (
        connection.execute(
            select(customers.c.external_id)
            .join(messages, messages.c.customer_id == customers.c.id)
            .where(messages.c.address_key.in_(keys))
            .distinct()
            .limit(3)
        )
        .scalars()
        .all()
        if keys
        else []
    )
    if before:
        return UsageError(
            f"nobody has the address '{asked}' now; it was an earlier one of {', '.join(sorted(before))}: name them "
            "by that id if they are meant"
        )
    return UsageError(
        f"unknown customer '{asked}'; give the id from your import, an e-mail address or a phone number"
    )
