"""Reading what a provider sent: JSON that nobody vouches for, with a value of any type at any place.

Every function here takes whatever JSON can hold. What is of the wrong type counts as missing, so that one odd
field never costs the event, and the event's `raw` keeps it as it came.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from math import isfinite
from typing import Any, NoReturn

from drumbeat.errors import InputError

LONGEST_TEXT = 500
"""Characters of a provider's or server's words that are kept."""

LONGEST_NAME = 200
"""Characters of an id; a longer one is none."""

_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\.?\d)")
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)


def document(body: bytes) -> Any:
    """Return a call's body as JSON. Raises InputError, with one line, for anything else.

    NUL and lone surrogates, which PostgreSQL takes in no text, become U+FFFD.
    """
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
        return _storable(found) if b"\\u" in body else found
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the call's body cannot be read ({type(error).__name__}); expected JSON in UTF-8"
        ) from None


def table(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> Iterator[Mapping[str, Any]]:
    """Give the objects in a JSON array, or in nothing for anything else."""
    if isinstance(value, list):
        yield from (row for row in value if isinstance(row, dict))


def text(value: Any, longest: int = LONGEST_TEXT) -> str | None:
    """Return text or a whole number as one line of text; None for anything else and for no text at all."""
    if isinstance(value, int) and not isinstance(value, bool):
        # Longer ones have no text: Python refuses to write them out.
        value = str(value) if value.bit_length() < 256 else None
    if not isinstance(value, str):
        return None
    return " ".join(value[: 4 * longest].split())[:longest] or None


def ident(value: Any) -> str | None:
    """Return an id, an address or a token as it is; None where it is none or too long to be one."""
    found = text(value, LONGEST_NAME + 1)
    return found if found is not None and len(found) <= LONGEST_NAME else None


def instant(value: Any, otherwise: datetime) -> datetime:
    """Return seconds since 1970 or an ISO 8601 time, UTC where it names no offset, as an aware time in UTC.

    `otherwise`, the time of the call, for anything else and for what lies more than a day after it.
    """
    try:
        if isinstance(value, str) and not _SECONDS.fullmatch(value):
            found = datetime.fromisoformat(value.strip())
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            found = datetime.fromtimestamp(float(value), UTC)
        else:
            return otherwise
    except (ValueError, OverflowError, OSError):
        return otherwise
    return found if _EARLIEST < found < otherwise + _AHEAD else otherwise


def status_in(words: str | None) -> str | None:
    """Return the first enhanced status code (RFC 3463) in a server's words: `550 5.1.1 unknown` has 5.1.1."""
    found = _STATUS.search(words or "")
    return found.group(1) if found else None


def same(given: str | None, expected: str) -> bool:
    """Compare a secret in a time that does not depend on where they differ."""
    return compare_digest((given or "").encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


def basic_auth(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Return user and password of HTTP Basic (RFC 7617); None without."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    user, colon, password = decoded.partition(":")
    return (user, password) if colon else None


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    found = float(digits)
    if not isfinite(found):
        raise ValueError("a number beyond every number")
    return found


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(entry) for entry in value]
    if isinstance(value, dict):
        return {_UNSTORABLE.sub("\ufffd", key): _storable(entry) for key, entry in value.items()}
    return value
