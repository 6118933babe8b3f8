"""The contract of a trigger kind, checked against a store: for tests of one's own kinds.

from drumbeat.triggers.contract import check_trigger

assert check_trigger(Abandoned(idle_for="4h"), Moment(as_of, "Europe/London"), engine) == []
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row

from drumbeat.store.engine import reading
from drumbeat.triggers import COLUMNS, Moment, Subject, Trigger

SHOWN = 3
"""So many examples of each fault are named."""


def check_trigger(trigger: Trigger, moment: Moment, engine: Engine) -> list[str]:
    """Return what is wrong with the trigger's answer at `moment`, one sentence a fault; [] is a pass.

    Checked: the columns are exactly COLUMNS; customer and occasion are never NULL and unique together;
    instants are aware; `due_at` is at or before `as_of`; `expires_at` is NULL or after both `due_at` and
    `as_of`; asked twice, it answers the same; its parameters survive being written to YAML and read again;
    the context covers every subject, also none at all. A rule that finds nothing proves little: load rows
    that it finds. Raises what the trigger raises.
    """
    statement = trigger.select(moment)
    names = tuple(column.key for column in statement.selected_columns)
    if names != COLUMNS:
        return [f"the columns are {', '.join(map(str, names))}; expected {', '.join(COLUMNS)}"]
    with reading(engine) as connection:
        found = connection.execute(statement).all()
        again = connection.execute(trigger.select(moment)).all()
        faults = [*_in_rows(found, moment), *_in_context(trigger, connection, found, moment)]
    if sorted(found, key=_order) != sorted(again, key=_order):
        faults.append(
            "asked twice at one moment, it gives two answers; use nothing but the store and `moment`"
        )
    if type(trigger).model_validate(trigger.model_dump(mode="json")) != trigger:
        faults.append("its parameters change when they are written out and read again")
    return faults


def _order(row: Row[Any]) -> tuple[str, ...]:
    return tuple(map(str, row))


def _in_rows(found: Sequence[Row[Any]], moment: Moment) -> list[str]:
    """Check each row by itself, and that no two are the same occasion of one customer."""
    broken: dict[str, list[str]] = {}
    times = Counter((row.customer_id, row.occasion) for row in found)
    for row in found:
        who = f"customer {row.customer_id}, occasion {row.occasion!r}"
        if row.customer_id is None or not row.occasion:
            broken.setdefault("customer_id or occasion is empty", []).append(who)
        elif times[row.customer_id, row.occasion] > 1:
            broken.setdefault("an occasion is not unique", []).append(who)
        for fault in _in_times(row, moment.as_of):
            broken.setdefault(fault, []).append(who)
    return [f"{fault}: {'; '.join(list(dict.fromkeys(whose))[:SHOWN])}" for fault, whose in broken.items()]


def _in_times(row: Row[Any], as_of: datetime) -> list[str]:
    due_at, expires_at = row.due_at, row.expires_at
    for name, value in (("due_at", due_at), ("expires_at", expires_at)):
        if value is None and name == "expires_at":
            continue
        if not isinstance(value, datetime) or value.tzinfo is None:
            return [f"{name} is {value!r}, not an aware instant; give the column the type UtcDateTime"]
    faults = []
    if due_at > as_of:
        faults.append("due_at is after as_of")
    if expires_at is not None and expires_at <= due_at:
        faults.append("expires_at is not after due_at")
    if expires_at is not None and expires_at <= as_of:
        faults.append("expires_at is not after as_of: the occasion is over")
    return faults


def _in_context(
    trigger: Trigger, connection: Connection, found: Sequence[Row[Any]], moment: Moment
) -> list[str]:
    """Check that every subject has a context, and that an empty batch is no trouble."""
    subjects = [Subject(row.customer_id, row.occasion, row.subject_id) for row in found]
    faults = []
    context = trigger.context(connection, subjects, moment)
    if missing := [s for s in subjects if s not in context]:
        faults.append(f"context leaves out {len(missing)} subjects, such as {missing[0].occasion!r}")
    if trigger.context(connection, [], moment):
        faults.append("context of no subjects is not empty")
    return faults
