"""A mail as bytes: headers and multipart/alternative, from a skeleton that is built once for many mails.

What a sender, campaign and template have in common (From, Reply-To, List-Id, Feedback-ID, the parts' headers)
is written and checked once; per mail only what differs is filled in. The standard library's parser reads back
what this writes: tests compare them over ten thousand seeded cases.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from drumbeat.errors import InputError
from drumbeat.rendering.headers import (
    ATOM,
    LINE,
    LONGEST_LINE,
    address,
    checked,
    date_header,
    mailbox,
    unstructured,
)
from drumbeat.rendering.mime import Part, PartWriter, multipart

if TYPE_CHECKING:
    from drumbeat.rendering.dkim import Signer

ONE_CLICK = ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")

_URL = re.compile(r"https?://[!#-;=?-~]+")
_CLICKABLE = re.compile(r"https://|http://(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])[:/]")
_MAILTO = re.compile(r"mailto:[!#-;=?-~]+@[!#-;=?-~]+")
_LIST_ID = re.compile(rf"{ATOM}(?:\.{ATOM})+")
_FEEDBACK_ID = re.compile(r"[A-Za-z0-9._-]*(?::[A-Za-z0-9._-]*){2}:[A-Za-z0-9._-]{5,15}")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+>")


class Composed(NamedTuple):
    """A mail with CRLF line ends, ready for SMTP's DATA but for its dots.

    `headers`: those that are neither MIME's nor From, To, Reply-To, Subject and Date, in order. `seven_bit`:
    writes the same mail in ASCII, where `content` is not.
    """

    content: bytes
    headers: tuple[tuple[str, str], ...]
    seven_bit: Callable[[], bytes] | None = None


class Skeleton:
    """Writes the mails that have a sender, a list and a template in common.

    `list_id`: a name like a domain (RFC 2919). `feedback_id`: Gmail's `a:b:c:sender`, nothing per reader.
    `auto_submitted`: for service mail that answers what someone did (RFC 3834). `signer` adds a DKIM
    signature. Precedence is never written: it is nobody's standard, and `bulk` tells List-Id's story again.

    Raises InputError for what cannot stand in a mail.
    """

    def __init__(
        self,
        *,
        sender_name: str,
        sender_address: str,
        reply_to: str | None = None,
        list_id: str | None = None,
        feedback_id: str | None = None,
        auto_submitted: bool = False,
        signer: Signer | None = None,
    ) -> None:
        self.sender_address = address(sender_address)
        self.reply_to = address(reply_to) if reply_to else None
        self._from = mailbox("From", sender_name, self.sender_address)
        self._reply_to = () if self.reply_to is None else (f"Reply-To: {self.reply_to}",)
        self._list: tuple[tuple[str, str], ...] = ()
        if list_id is not None:
            self._list = (("List-Id", f"<{checked(list_id, _LIST_ID, 'List-Id', 'offers.example.com')}>"),)
        self._last: tuple[tuple[str, str], ...] = ()
        if feedback_id is not None:
            checked(feedback_id, _FEEDBACK_ID, "Feedback-ID", "a:b:c:sender")
            self._last = (("Feedback-ID", feedback_id),)
        if auto_submitted:
            self._last += (("Auto-Submitted", "auto-generated"),)
        self._signer = signer
        self._text, self._html = PartWriter("plain"), PartWriter("html")

    def compose(
        self,
        *,
        to_name: str | None,
        to_address: str,
        subject: str,
        html: str,
        text: str,
        message_id: str,
        date: datetime,
        unsubscribe_url: str | None = None,
        unsubscribe_mailto: str | None = None,
        eight_bit: bool = False,
    ) -> Composed:
        """Return one mail. Same input, same bytes.

        `message_id`: as identity.py gives it. `date`: aware. `unsubscribe_url` gives both headers of RFC 8058;
        `unsubscribe_mailto`, a whole `mailto:` address, stands beside it. `eight_bit`: the way takes letters
        beyond ASCII in bodies (RFC 6152); parts that this could harm are quoted-printable all the same.

        Raises InputError for control characters and lone surrogates in headers, an address that is none or has
        letters beyond ASCII before the @ (few servers take them), an empty part.
        """
        if not _MESSAGE_ID.fullmatch(message_id):
            raise InputError(f"'{message_id[:80]!s}' is no Message-ID; expected <id@domain>")
        others = (
            ("Message-ID", message_id),
            *self._list,
            *_unsubscribing(unsubscribe_url, unsubscribe_mailto),
            *self._last,
        )
        lines = [
            self._from,
            mailbox("To", to_name or "", address(to_address)),
            unstructured("Subject", subject),
            f"Date: {date_header(date)}",
            *self._reply_to,
            *[_line(name, value) for name, value in others],
            "MIME-Version: 1.0",
        ]
        # "=_" occurs in no quoted-printable text (RFC 2045, 6.7), so the boundary cannot occur in such a part.
        mark = f"=_{blake2b(message_id.encode(), digest_size=12).hexdigest()}"
        content, encodings = self._written(lines, mark, text, html, date, eight_bit)
        seven_bit = None
        if "8bit" in encodings:
            seven_bit = partial(self._seven_bit, lines, mark, text, html, date)
        return Composed(content, others, seven_bit)

    def _seven_bit(self, lines: list[str], mark: str, text: str, html: str, date: datetime) -> bytes:
        return self._written(lines, mark, text, html, date, eight_bit=False)[0]

    def _written(
        self, lines: list[str], mark: str, text: str, html: str, date: datetime, eight_bit: bool
    ) -> tuple[bytes, set[str]]:
        boundary = mark.encode()
        plain = _part(self._text, text, boundary, eight_bit)
        page = _part(self._html, html, boundary, eight_bit)
        encodings = {plain.encoding, page.encoding}
        lines = [*lines, f'Content-Type: multipart/alternative; boundary="{mark}"']
        if "8bit" in encodings:
            lines.append("Content-Transfer-Encoding: 8bit")  # RFC 2045, 6.4: as wide as its widest part
        body = multipart((("plain", plain), ("html", page)), boundary)
        if self._signer is not None:
            lines.insert(0, self._signer.header(lines, body, int(date.timestamp())))
        head = "\r\n".join(lines).encode("ascii")
        if len(head) > LONGEST_LINE and any(len(line) > LONGEST_LINE for line in head.split(b"\r\n")):
            raise InputError(
                f"a header is longer than {LONGEST_LINE} characters; shorten the unsubscribe address"
            )
        return b"%b\r\n\r\n%b" % (head, body), encodings


def compose(
    *,
    sender_name: str,
    sender_address: str,
    reply_to: str | None,
    list_id: str | None = None,
    feedback_id: str | None = None,
    auto_submitted: bool = False,
    to_name: str | None,
    to_address: str,
    subject: str,
    html: str,
    text: str,
    message_id: str,
    date: datetime,
    unsubscribe_url: str | None = None,
) -> bytes:
    """Return a single mail; what many have in common is made anew. See Skeleton. Raises InputError."""
    skeleton = Skeleton(
        sender_name=sender_name,
        sender_address=sender_address,
        reply_to=reply_to,
        list_id=list_id,
        feedback_id=feedback_id,
        auto_submitted=auto_submitted,
    )
    return skeleton.compose(
        to_name=to_name,
        to_address=to_address,
        subject=subject,
        html=html,
        text=text,
        message_id=message_id,
        date=date,
        unsubscribe_url=unsubscribe_url,
    ).content


def _part(writer: PartWriter, content: str, boundary: bytes, eight_bit: bool) -> Part:
    as_it_is = writer.as_it_is(content, boundary) if eight_bit else None
    return as_it_is or writer.quoted_printable(content)


def _unsubscribing(url: str | None, mailto: str | None) -> tuple[tuple[str, str], ...]:
    """Return the headers of RFC 2369 and RFC 8058. A long address stays whole on one line.

    One click needs https (RFC 8058, 3.1); plain http is let through on this machine alone, to try it out.
    """
    ways = []
    if url is not None:
        ways.append(f"<{checked(url, _URL, 'unsubscribe address', 'https://example.com/u/...')}>")
    if mailto is not None:
        ways.append(f"<{checked(mailto, _MAILTO, 'unsubscribe address', 'mailto:leave@example.com')}>")
    if not ways:
        return ()
    header = (("List-Unsubscribe", ", ".join(ways)),)
    return (*header, ONE_CLICK) if url is not None and _CLICKABLE.match(url) else header


def _line(name: str, value: str) -> str:
    """Return a header line, folded between the addresses of List-Unsubscribe and nowhere else."""
    line = f"{name}: {value}"
    return line if len(line) <= LINE else line.replace(">, <", ">,\r\n <")
