"""Take a mail apart in linear time, whatever it holds: headers, parts, text. Nothing here raises.

Written here and not by the standard library: its parser recurses as deep as a mail is nested (RecursionError),
makes one object for every blank line of a delivery-status part, and gives up charsets it does not know. What
comes to a bounce address is written by anybody, so work is bounded by size, parts and depth, and a returned
original inside is never descended into.
"""

from __future__ import annotations

import binascii
import codecs
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from functools import cached_property

MOST_BYTES = 1_000_000
"""What lies behind is not read: reports stand at the top, and returned originals may be of any size."""

MOST_PARTS = 200
MOST_DEPTH = 8
MOST_HEADERS = 400
MOST_HEADER_BYTES = 200_000
LONGEST_HEADER = 4_000
LONGEST_TEXT = 64_000
"""Letters of one part's text that are looked at. The longest report in the wild that we know has 9,000."""

ORIGINALS = frozenset(
    {
        "message/rfc822",
        "message/global",
        "message/partial",
        "message/rfc822-headers",
        "message/global-headers",
        "text/rfc822-headers",
    }
)
"""Parts that hold the mail that came back, whole or its headers (RFC 3462, RFC 6533)."""

# Decoding these takes time that grows with the square of the size, or makes escapes of somebody's choice.
_NOT_FOR_MAIL = frozenset({"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined"})

