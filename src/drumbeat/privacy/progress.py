"""What is in progress about a person and must end before their data can go: hand-overs, and calls to be worked on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from drumbeat.errors import StoreError
from drumbeat.ledger.states import State
from drumbeat.privacy.inbox import Scan, rows_naming
from drumbeat.privacy.names import Names
from drumbeat.privacy.person import Person
from drumbeat.responses.arrived import MAIL
from drumbeat.responses.inbox import NEW, PATIENCE
from drumbeat.store.tables import inbox, messages

IN_ONE_QUERY = 1_000


class Busy(StoreError):  # noqa: N818 - a refusal, in the words of the rest
    """Something about the person is in progress that must end first. `passes`: within seconds."""

    def __init__(self, text: str, *, passes: bool) -> None:
        super().__init__(text)
        self.passes = passes


def refuse_hand_over(connection: Connection, person: Person) -> None:
    """Raise Busy where a message to them is just being handed over."""
    going = connection.execute(
        select(func.count()).where(
            messages.c.customer_id.in_(person.ids), messages.c.state == State.HANDING_OVER
        )
    ).scalar_one()
    if going:
        raise Busy(
            f"{going} message{'s are' if going > 1 else ' is'} just being handed over to '{person.asked}'; nothing was "
            "erased, try again in a minute",
            passes=True,
        )


def calls_to_empty(
    connection: Connection, person: Person, names: Names, begun: Scan, at: datetime
) -> list[int]:
    """Return the inbox's rows that name somebody. Raises Busy where one of them is still to be worked on.

    `begun`: what was found before, up to a row. Such a call may tell of others too, so it is not emptied before that
    was done, or given up.
    """
    ids = [*begun.ids, *(row.id for row in rows_naming(connection, names, after=begun.last))]
    for start in range(0, len(ids), IN_ONE_QUERY):
        _refuse_new(connection, person, ids[start : start + IN_ONE_QUERY], at)
    return ids


def _refuse_new(connection: Connection, person: Person, ids: Sequence[int], at: datetime) -> None:
    waiting = connection.execute(
        select(inbox.c.id, inbox.c.source, inbox.c.received_at)
        .where(inbox.c.id.in_(ids), inbox.c.state == NEW, inbox.c.received_at > at - PATIENCE)
        .order_by(inbox.c.received_at.desc())
        .limit(1)
    ).first()
    if waiting is not None:
        what = "mail" if waiting.source == MAIL else f"call of {waiting.source}"
        raise Busy(
            f"a {what} that names '{person.asked}' (row {waiting.id} of the inbox) is still to be worked on; nothing "
            f"was erased, try again in {_minutes(waiting.received_at + PATIENCE - at)} minutes",
            passes=False,
        )


def _minutes(span: timedelta) -> int:
    return max(1, -int(-span.total_seconds() // 60))
