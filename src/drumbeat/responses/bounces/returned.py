"""Which message a mail that came back is about: the names that our mails bear, wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from drumbeat.rendering.links import MAIL_TOKEN
from drumbeat.responses.bounces.mime import Headers, Mail

# `bounces+TOKEN@`; servers write it with the plus or the @ escaped, in capitals, inside an SRS address.
_AFTER_PLUS = re.compile(rf"(?:\+|%2B|=2B)([A-Za-z2-7]{{{MAIL_TOKEN}}})(?![A-Za-z0-9])", re.IGNORECASE)
_IN_MESSAGE_ID = re.compile(rf"\.([A-Za-z2-7]{{{MAIL_TOKEN}}})(?:@|%40|=40|=\w+\.)", re.IGNORECASE)
_ALONE = re.compile(rf"(?<![A-Za-z0-9])([A-Za-z2-7]{{{MAIL_TOKEN}}})(?![A-Za-z0-9])")
_MESSAGE_ID = re.compile(r"<[^\s<>@]{1,200}@[^\s<>@]{1,255}>")

_TO_US = (
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "x-envelope-to",
    "x-delivered-to",
    "original-recipient",
    "to",
    "cc",
    "apparently-to",
)


def token_of(mail: Mail, below: Headers) -> str | None:
    """Return what looks most like the token of one of our messages, in small letters; None without.

    Whether it is one is for `Links.read_mail_token` to say. Asked in this order: the addresses that the mail
    was sent to, its subject (an unsubscribe by mail has the token there), the returned original's headers,
    what the mail answers to, and the text.
    """
    for text in _places(mail, below):
        for pattern in (_AFTER_PLUS, _IN_MESSAGE_ID):
            if (found := pattern.search(text)) is not None:
                return found.group(1).lower()
    for text in (mail.headers.words("subject"), _joined(mail.original, "x-"), _joined(below, "x-")):
        if (found := _ALONE.search(text)) is not None:
            return found.group(1).lower()
    return None


def message_id_of(mail: Mail, below: Headers) -> str | None:
    """Return the Message-ID of the mail that came back, else of the one that is answered; None without."""
    for text in (
        mail.original.get("message-id"),
        below.get("message-id"),
        mail.headers.get("in-reply-to"),
        *reversed(mail.headers.all("references")),
    ):
        if found := _MESSAGE_ID.findall(text):
            return str(found[-1])
    return None


def _places(mail: Mail, below: Headers) -> Iterator[str]:
    yield " ".join(mail.headers.all(*_TO_US))
    for headers in (mail.original, below):
        yield " ".join(headers.all("return-path", "message-id"))
        yield _joined(headers, "")
    yield " ".join(mail.headers.all("in-reply-to", "references"))
    for part in mail.parts:
        if part.kind.startswith("message/"):
            yield part.text
    yield mail.text


def _joined(headers: Headers, prefix: str) -> str:
    return " ".join(value for name, value in headers.rows if name.startswith(prefix))
