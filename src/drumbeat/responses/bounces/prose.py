"""What a mail program wrote for people: what it tells of an address, and the mail that it returned below."""

from __future__ import annotations

import re
from collections.abc import Sequence

from drumbeat.responses.bounces.addresses import ADDRESS
from drumbeat.responses.bounces.mime import Headers, headers_in

MOST_LINES = 80

# The line between what is told and the returned mail.
_BELOW = re.compile(
    r"""^[^\w\n]{0,80}(?:
        (?:below\ this\ line|enclosed|this|included|attached|following|below)\b[^\n]{0,30}\bcopy\ of\ (?:the|your)\ [^\n]*
      | (?:this|below|here)\ is\ a\ copy\ of\ [^\n]*
      | (?:original|returned|your\ original|undelivered|bounced|unsent)\ (?:message|mail|e-?mail)(?:\ (?:header|text|body|info|follow|details|section|attached)[^\n]*)?
      | (?:message|mail)\ (?:headers?|text|body|header\ section)\ (?:follows?|is|are)\b[^\n]*
      | original\ (?:mail|message)\ (?:info|headers?)[^\n]*
      | start\ of\ returned\ message | (?:here\ is\ )?your\ returned\ mail[^\n]*
      | -{3,}\ ?(?:исходное\ сообщение|ursprüngliche\ nachricht|message\ d'origine|mensaje\ original)[^\n]*
    )[^\w\n]{0,80}$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# ... and where there is no such line, the first headers of the returned mail.
_HEADERS = re.compile(
    r"^(?:Return-Path|Received|Message-ID):[^\n]*\n(?:[A-Za-z][\w-]*:|[ \t])", re.MULTILINE | re.IGNORECASE
)
_HEADING = re.compile(rf"^[\s*•>.-]{{0,12}}<?{ADDRESS.pattern}>?(?:\s*:|\s*\(|\s*$)", re.MULTILINE)


def split_original(text: str) -> tuple[str, Headers]:
    """Return what is told, and the headers of the mail that is returned below it."""
    for pattern in (_BELOW, _HEADERS):
        for match in pattern.finditer(text):
            below = match.end() if pattern is _BELOW else match.start()
            found = headers_in(text[below:])
            if _is_mail(found):
                return text[: match.start()], found
    return text, Headers()


def _is_mail(headers: Headers) -> bool:
    return any(
        headers.get(name) for name in ("from", "to", "subject", "message-id", "return-path", "received")
    )


def told_of(text: str, addresses: Sequence[str], *, alone: bool) -> str:
    """Return what is told of an address: from the line that names it to the one that names the next.

    `alone`: no other address is told of, so that it is the whole where no line names it.
    """
    told, _ = split_original(text)
    lower = told.lower()
    places = [place for name in addresses if (place := lower.find(name.lower())) >= 0]
    if not places:
        return told if alone else ""
    start = told.rfind("\n", 0, min(places)) + 1
    end = len(told)
    for heading in _HEADING.finditer(told, min(places) + 1):
        if not any(name.lower() in heading.group().lower() for name in addresses):
            end = heading.start()
            break
    return "\n".join(told[start:end].split("\n")[:MOST_LINES])
