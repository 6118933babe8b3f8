"""A suppression list as a stream of rows, never whole in memory: CSV of any shape we know, or one address a line."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, NamedTuple

from drumbeat.errors import InputError
from drumbeat.responses.lists.addresses import address_key
from drumbeat.responses.lists.shapes import COLUMNS, Shape, plain_name, read_reason, shape_of

AHEAD = timedelta(days=1)
"""A list's times may be local ones: so far ahead they are taken for now, beyond it for a mistake."""

LONGEST_TOPIC, LONGEST_SOURCE = 400, 500
_MARKS = ",;\t|"


class Suppressed(NamedTuple):
    """One good row."""

    line: int
    key: str
    topic: str
    reason: str
    at: datetime
    source: str | None


class Bad(NamedTuple):
    """One row that cannot be used, why, and as it was."""

    line: int
    reason: str
    original: Sequence[str]


@dataclass(frozen=True)
class Defaults:
    """What rows say where the list does not. `topic`: "" is all; `now`: the latest time there can be.

    `reason`: None: what the list's shape means, else manual.
    """

    reason: str | None
    topic: str
    source: str
    now: datetime


@dataclass(frozen=True)
class List:
    """An open list: its shape's name, the columns of `Bad.original`, and the rows."""

    shape: str
    header: Sequence[str]
    rows: Iterator[Suppressed | Bad]


@contextmanager
def open_list(path: Path, defaults: Defaults) -> Iterator[List]:
    """Open a list, plain or .gz. Raises InputError, here or while reading, with one line."""
    try:
        with _bytes(path) as raw, TextIOWrapper(raw, "utf-8-sig", newline="") as lines:
            yield _opened(path, lines, defaults)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text (byte {error.object[error.start]:#04x}); save it as UTF-8"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: is not a whole gzip file ({error}); get it again") from None
    except csv.Error as error:
        raise InputError(f"{path}: is no CSV ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _opened(path: Path, lines: IO[str], defaults: Defaults) -> List:
    start = lines.readline(100_000)
    while start and not start.strip():
        start = lines.readline(100_000)
    if not start:
        raise InputError(f"{path}: is empty; expected a first line with {', '.join(COLUMNS)}, or addresses")
    mark = max(_MARKS, key=start.count)
    first = next(csv.reader([start], delimiter=mark))
    shape = shape_of(first)
    if shape is not None:
        reader = csv.reader(lines, delimiter=mark)
        return List(shape.name, first, _rows(reader, first, shape, defaults, behind=1))
    if not _is_address(first[0]) or len(first) > 2:
        raise InputError(
            f"{path}: its first line names no column with addresses and is none itself; expected for example"
            f" {','.join(COLUMNS)}"
        )
    # Without a first line of names: one address a line, or as Amazon SES takes them, `address,BOUNCE`.
    header = ["address", "reason"][: len(first)]
    bare = Shape("addresses", frozenset(), "address", reason="reason" if len(first) == 2 else None)
    whole = csv.reader(_again(start, lines), delimiter=mark)
    return List(bare.name, header, _rows(whole, header, bare, defaults, behind=0))


def _again(start: str, lines: IO[str]) -> Iterator[str]:
    yield start
    yield from lines


def _is_address(text: str) -> bool:
    try:
        address_key(text)
    except ValueError:
        return False
    return True


def _rows(
    reader: Any, header: Sequence[str], shape: Shape, defaults: Defaults, *, behind: int
) -> Iterator[Suppressed | Bad]:
    names = [plain_name(name) for name in header]
    where = {
        field: names.index(name)
        for field in COLUMNS
        if (name := getattr(shape, field)) is not None and name in names
    }
    while True:
        line = reader.line_num + 1 + behind
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Bad(line, f"is no CSV: {error}", ())
            continue
        # An address can begin with #, but has no blank in it.
        if not any(value.strip() for value in values) or (not behind and values[0].startswith("# ")):
            continue
        if len(values) != len(header):
            yield Bad(line, f"has {len(values)} fields; expected {len(header)}", values)
            continue
        try:
            yield _row(line, {field: values[i].strip() for field, i in where.items()}, shape, defaults)
        except ValueError as error:
            yield Bad(line, str(error), values)


def _row(line: int, found: dict[str, str], shape: Shape, defaults: Defaults) -> Suppressed:
    word = found.get("reason", "")
    reason = read_reason(word) if word else defaults.reason or shape.usual or "manual"
    # In our own list an empty field says something: every topic, no source.
    given = {} if shape.needs >= set(COLUMNS) else {"topic": defaults.topic, "source": defaults.source}
    topic = found.get("topic") or given.get("topic", "")
    source = (found.get("source") or given.get("source", ""))[:LONGEST_SOURCE]
    if len(topic) > LONGEST_TOPIC:
        raise ValueError(f"the topic has {len(topic):,} characters; expected at most {LONGEST_TOPIC}")
    if "\0" in topic + source:
        raise ValueError("holds a character that cannot be stored")
    at = read_time(found["at"], defaults.now) if found.get("at") else defaults.now
    key = address_key(found["address"])
    if key.startswith("@") and reason == "unsubscribed":
        raise ValueError("a reader unsubscribes an address, not a whole domain; for a domain say manual")
    return Suppressed(line, key, topic, reason, at, source or None)


def read_time(text: str, now: datetime) -> datetime:
    """Return a time as tools write it, in UTC: ISO 8601, `2011-12-05 09:00:00`, Unix time, or as in a mail's Date.

    Without an offset it is UTC. Raises ValueError.
    """
    at = _moment(text)
    if at > now + AHEAD:
        raise ValueError(f"the time '{text[:40]}' lies in the future")
    return min(at, now)


def _moment(text: str) -> datetime:
    try:
        if text.isascii() and text.isdigit():
            seconds = int(text[:17])
            return datetime.fromtimestamp(seconds / 1000 if len(text) > 11 else seconds, UTC)
        read = parsedate_to_datetime if text[:1].isalpha() else datetime.fromisoformat
        at = read(text.removesuffix(" UTC"))
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        raise ValueError(f"'{text[:40]}' is not a time; expected for example 2011-12-05T09:00:00Z") from None
