"""Header lines: addresses, names, subjects. What could end a line or cannot be written is refused.

Written here and not by the standard library: its writer turns a long List-Unsubscribe address into
encoded-words, which breaks one-click unsubscribe (cpython issue 85725), and writes an IDN domain as one.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from drumbeat.errors import InputError

LINE = 76
"""Headers are folded to this many characters (RFC 5322 asks for 78, RFC 2047 for 76)."""
LONGEST_LINE = 998
"""Octets of a line without its CRLF. RFC 5322, 2.1.1."""

_WORD = 75
"""Characters of an encoded-word, its frame included. RFC 2047, 2."""
_FRAME = len("=?utf-8?Q??=")

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_ADDRESS = re.compile(
    rf"(?=[^@]{{1,64}}@){ATOM}(?:\.{ATOM})*@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_LONGEST_ADDRESS = 254
_PHRASE = re.compile(rf"{ATOM}(?: {ATOM})*")
_ONE_LINE = re.compile(r"[!-~]+(?: [!-~]+)*")
_BLANKS = re.compile(" +")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_Q_SAFE = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!*+-/ "
_Q = ["_" if octet == 0x20 else chr(octet) if octet in _Q_SAFE else f"={octet:02X}" for octet in range(256)]


def address(text: str) -> str:
    """Return a mail address in ASCII, its domain in the form of DNS (`bücher.example` as `xn--...`).

    Raises InputError for anything else.
    """
    if len(text) <= _LONGEST_ADDRESS and _PLAIN_ADDRESS.fullmatch(text):
        return text
    return _thorough_address(text)


@lru_cache(maxsize=1024)
def _thorough_address(text: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    try:
        checked = validate_email(
            text,
            allow_smtputf8=False,
            allow_quoted_local=True,
            strict=True,
            check_deliverability=False,
            test_environment=True,
            globally_deliverable=False,
        )
    except (EmailNotValidError, UnicodeError) as error:
        raise InputError(f"{text[:80]!r} is no mail address: {error}") from None
    if checked.ascii_email is None:  # cannot happen: letters beyond ASCII before the @ are refused above
        raise InputError(f"{text[:80]!r} has letters before the @ that few mail servers accept")
    return checked.ascii_email


@lru_cache(maxsize=64)
def domain_in_ascii(domain: str) -> str:
    """Return a domain as DNS has it. Raises InputError where it is none."""
    return address(f"x@{domain}").partition("@")[2]


def mailbox(name: str, shown: str, where: str) -> str:
    """Return the header `name` with a person's name and their address, which `address()` gave.

    Blanks in a row become one, as readers see it anyway. Raises InputError for control characters.
    """
    shown = _BLANKS.sub(" ", _clean(shown, f"name in {name}")).strip(" ")
    if not shown:
        return f"{name}: {where}"
    room = LINE - len(name) - 2
    phrase = _phrase(shown)
    if phrase is None or len(phrase) > room:
        phrase = "\r\n ".join(_encoded_words(shown, room))
    last = len(phrase) - phrase.rfind("\n") - 1 if "\n" in phrase else len(name) + 2 + len(phrase)
    gap = " " if last + len(where) + 3 <= LINE else "\r\n "
    return f"{name}: {phrase}{gap}<{where}>"


def _phrase(shown: str) -> str | None:
    """Return a name as it may stand unencoded (RFC 5322, 3.2.5), or None."""
    if not shown.isascii() or "=?" in shown:
        return None
    if _PHRASE.fullmatch(shown):
        return shown
    escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@lru_cache(maxsize=512)
def unstructured(name: str, value: str) -> str:
    """Return a header of free text, folded. Raises InputError where it is empty or has control characters.

    Kept, because most subjects are those of many mails.
    """
    _clean(value, name.lower())
    if not value.strip():
        raise InputError(f"the {name.lower()} is empty")
    plain = _ONE_LINE.fullmatch(value) and "=?" not in value
    if plain and all(len(word) < LINE - len(name) - 2 for word in value.split(" ")):
        return _folded(f"{name}: {value}")
    return f"{name}: " + "\r\n ".join(_encoded_words(value, LINE - len(name) - 2))


def date_header(at: datetime) -> str:
    """Return an instant as a Date header has it, in UTC. Raises InputError where it has no time zone."""
    if at.tzinfo is None:
        raise InputError("the mail's date has no time zone; expected an aware one")
    return _date(at.replace(microsecond=0))


@lru_cache(maxsize=16)
def _date(at: datetime) -> str:
    return format_datetime(at.astimezone(UTC))


def checked(value: str, pattern: re.Pattern[str], what: str, example: str) -> str:
    """Return `value` where it matches the whole pattern. Raises InputError."""
    if not pattern.fullmatch(value):
        raise InputError(f"{value[:80]!r} is no {what}; expected for example {example}")
    return value


def _clean(value: str, what: str) -> str:
    """Return a header's text. Raises InputError for what could end the line or cannot be written in UTF-8."""
    if found := _CONTROL.search(value):
        raise InputError(f"the {what} has the control character U+{ord(found.group()):04X}; remove it")
    return value


def _folded(line: str) -> str:
    if len(line) <= LINE:
        return line
    lines = [""]
    for word in line.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return "\r\n ".join(lines)


def _encoded_words(value: str, first_room: int) -> list[str]:
    """Return RFC 2047 encoded-words of at most 75 characters, none of which splits a character.

    Q unless B is much shorter: people can read a Latin name in Q. Q only with the letters that are
    allowed in a name too (RFC 2047, 5.3).
    """
    utf8 = value.encode("utf-8")
    escaped = len(utf8.translate(None, _Q_SAFE))
    if 2 * escaped <= len(utf8):
        return _words_q(value, min(first_room, _WORD) - _FRAME)
    return _words_b(value, min(first_room, _WORD) - _FRAME)


def _words_q(value: str, room: int) -> list[str]:
    words: list[str] = []
    chunk: list[str] = []
    used = 0
    for character in value:
        letters = _Q[ord(character)] if character < "\x80" else "".join([_Q[b] for b in character.encode()])
        if used and used + len(letters) > room:
            words.append(f"=?utf-8?Q?{''.join(chunk)}?=")
            chunk, used, room = [], 0, _WORD - _FRAME
        chunk.append(letters)
        used += len(letters)
    return [*words, f"=?utf-8?Q?{''.join(chunk)}?="]


def _words_b(value: str, room: int) -> list[str]:
    words, start, used = [], 0, 0
    most = room // 4 * 3
    for position, character in enumerate(value):
        size = 1 if character < "\x80" else len(character.encode())
        if used and used + size > most:
            words.append(_word_b(value[start:position]))
            start, used, most = position, 0, (_WORD - _FRAME) // 4 * 3
        used += size
    return [*words, _word_b(value[start:])]


def _word_b(text: str) -> str:
    return f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="
