"""Which stored calls and mails name somebody, in whatever way they were written.

A row does not say whom it is about: one call may tell of a thousand readers. So each is read, in every form that it
may be written in (percent signs, JSON's escapes, quoted-printable, base64, gzip), for the addresses as a whole and
for the signed tokens of the person's messages. Retention keeps the table short.
"""

from __future__ import annotations

import base64
import binascii
import json
import quopri
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from sqlalchemy import Connection, func, select

from drumbeat.privacy.names import Names
from drumbeat.store.tables import inbox

PAGE = 500
PAGE_BYTES = 8 * 2**20
"""Rows, and about so many bytes, in memory at a time."""

UNPACKED = 32 * 2**20
"""No more is unpacked of a body: what packs itself smaller than that is no provider's."""

_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\"\\/bfnrt]))")
_LETTERS: Mapping[str, str] = {"b": " ", "f": " ", "n": "\n", "r": "\n", "t": "\t"}
_BASE64 = re.compile(
    rb"(?:^[A-Za-z0-9+/]{16,}|[A-Za-z0-9+/]{40,})(?:[ \t]*\r?\n[A-Za-z0-9+/]+)*={0,2}", re.MULTILINE
)
"""Lines of base64, as mails have them, and longer runs of it anywhere."""


class Row(NamedTuple):
    """A row of the inbox that names them."""

    id: int
    source: str
    state: str
    received_at: datetime
    headers: Mapping[str, str]
    body: bytes


def rows_naming(connection: Connection, names: Names, after: int = 0) -> Iterator[Row]:
    """Give the rows that name somebody, by id, from those after the row `after`. Memory does not grow with the table."""
    last: int | None = after
    while last is not None:
        ids, last = _next_page(connection, last)
        for found in connection.execute(
            select(*(inbox.c[name] for name in Row._fields)).where(inbox.c.id.in_(ids)).order_by(inbox.c.id)
        ):
            row = Row(*found)._replace(body=bytes(found.body))
            if any(names.named(view) for view in views(row.body, row.headers)):
                yield row


class Scan(NamedTuple):
    """What was found up to the row `last`: it is begun outside the transaction that needs it, as it may take a while."""

    last: int
    ids: tuple[int, ...]


def scan(connection: Connection, names: Names) -> Scan:
    """Look through all there is by now."""
    last = connection.execute(select(func.max(inbox.c.id))).scalar() or 0
    return Scan(last, tuple(row.id for row in rows_naming(connection, names)))


def _next_page(connection: Connection, after: int) -> tuple[list[int], int | None]:
    """Return the next rows' ids, and the last of them, None where there are no more."""
    sizes = connection.execute(
        select(inbox.c.id, func.length(inbox.c.body))
        .where(inbox.c.id > after)
        .order_by(inbox.c.id)
        .limit(PAGE)
    )
    ids: list[int] = []
    total = 0
    for row_id, size in sizes.tuples().all():
        ids.append(row_id)
        total += size
        if total > PAGE_BYTES:
            break
    return ids, ids[-1] if ids else None


def views(body: bytes, headers: Mapping[str, str]) -> Iterator[str]:
    """Give the forms in which a body, and what was kept of its headers, can be read, case-folded."""
    if headers:
        # The call's address, which may carry anything in its query.
        yield from _texts(json.dumps(dict(headers), ensure_ascii=False).encode("utf-8", "replace"))
    yield from _texts(body)
    for unpacked in _unpacked(body):
        yield from _texts(unpacked)


def _texts(data: bytes) -> Iterator[str]:
    text = data.decode("utf-8", "replace").casefold()
    yield text
    if "%" in text:
        yield unquote_to_bytes(data.replace(b"+", b" ")).decode("utf-8", "replace").casefold()
    for _ in range(3):  # JSON in a JSON text, as SNS has it, and once more
        if "\\" not in text:
            break
        text = _unescaped(text)
        yield text
    if b"=" in data:
        yield quopri.decodestring(data).decode("utf-8", "replace").casefold()


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(_letter, text)


def _letter(found: re.Match[str]) -> str:
    number, letter = found.groups()
    return chr(int(number, 16)) if number else _LETTERS.get(letter, letter)


def _unpacked(body: bytes) -> Iterator[bytes]:
    if body[:2] in (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda"):
        with suppress(zlib.error):
            yield zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, UNPACKED)
    for found in _BASE64.finditer(body):
        packed = re.sub(rb"\s", b"", found.group()).rstrip(b"=")
        try:
            yield base64.b64decode(packed[: len(packed) // 4 * 4] + _padded(packed), validate=True)
        except (binascii.Error, ValueError):
            continue


def _padded(packed: bytes) -> bytes:
    rest = packed[len(packed) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""
