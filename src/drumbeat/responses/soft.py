"""Soft bounces in a row: when an address that keeps refusing "for now" is given up.

A mail in the row is one that came back soft; of one day only one counts, since a newsletter and a reminder on
the same day meet the same full mailbox. The row is broken, and begins anew, by

- an open or a click that no machine made;
- a delivered mail that did not come back after all;
- a mail that went out and did not come back within three days, where nobody reports deliveries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, exists, func, literal, or_, select

from drumbeat.ledger.states import State
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.store.tables import customers, messages, responses

SETTLED = timedelta(days=3)
"""A mail server that gives up tells within so long, mostly: three to five days is the usual time of trying
(RFC 5321, 4.5.4.1), but a relay's first delay notice comes within hours."""

LOOK_BACK = timedelta(days=365)
"""Older soft bounces say nothing of today."""


class Row(NamedTuple):
    """An address's soft bounces in a row: on how many days, and the last one."""

    days: int
    last: datetime


def soft_rows(connection: Connection, keys: Collection[str], least: int, at: datetime) -> Mapping[str, Row]:
    """Return the addresses with soft bounces on at least `least` days in a row, as things stand at `at`."""
    bounced = _days(connection, keys, at)
    long_enough = {key: seen for key, seen in bounced.items() if len(set(seen.values())) >= least}
    if not long_enough:
        return {}
    broken = _last_good(connection, long_enough, at)
    found = {}
    for key, seen in long_enough.items():
        days = {
            day
            for instant, day in seen.items()
            if instant > broken.get(key, datetime.min.replace(tzinfo=UTC))
        }
        if len(days) >= least:
            found[key] = Row(len(days), max(seen))
    return found


def _days(connection: Connection, keys: Collection[str], at: datetime) -> dict[str, dict[datetime, date]]:
    """Return the soft bounces of each address: their instants with their days (UTC)."""
    rows = connection.execute(
        select(responses.c.email_key, responses.c.at).where(
            responses.c.email_key.in_(keys),
            responses.c.at > at - LOOK_BACK,
            responses.c.kind == Kind.BOUNCED,
            responses.c.bounce == "soft",
        )
    )
    found: dict[str, dict[datetime, date]] = defaultdict(dict)
    for row in rows:
        found[row.email_key][row.at] = row.at.date()
    return found


def _last_good(
    connection: Connection, bounced: Mapping[str, Mapping[datetime, date]], at: datetime
) -> dict[str, datetime]:
    """Return when an address last showed life since its first soft bounce."""
    first = min(min(seen) for seen in bounced.values())
    came_back = responses.alias("came_back")
    returned = exists(
        select(literal(1)).where(came_back.c.message_id == messages.c.id, came_back.c.kind == Kind.BOUNCED)
    )
    by_reader = and_(responses.c.kind.in_([Kind.OPENED, Kind.CLICKED]), responses.c["class"] != Actor.MACHINE)
    alive = or_(by_reader, and_(responses.c.kind == Kind.DELIVERED, ~returned))
    to_them = and_(customers.c.id == messages.c.customer_id, customers.c.email_key.in_(list(bounced)))
    answered = (
        select(customers.c.email_key, func.max(responses.c.at).label("at"))
        .select_from(customers)
        .join(messages, to_them)
        .join(responses, responses.c.message_id == messages.c.id)
        .where(alive, responses.c.at > first)
        .group_by(customers.c.email_key)
    )
    silent = (
        select(customers.c.email_key, func.max(messages.c.sent_at).label("at"))
        .select_from(customers)
        .join(messages, to_them)
        .where(
            messages.c.state == State.SENT,
            messages.c.channel == "mail",
            messages.c.sent_at > first,
            messages.c.sent_at <= at - SETTLED,
            ~returned,
        )
        .group_by(customers.c.email_key)
    )
    found: dict[str, datetime] = {}
    statement: Any
    for statement in (answered, silent):
        for row in connection.execute(statement):
            found[row.email_key] = max(row.at, found.get(row.email_key, row.at))
    return found