_HEADER = re.compile(rb"([!-9;-~]{1,200})[ \t]*:[ \t]*(.*)", re.DOTALL)
_PARAMETER = re.compile(r""";\s*([!-:<-~]{1,60}?)\s*=\s*(?:"((?:[^"\\]|\\.){0,300})"|([^\s;"]{1,300}))""")
_TAG = re.compile(r"<[^<>]{0,2000}>")
_HIDDEN = re.compile(r"<(style|script|head|title)\b", re.IGNORECASE)
_LINE_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/h\d)\b[^<>]{0,200}>", re.IGNORECASE)
_GUESSED = re.compile(rb"^--([^\s].{2,120}?)\r?\n(?:\r?\n|Content-)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Headers:
    """Headers in order, names in small letters, folded lines joined; values as they stood, bytes as letters."""

    rows: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """Return the first value of a header, '' without one."""
        return next((value for key, value in self.rows if key == name), "")

    def all(self, *names: str) -> list[str]:
        """Return every value of the named headers, in order."""
        return [value for key, value in self.rows if key in names]

    def words(self, name: str) -> str:
        """Return a header for reading, encoded words (RFC 2047) decoded."""
        return in_words(self.get(name))


@dataclass(frozen=True)
class Part:
    """A part without parts. `kind`: its type in small letters, such as `text/plain`."""

    kind: str
    headers: Headers
    body: bytes
    parameters: tuple[tuple[str, str], ...] = ()

    @cached_property
    def text(self) -> str:
        """Its text, decoded, line ends as \\n, at most LONGEST_TEXT letters; of HTML the letters a reader sees."""
        raw = _decoded(self.body[: 4 * LONGEST_TEXT], self.headers.get("content-transfer-encoding"))
        text = in_letters(raw, dict(self.parameters).get("charset", ""))[:LONGEST_TEXT]
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
        return as_seen(text) if self.kind == "text/html" else text


@dataclass(frozen=True)
class Mail:
    """A mail: its headers, its parts in order, and whether something was left out for its size."""

    headers: Headers
    parts: tuple[Part, ...]
    cut: bool = False

    @property
    def kind(self) -> str:
        """Return the type of the whole, such as `multipart/report`."""
        return _content_type(self.headers)[0]

    @property
    def parameters(self) -> dict[str, str]:
        """Return the parameters of the whole's type, names in small letters."""
        return dict(_content_type(self.headers)[1])

    @cached_property
    def text(self) -> str:
        """What a reader sees before the returned original: plain text, else HTML; at most LONGEST_TEXT."""
        shown: list[str] = []
        seen_as_html: list[str] = []
        for part in self.parts:
            if part.kind in ORIGINALS and (shown or seen_as_html):
                break
            if part.kind == "text/plain":
                shown.append(part.text)
            elif part.kind == "text/html":
                seen_as_html.append(part.text)
        return "\n".join(shown if any(text.strip() for text in shown) else seen_as_html)[:LONGEST_TEXT]

    @cached_property
    def original(self) -> Headers:
        """The headers of the mail that came back as a part of its own; none where there is no such part."""
        for part in self.parts:
            if part.kind in ORIGINALS:
                raw = _decoded(part.body[:LONGEST_TEXT], part.headers.get("content-transfer-encoding"))
                if (found := _split_head(raw.lstrip(b"\r\n"))[0]).rows:
                    return found
        return Headers()


def take_apart(raw: bytes) -> Mail:
    """Return the mail. Of one that is longer than MOST_BYTES the beginning."""
    headers, body = _split_head(raw[:MOST_BYTES])
    parts: list[Part] = []
    whole = not _collect(headers, body, 0, parts)
    return Mail(headers, tuple(parts), cut=len(raw) > MOST_BYTES or not whole)


def headers_in(text: str) -> Headers:
    """Return the headers that a text begins with, blank lines before them left out."""
    return _split_head(text[:LONGEST_TEXT].lstrip("\n").encode("utf-8", "surrogateescape"))[0]


def in_words(value: str) -> str:
    """Return a header's value for reading: encoded words decoded, blanks and control characters as one blank."""
    value = value[:2_000]
    if "=?" in value:
        try:
            pieces = decode_header(value)
        except (HeaderParseError, ValueError, binascii.Error, LookupError):
            pieces = []
        if pieces:
            value = "".join(
                piece if isinstance(piece, str) else in_letters(piece, charset or "")
                for piece, charset in pieces
            )
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", value).split())


def in_letters(raw: bytes, charset: str) -> str:
    """Decode by the named charset; where that is unknown or wrong, by UTF-8, else byte by byte."""
    named = charset.strip().strip("'\"")[:40]
    if b"\x1b$" in raw and named.lower() in ("", "us-ascii", "ascii", "utf-8"):
        named = "iso-2022-jp"  # its escape gives it away; Notes and others forget to name it
    for name in (named, "utf-8"):
        try:
            codec = codecs.lookup(name) if name else None
            if codec is not None and codec.name.replace("_", "-") not in _NOT_FOR_MAIL:
                return raw.decode(codec.name)
        except (LookupError, UnicodeError, ValueError):
            continue
    return raw.decode("latin-1")


def as_seen(source: str) -> str:
    """Return HTML as lines of text, without tags."""
    return html.unescape(_TAG.sub(" ", _LINE_BREAK.sub("\n", _shown(source[:LONGEST_TEXT]))))


def _shown(source: str) -> str:
    """Leave out the elements whose content is never shown; one that is not closed hides what follows."""
    kept: list[str] = []
    position = 0
    lower = source.lower()
    while (match := _HIDDEN.search(source, position)) is not None:
        kept.append(source[position : match.start()])
        end = lower.find(f"</{match.group(1).lower()}", match.end())
        if end < 0:
            return "".join(kept)
        position = end
    return "".join(kept) + source[position:]


def _collect(headers: Headers, body: bytes, depth: int, parts: list[Part]) -> bool:
    """Add the parts of a body to `parts`; return whether something was left out."""
    if len(parts) >= MOST_PARTS:
        return True
    kind, parameters = _content_type(headers)
    boundary = dict(parameters).get("boundary", "").encode("utf-8", "surrogateescape").rstrip()
    if depth == 0 and not boundary and (kind.startswith("multipart/") or not headers.get("content-type")):
        # Headers that were lost on the way, while the parts are there (old sendmail, gateways).
        boundary = _guess_boundary(body)
    if boundary and depth < MOST_DEPTH and (kind.startswith("multipart/") or depth == 0):
        found = False
        left_out = False
        for piece in _pieces(body, boundary):
            found = True
            inner, rest = _split_head(piece)
            left_out |= _collect(inner, rest, depth + 1, parts)
            if len(parts) >= MOST_PARTS:
                return True
        if found:
            return left_out
    if kind.startswith("multipart/"):
        kind = "text/plain"
    parts.append(Part(kind, headers, body, parameters))
    return False


def _pieces(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """Give what stands between the lines of a boundary, at most MOST_PARTS times; the preamble is left out."""
    line = re.compile(rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*\r?$\n?", re.MULTILINE)
    start: int | None = None
    for count, match in enumerate(line.finditer(body)):
        if start is not None:
            yield body[start : match.start()].removesuffix(b"\n").removesuffix(b"\r")
        if match.group(1) or count >= MOST_PARTS:
            return
        start = match.end()
    if start is not None:
        yield body[start:]


def _guess_boundary(body: bytes) -> bytes:
    found = _GUESSED.search(body[:LONGEST_TEXT])
    if found is None:
        return b""
    boundary = found.group(1).rstrip()
    return boundary if body.count(b"--" + boundary) > 1 else b""


def _split_head(raw: bytes) -> tuple[Headers, bytes]:
    """Return the headers and what follows the blank line. Text that begins without a header has none."""
    rows: list[tuple[str, str]] = []
    position = 0
    name, value = "", b""
    while position < min(len(raw), MOST_HEADER_BYTES):
        end = raw.find(b"\n", position)
        end = len(raw) if end < 0 else end + 1
        line = raw[position:end].rstrip(b"\r\n")
        if not line:
            position = end
            break
        if line[:1] in b" \t" and name:
            if len(value) < LONGEST_HEADER:
                value = (value + b" " + line.strip())[:LONGEST_HEADER]
        elif (match := _HEADER.fullmatch(line[:LONGEST_HEADER])) is not None:
            _add(rows, name, value)
            name, value = match.group(1).decode("ascii").lower(), match.group(2)
        elif not (rows or name) and line[:5] == b"From ":
            pass  # the mbox separator
        elif not (rows or name):
            return Headers(), raw  # no headers at all
        elif line[:1] not in b" \t":
            break  # the blank line is missing
        position = end
    _add(rows, name, value)
    return Headers(tuple(rows)), raw[position:]


def _add(rows: list[tuple[str, str]], name: str, value: bytes) -> None:
    if name and len(rows) < MOST_HEADERS:
        try:
            letters = value.decode("utf-8")
        except UnicodeDecodeError:
            letters = value.decode("latin-1")
        rows.append((name, letters.replace("\0", "").strip()))


def _content_type(headers: Headers) -> tuple[str, tuple[tuple[str, str], ...]]:
    value = headers.get("content-type")
    kind = value.partition(";")[0].strip().lower()
    if not re.fullmatch(r"[a-z0-9.+_-]{1,60}/[a-z0-9.+_-]{1,60}", kind):
        kind = "text/plain"
    found = _PARAMETER.finditer(value)
    return kind, tuple(
        (name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare)
        for name, quoted, bare in (match.groups() for match in found)
    )


def _decoded(body: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().lower()
    try:
        if encoding == "base64":
            letters = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
            return binascii.a2b_base64(letters[: len(letters) // 4 * 4])
        if encoding == "quoted-printable":
            return binascii.a2b_qp(body)
    except (binascii.Error, ValueError):
        pass
    return body
