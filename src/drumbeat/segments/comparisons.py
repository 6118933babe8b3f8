"""Compiles single tests, such as `at_least: 3`, of a column or of an entry in a JSON column."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from drumbeat.segments.nodes import NEGATED, Test
from drumbeat.store.dialect import json, words


def value_condition(value: ColumnElement[Any], test: Test, as_of: datetime) -> ColumnElement[bool]:
    """Return whether the value passes the test; never NULL, an unknown value passes negated tests only."""
    if (positive := NEGATED.get(test.operator)) is not None:
        return sa.not_(value_condition(value, Test(positive, test.value), as_of))
    if test.operator == "exists":
        return value.is_not(None) if test.value else value.is_(None)
    return sa.func.coalesce(_compared(value, test, as_of), sa.false())


def attribute_condition(column: ColumnElement[Any], key: str, tests: Iterable[Test]) -> ColumnElement[bool]:
    """Return whether the entry `key` of the JSON column passes all tests; never NULL.

    A value of another type passes negated tests only.
    """
    return sa.and_(*(_entry_condition(column, key, test) for test in tests))


def back(as_of: datetime, span: timedelta) -> datetime:
    """Return the instant `span` before `as_of`, at the earliest the first that can be written."""
    try:
        return as_of - span
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _entry_condition(column: ColumnElement[Any], key: str, test: Test) -> ColumnElement[bool]:
    match test:
        case Test(("is_not" | "not_in") as negated, value):
            return sa.not_(_entry_condition(column, key, Test(NEGATED[negated], value)))
        case Test("exists", wanted):
            found = json.json_exists(column, sa.literal(key))
            return found if wanted else sa.not_(found)
        case Test("has", str() | bool() | int() | float() as value):
            return json.json_has(column, key, value)
        case Test("in", tuple() as values):
            kinds = {json.kind_of(value): None for value in values}
            return sa.or_(
                *(_in(column, key, kind, [v for v in values if json.kind_of(v) == kind]) for kind in kinds)
            )
        case Test(_, value):
            entry = json.json_value(column, key, json.kind_of(value))
            return sa.func.coalesce(_compared(entry, test), sa.false())


def _in(column: ColumnElement[Any], key: str, kind: json.Kind, values: list[Any]) -> ColumnElement[bool]:
    return sa.func.coalesce(json.json_value(column, key, kind).in_(values), sa.false())


def _compared(value: ColumnElement[Any], test: Test, as_of: datetime | None = None) -> ColumnElement[bool]:
    """Compare; NULL where the value is."""
    wanted: Any = test.value
    if test.operator in _SYMBOLS:
        condition: ColumnElement[bool] = _SYMBOLS[test.operator](value, wanted)
        return condition
    match test.operator:
        case "in":
            return value.in_(wanted)
        case "contains":
            return words.contains(value, wanted)
        case "starts_with":
            return words.starts_with(value, wanted)
        case "within" if as_of is not None:
            # What happened after as_of was left out before: the near end needs no bound here.
            return value > back(as_of, wanted)
    raise TypeError(f"no SQL for the operator {test.operator}")  # pragma: no cover


def _is(value: ColumnElement[Any], wanted: Any) -> ColumnElement[bool]:
    # A bare True would be written as IS TRUE on PostgreSQL and be compared as 1 elsewhere.
    return value == (sa.literal(wanted, value.type) if isinstance(wanted, bool) else wanted)


_SYMBOLS: dict[str, Callable[[ColumnElement[Any], Any], Any]] = {
    "is": _is,
    "at_least": operator.ge,
    "at_most": operator.le,
    "more_than": operator.gt,
    "less_than": operator.lt,
    "after": operator.gt,
    "before": operator.lt,
}
