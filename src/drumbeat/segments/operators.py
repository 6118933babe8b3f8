"""The operators of segments.yaml and the values they take, by kind of value.

One table says which operators a kind of value has; the parser, the JSON Schema and the manual follow it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from drumbeat.clock import parse_duration, parse_instant
from drumbeat.document import Document, Loc
from drumbeat.errors import UsageError
from drumbeat.issues import Issue, nearest
from drumbeat.segments.nodes import Scalar, Test

_EQUAL = ("is", "is_not", "in", "not_in")
_ORDER = ("at_least", "at_most", "more_than", "less_than")
_TEXT = ("contains", "starts_with")

OPERATORS: dict[str, tuple[str, ...]] = {
    "text": (*_EQUAL, *_TEXT, "exists"),
    "flag": ("is", "is_not"),
    "date": (*_EQUAL, "before", "after", "exists"),
    "instant": ("before", "after", "within", "not_within", "exists"),
    # The first or last order or event: whether there is one is what `count` asks.
    "moment": ("before", "after", "within", "not_within"),
    "count": (*_EQUAL, *_ORDER),
    "amount": (*_EQUAL, *_ORDER),
    "json": (*_EQUAL, *_ORDER, *_TEXT, "has", "exists"),
    "name": ("is", "in"),
}
"""Kind of value -> its operators."""

FIELDS: dict[str, str] = {
    "country": "text",
    "city": "text",
    "language": "text",
    "time_zone": "text",
    "email": "text",
    "first_name": "text",
    "last_name": "text",
    "external_id": "text",
    "birth_date": "date",
    "created_at": "instant",
    "seed": "flag",
}
"""Field of a customer -> kind of its value."""

MAX_NUMBER = 10**14
"""Numbers of this size and above are refused: amounts are kept as 64-bit integers of ten-thousandths."""

_ONE_OF_SEVERAL = "To ask for one of several write {in: [...]}."
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass
class Source:
    """The document that is being read and the faults found in it so far."""

    document: Document
    issues: list[Issue] = field(default_factory=list)

    def at_key(self, code: str, loc: Loc, message: str, fix: str = "") -> None:
        """Note a fault at the key that `loc` leads to."""
        self.issues.append(Issue(self.document.place(loc), code, message, fix))

    def at_value(self, code: str, loc: Loc, message: str, fix: str = "") -> None:
        """Note a fault at the value that `loc` leads to."""
        self.issues.append(Issue(self.document.value_place(loc), code, message, fix))


class Refused(Exception):  # noqa: N818 - says what happened to the value
    """A value that an operator does not take: code, what was found, what to do."""


def read_tests(source: Source, loc: Loc, value: Any, kind: str) -> tuple[Test, ...]:
    """Read `5`, or `{at_least: 3, at_most: 5}`, as tests of a value of this kind; note the faults."""
    if not isinstance(value, dict):
        test = _read_test(source, loc, "is", value, kind)
        return (test,) if test else ()
    if not value:
        source.at_value(
            "DB030", loc, f"'{loc[-1]}' holds no operator.", f"Known: {', '.join(OPERATORS[kind])}."
        )
    tests = []
    for operator, operand in value.items():
        if operator not in OPERATORS[kind]:
            known = nearest(str(operator), OPERATORS[kind])
            source.at_key("DB032", (*loc, operator), f"unknown operator '{operator}' for '{loc[-1]}'.", known)
        elif (test := _read_test(source, (*loc, operator), operator, operand, kind)) is not None:
            tests.append(test)
    return tuple(tests)


def read_span(source: Source, loc: Loc, value: Any) -> timedelta | None:
    """Read a duration such as `30d`; note the fault and return None where it is none."""
    try:
        return _span(value)
    except Refused as refused:
        source.at_value(refused.args[0], loc, f"'{loc[-1]}': {refused.args[1]}", refused.args[2])
        return None


def _read_test(source: Source, loc: Loc, operator: str, operand: Any, kind: str) -> Test | None:
    try:
        if operator not in OPERATORS[kind]:
            ways = ", ".join(OPERATORS[kind])
            raise Refused("DB033", f"found {shown(operand)}, expected an operator.", f"Known: {ways}.")
        if operator in ("in", "not_in"):
            return _read_list(source, loc, operator, operand, kind)
        return Test(operator, _reader(operator, kind)(operand))
    except Refused as refused:
        code, message, fix = refused.args
        source.at_value(code, loc, f"'{loc[-1]}': {message}", fix)
        return None


def _read_list(source: Source, loc: Loc, operator: str, operand: Any, kind: str) -> Test | None:
    if not isinstance(operand, list):
        fix = f"Write [{shown(operand)}]." if not isinstance(operand, dict) else ""
        raise Refused("DB033", f"found {shown(operand)}, expected a list.", fix)
    if not operand:
        raise Refused("DB030", "the list is empty.", "Name at least one value.")
    read, values = _reader("is", kind), []
    for position, item in enumerate(operand):
        try:
            values.append(read(item))
        except Refused as refused:
            code, message, fix = refused.args
            source.at_value(code, (*loc, position), f"'{operator}': {message}", fix)
    return Test(operator, tuple(values)) if len(values) == len(operand) else None


def _reader(operator: str, kind: str) -> Callable[[Any], Scalar]:
    """Return what reads the operand of `operator` (not of a list) for this kind of value."""
    if operator == "exists":
        return _flag
    if operator in ("within", "not_within"):
        return _span
    if operator in _TEXT:
        return _some_text
    if operator in ("before", "after"):
        if kind == "date":
            return _date
        return _start if operator == "before" else _end
    if operator in _ORDER and kind == "json":
        return _number
    return {
        "text": _text,
        "name": _text,
        "flag": _flag,
        "date": _date,
        "count": _whole,
        "amount": _amount,
    }.get(kind, _scalar)


def shown(value: Any) -> str:
    """Write a value of YAML into a message: text in quotes, long ones cut."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = str(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"'{text}'" if isinstance(value, str) else text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused("DB033", f"found {shown(value)}, expected text.", _text_fix(value))
    if "\0" in value:
        raise Refused("DB033", "found a NUL character, which no database can hold.", "Remove it.")
    return value


