"""A mail as bytes: headers and multipart/alternative, written here and not by the standard library.

The standard library's writer turns a long List-Unsubscribe address into encoded-words, which breaks
one-click unsubscribe (cpython issue 85725), writes an IDN domain as an encoded-word, and takes 20 times as
long. Its parser reads back what this writes: tests compare them over thousands of seeded cases.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import blake2b

from drumbeat.errors import InputError

LINE = 76
"""Headers are folded to this many characters (RFC 5322 asks for 78)."""
LONGEST_LINE = 998
"""RFC 5322, 2.1.1."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_ADDRESS = re.compile(
    rf"(?=.{{1,254}}\Z)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_PHRASE = re.compile(rf"{_ATOM}(?: {_ATOM})*")
_ONE_LINE = re.compile(r"[!-~]+(?: [!-~]+)*")
_URL = re.compile(r"https?://[!#-;=?-~]+")
_LIST_ID = re.compile(rf"{_ATOM}(?:\.{_ATOM})+")
_FEEDBACK_ID = re.compile(r"[A-Za-z0-9._-]*(?::[A-Za-z0-9._-]*){2}:[A-Za-z0-9._-]{5,15}")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+>")
_Q_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!*+-/")


def compose(
    *,
    sender_name: str,
    sender_address: str,
    reply_to: str | None,
    to_name: str | None,
    to_address: str,
    subject: str,
    html: str,
    text: str,
    message_id: str,
    date: datetime,
    list_id: str | None = None,
    unsubscribe_url: str | None = None,
    feedback_id: str | None = None,
    auto_submitted: bool = False,
) -> bytes:
    """Return the mail with CRLF line ends, ready for SMTP's DATA but for its dots. Same input, same bytes.

    `message_id`: as `message_id()` gives it. `date`: aware. `unsubscribe_url` gives both headers of RFC 8058.
    `list_id`: a name like a domain (RFC 2919). `feedback_id`: Gmail's `a:b:c:sender`, nothing per reader.
    `auto_submitted`: for service mail that answers what someone did (RFC 3834).

    Raises InputError for what cannot stand in a mail: control characters and lone surrogates in headers,
    an address that is none or has letters beyond ASCII before the @ (few servers take them), an empty part.
    """
    if not _MESSAGE_ID.fullmatch(message_id):
        raise InputError(f"'{message_id[:80]!s}' is no Message-ID; expected <id@domain>")
    if date.tzinfo is None:
        raise InputError("the mail's date has no time zone; expected an aware one")
    headers = [
        _mailbox("From", sender_name, sender_address),
        _mailbox("To", to_name or "", to_address),
        _unstructured("Subject", subject),
        f"Date: {format_datetime(date.astimezone(UTC))}",
        f"Message-ID: {message_id}",
    ]
    if reply_to:
        headers.append(_mailbox("Reply-To", "", reply_to))
    if list_id is not None:
        headers.append(f"List-Id: <{_checked(list_id, _LIST_ID, 'List-Id', 'offers.example.com')}>")
    if unsubscribe_url is not None:
        _checked(unsubscribe_url, _URL, "unsubscribe address", "https://example.com/u/...")
        headers.append(f"List-Unsubscribe: <{unsubscribe_url}>")
        headers.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    if feedback_id is not None:
        headers.append(f"Feedback-ID: {_checked(feedback_id, _FEEDBACK_ID, 'Feedback-ID', 'a:b:c:sender')}")
    if auto_submitted:
        headers.append("Auto-Submitted: auto-generated")
    # "=_" occurs in no quoted-printable text (RFC 2045, 6.7), so the boundary cannot occur in a part.
    boundary = "=_" + blake2b(message_id.encode(), digest_size=12).hexdigest()
    headers.append("MIME-Version: 1.0")
    headers.append(f'Content-Type: multipart/alternative; boundary="{boundary}"')
    head = "\r\n".join(headers).encode("ascii")
    if any(len(line) > LONGEST_LINE for line in head.split(b"\r\n")):
        raise InputError(
            f"a header is longer than {LONGEST_LINE} characters; shorten the unsubscribe address"
        )
    mark = boundary.encode()
    return b"".join(
        (
            head,
            b"\r\n\r\n--",
            mark,
            _part("plain", text),
            b"--",
            mark,
            _part("html", html),
            b"--",
            mark,
            b"--\r\n",
        )
    )


