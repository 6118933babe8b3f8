"""Values as files hold them, turned into what the store keeps. Every converter raises ValueError with a reason."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from drumbeat.clock import zone
from drumbeat.errors import UsageError
from drumbeat.ingest.targets import Kind
from drumbeat.lazy import lazy_module

if TYPE_CHECKING:
    from drumbeat.ingest import people, phones
else:
    people = lazy_module("drumbeat.ingest.people")
    phones = lazy_module("drumbeat.ingest.phones")

Convert = Callable[[Any], Any]

MAX_AMOUNT = Decimal(10) ** 10
"""An amount beyond ten billion is taken for a mistake; it also keeps sums of ten-thousandths inside a BIGINT."""

_MAX_INTEGER = 2**31 - 1
_WHOLE = re.compile(r"[-+]?\d{1,15}(?:\.0*)?")
_CHAT = re.compile(r"[1-9][0-9]{0,15}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})


def text(value: Any) -> str:
    """Return the value as text. Refuses lists, mappings and characters that no database text can hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        if isinstance(value, list | dict | bytes) or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"{_shown(value)} is not a text")
        return str(value)
    if "\0" in value or (not value.isascii() and _SURROGATE.search(value)):
        raise ValueError(f"{_shown(value)} holds a character that cannot be stored")
    return value


def whole(value: Any) -> int:
    """Read a whole number; `17850.0` is 17850, as spreadsheets and data frames write it."""
    if isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is not a whole number")
    if isinstance(value, int):
        return value
    if isinstance(value, float | Decimal):
        if not math.isfinite(value) or value != int(value):
            raise ValueError(f"{_shown(value)} is not a whole number")
        return int(value)
    if not isinstance(value, str) or not _WHOLE.fullmatch(value):
        raise ValueError(f"{_shown(value)} is not a whole number")
    return int(value.partition(".")[0])


def integer(value: Any) -> int:
    """Read a whole number that fits a 32-bit column."""
    number = whole(value)
    if abs(number) > _MAX_INTEGER:
        raise ValueError(f"{_shown(value)} is beyond {_MAX_INTEGER:,}")
    return number


def whole_text(value: Any) -> str:
    """Read a whole number and return it as text: a customer's number that came as `17850.0`."""
    return str(whole(value))


def amount(value: Any) -> Decimal:
    """Read an amount of money: a point as decimal sign, at most four decimals, no thousands separators."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{_shown(value)} is not an amount")
    try:
        number = Decimal(str(value).replace("_", "?"))
    except InvalidOperation:
        raise ValueError(f"{_shown(value)} is not an amount; expected for example 2.55") from None
    if not number.is_finite() or abs(number) > MAX_AMOUNT:
        raise ValueError(f"{_shown(value)} is not an amount below {MAX_AMOUNT:,}")
    kept = round(number, 4)
    # A float carries binary noise in its 16th digit; a text says what it means.
    if kept != number and not isinstance(value, float):
        raise ValueError(f"{_shown(value)} has more than four decimals")
    return kept


def boolean(value: Any) -> bool:
    """Read true/false, yes/no, t/f, y/n, 1/0 in any case."""
    word = str(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{_shown(value)} is neither true nor false")


def time_zone(value: Any) -> str:
    """Read the name of an IANA time zone."""
    name = text(value)
    try:
        return zone(name).key
    except UsageError as error:
        raise ValueError(str(error)) from None


def email(value: Any) -> str:
    """Read an e-mail address; nothing is looked up in the net."""
    return people.normal_address(text(value))


def chat(value: Any) -> str:
    """Read the id of a person's chat with a Telegram bot: a whole number above zero, of at most 52 bits."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = text(value).strip()
    if not _CHAT.fullmatch(name) or int(name) >= 2**52:
        raise ValueError(f"{_shown(value)} is not the id of a chat; expected a number such as 123456789")
    return name


def address(value: Any) -> str:
    """Read what a suppression names: an e-mail address, `tel:+447700900123` or `tg:123456789`."""
    written = text(value).strip()
    if written.startswith("tel:"):
        return f"tel:{phones.normal_phone(written.removeprefix('tel:'))}"
    if written.startswith("tg:"):
        return f"tg:{chat(written.removeprefix('tg:'))}"
    return people.normal_address(written)


def instant(zone_name: str, pattern: str | None) -> Convert:
    """Return the converter to instants in UTC; a time without offset is in the zone.

    `pattern`: a strptime format, `unix` (seconds) or `unix_ms`; without it ISO 8601. A local time that the
    autumn change makes happen twice is the first of the two (PEP 495, fold=0).
    """
    local: ZoneInfo = zone(zone_name)

    def convert(value: Any) -> datetime:
        try:
            if pattern in ("unix", "unix_ms"):
                return datetime.fromtimestamp(float(value) / (1000 if pattern == "unix_ms" else 1), UTC)
            moment = _moment(value, pattern)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=local)
            return moment.astimezone(UTC)
        except (ValueError, TypeError, OverflowError, OSError):
            expected = pattern or "for example 2011-12-05T09:00"
            raise ValueError(f"{_shown(value)} is not a time; expected {expected}") from None

    return convert


def _moment(value: Any, pattern: str | None) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if not isinstance(value, str):
        raise TypeError
    return datetime.strptime(value, pattern) if pattern else datetime.fromisoformat(value)  # noqa: DTZ007 - the zone follows


def day(pattern: str | None) -> Convert:
    """Return the converter to dates; `pattern` is a strptime format, without it ISO 8601."""

    def convert(value: Any) -> date:
        try:
            if isinstance(value, datetime):
                return value.date()
            if isinstance(value, date):
                return value
            if not isinstance(value, str):
                raise TypeError
            return datetime.strptime(value, pattern).date() if pattern else date.fromisoformat(value)  # noqa: DTZ007
        except (ValueError, TypeError):
            raise ValueError(
                f"{_shown(value)} is not a date; expected {pattern or 'for example 1980-02-29'}"
            ) from None

    return convert


def plain(value: Any) -> Any:
    """Return a value as JSON keeps it: numbers, words, lists and mappings; times and dates in ISO 8601."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Decimal):
        # Never int() of any exponent: 1e9999999 would take minutes and gigabytes.
        value = int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{_shown(value)} has no place in JSON")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {text(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"{_shown(value)} has no place in JSON")


_SIMPLE: Mapping[str, Convert] = {
    "text": text,
    "integer": integer,
    "amount": amount,
    "boolean": boolean,
    "email": email,
    "zone": time_zone,
    "phone": text,  # the country that says how to read it stands in another column: see ingest.rows
    "chat": chat,
    "address": address,
}


def converter(kind: Kind, *, as_type: str | None, zone_name: str, pattern: str | None) -> Convert:
    """Return the converter for a target field's kind; `as_type: integer` reads a text as a whole number first."""
    if kind == "instant":
        return instant(zone_name, pattern)
    if kind == "date":
        return day(pattern)
    if kind == "text" and as_type == "integer":
        return whole_text
    return _SIMPLE[kind]


def _shown(value: Any) -> str:
    found = repr(value)
    return found if len(found) <= 60 else f"{found[:57]}..."