def _text_fix(value: Any) -> str:
    if isinstance(value, list):
        return _ONE_OF_SEVERAL
    return "Put it in quotes." if isinstance(value, int | float) else ""


def _some_text(value: Any) -> str:
    if _text(value) == "":
        raise Refused("DB033", "found empty text, which every text holds.", "Write the text to look for.")
    return _text(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused("DB033", f"found {shown(value)}, expected true or false.", "")
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("DB033", f"found {shown(value)}, expected a number.", "")
    if not math.isfinite(value) or abs(value) >= MAX_NUMBER:
        raise Refused("DB033", f"found {shown(value)}, expected a number below {MAX_NUMBER:,}.", "")
    return value


def _whole(value: Any) -> int:
    number = _number(value)
    if not isinstance(number, int) or number < 0:
        raise Refused("DB033", f"found {shown(value)}, expected a whole number from 0 up.", "")
    return number


def _amount(value: Any) -> Decimal:
    amount = Decimal(str(_number(value)))
    if amount != round(amount, 4):
        raise Refused("DB033", f"found {shown(value)}, expected an amount with at most 4 decimals.", "")
    return amount


def _scalar(value: Any) -> str | bool | int | float:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if value is None:
        raise Refused(
            "DB033", "found nothing, expected a value.", "To ask for a missing one write {exists: false}."
        )
    if isinstance(value, list | dict):
        fix = _ONE_OF_SEVERAL if isinstance(value, list) else ""
        raise Refused("DB033", f"found {shown(value)}, expected text, a number, true or false.", fix)
    return _number(value)


def _span(value: Any) -> timedelta:
    if not isinstance(value, str):
        days = isinstance(value, int) and not isinstance(value, bool)
        example = "expected a duration such as 30d or 4h."
        raise Refused(
            "DB034", f"found {shown(value)}, {example}", f"Write {value}d if days are meant." if days else ""
        )
    try:
        span = parse_duration(value)
    except UsageError as error:
        raise Refused("DB034", f"{error}.", "") from None
    if not span:
        raise Refused("DB034", f"found {shown(value)}, in which nothing can happen.", "Write a longer span.")
    return span


def _date(value: Any) -> date:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise Refused("DB034", f"found {shown(value)}, expected a date such as 2011-12-05.", "")


def _start(value: Any) -> datetime:
    """Read an instant; a date alone is its first instant in UTC, so that `before` leaves out the whole day."""
    return _instant(value, time.min)


def _end(value: Any) -> datetime:
    """Read an instant; a date alone is its last microsecond in UTC, so that `after` leaves out the whole day."""
    return _instant(value, time.max)


def _instant(value: Any, at: time) -> datetime:
    try:
        return datetime.combine(_date(value), at, tzinfo=UTC)
    except Refused:
        pass
    try:
        if isinstance(value, str):
            return parse_instant(value)
    except (UsageError, OverflowError):
        pass
    raise Refused(
        "DB034", f"found {shown(value)}, expected a time such as 2011-12-05 or 2011-12-05T09:00+00:00.", ""
    )