def message_id(key: bytes, domain: str, *parts: object) -> str:
    """Return a Message-ID that is always the same for the same parts, and tells a reader nothing of them.

    A mail that is handed over twice carries the same one, so some receivers drop the second.
    """
    named = "\x1f".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    digest = blake2b(
        named, key=blake2b(key, digest_size=32).digest(), digest_size=16, person=b"drumbeat.msgid"
    )
    return f"<{digest.hexdigest()}@{_domain(domain)}>"


def address(text: str) -> str:
    """Return a mail address in ASCII, its domain in the form of DNS (`bücher.example` as `xn--...`).

    Raises InputError for anything else.
    """
    if _PLAIN_ADDRESS.fullmatch(text):
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
def _domain(domain: str) -> str:
    return address(f"x@{domain}").partition("@")[2]


def _checked(value: str, pattern: re.Pattern[str], what: str, example: str) -> str:
    if not pattern.fullmatch(value):
        raise InputError(f"{value[:80]!r} is no {what}; expected for example {example}")
    return value


def _clean(value: str, what: str) -> str:
    """Return a header's text. Raises InputError for what could end the line or cannot be written in UTF-8."""
    for character in value:
        code = ord(character)
        if code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029) or 0xD800 <= code < 0xE000:
            raise InputError(f"the {what} has the control character U+{code:04X}; remove it")
    return value


def _unstructured(name: str, value: str) -> str:
    _clean(value, name.lower())
    if not value.strip():
        raise InputError(f"the {name.lower()} is empty")
    plain = _ONE_LINE.fullmatch(value) and "=?" not in value
    if plain and all(len(word) < LINE - len(name) - 2 for word in value.split(" ")):
        return _folded(f"{name}: {value}")
    return f"{name}: " + "\r\n ".join(_encoded_words(value, LINE - len(name) - 2))


def _mailbox(name: str, shown: str, mailbox: str) -> str:
    where = address(mailbox)
    shown = re.sub(" +", " ", _clean(shown, f"name in {name}")).strip(" ")
    if not shown:
        return f"{name}: {where}"
    room = LINE - len(name) - 2
    if len(shown) < room - 2 and shown.isascii() and "=?" not in shown:
        escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
        phrase = shown if _PHRASE.fullmatch(shown) else f'"{escaped}"'
    else:
        phrase = "\r\n ".join(_encoded_words(shown, room))
    last = len(f"{name}: {phrase}".rpartition("\r\n")[2])
    gap = " " if last + len(where) + 3 <= LINE else "\r\n "
    return f"{name}: {phrase}{gap}<{where}>"


def _folded(line: str) -> str:
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
    as_q = sum(1 if byte in _Q_SAFE or byte == 0x20 else 3 for byte in utf8)
    kind = "Q" if as_q <= len(utf8) * 2 else "B"
    words, chunk, room = [], b"", min(first_room, 75) - 12
    for character in value:
        encoded = character.encode("utf-8")
        if chunk and _size(chunk + encoded, kind) > room:
            words.append(_word(chunk, kind))
            chunk, room = b"", 75 - 12
        chunk += encoded
    return [*words, _word(chunk, kind)]


def _size(chunk: bytes, kind: str) -> int:
    if kind == "B":
        return (len(chunk) + 2) // 3 * 4
    return sum(1 if byte in _Q_SAFE or byte == 0x20 else 3 for byte in chunk)


def _word(chunk: bytes, kind: str) -> str:
    if kind == "B":
        return f"=?utf-8?B?{base64.b64encode(chunk).decode()}?="
    letters = "".join(chr(b) if b in _Q_SAFE else "_" if b == 0x20 else f"={b:02X}" for b in chunk)
    return f"=?utf-8?Q?{letters}?="


def _part(kind: str, content: str) -> bytes:
    if not content.strip():
        raise InputError(f"the {kind} part is empty; a mail needs both")
    if "\0" in content:
        raise InputError(f"the {kind} part has the control character U+0000; remove it")
    try:
        octets = content.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the {kind} part has a character that is not text: U+{ord(content[error.start]):04X}"
        ) from None
    lines = binascii.b2a_qp(octets.removesuffix(b"\n") + b"\n", istext=True).replace(b"\n", b"\r\n")
    return (
        b"\r\nContent-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%b"
        % (kind.encode(), lines)
    )
