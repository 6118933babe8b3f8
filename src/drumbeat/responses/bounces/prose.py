"""What a mail program wrote for people: what it tells of an address, and the mail that it returned below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from drumbeat.responses.bounces.addresses import ADDRESS, tidy
from drumbeat.responses.bounces.mime import Headers, headers_in

MOST_LINES = 80
MOST_NAMES = 2_000

# The line between what is told and the returned mail.
_BELOW = re.compile(
    r"""^[^\w\n]{0,80}(?:
        (?:below\ this\ line|enclosed|this|included|attached|following|below)\b[^\n]{0,30}\bcopy\ of\ [^\n]*
      | (?:this|below|here)\ is\ a\ copy\ of\ [^\n]*
      | (?:original|returned|your\ original|undelivered|bounced|unsent)\ (?:message|mail|e-?mail)
        (?:\ (?:header|text|body|info|follow|details|section|attached)[^\n]*)?
      | (?:message|mail)\ (?:headers?|text|body|header\ section)\ (?:follows?|is|are)\b[^\n]*
      | the\ header\ of\ the\ original\ message\ is[^\n]*
      | original\ (?:mail|message)\ (?:info|headers?)[^\n]*
      | start\ of\ returned\ message | (?:here\ is\ )?your\ returned\ mail[^\n]*
      | (?:исходное\ сообщение|ursprüngliche\ nachricht|message\ d'origine|mensaje\ original)[^\n]*
    )[^\w\n]{0,80}$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# ... and where there is no such line, the first headers of the returned mail.
_HEADERS = re.compile(
    r"^(?:Return-Path|Received|Message-ID):[^\n]*\n(?:[A-Za-z][\w-]*:|[ \t])", re.MULTILINE | re.IGNORECASE
)
_HEADER_LINE = re.compile(r"\s*(?:to|from|cc|reply-to|subject|date|sent)\s*:", re.IGNORECASE)


@lru_cache(maxsize=4)
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


@dataclass(frozen=True)
class Told:
    """What a mail tells, without the returned original, and where it names which address."""

    text: str
    named: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, text: str) -> Told:
        """Look a mail's text through, once for all the addresses it is about."""
        told, _ = split_original(text)
        found = ((match.start(), tidy(match.group())) for match in ADDRESS.finditer(told))
        return cls(told, tuple((place, name.lower()) for place, name in found if name)[:MOST_NAMES])

    def about(self, names: Sequence[str], others: Sequence[str]) -> str:
        """Return what is told of an address: from the line that names it to the one that names the next.

        `names`: what the address is called. `others`: the addresses that the mail is about besides; where
        there are none, it is the whole if no line names the address.
        """
        own, foreign = {name.lower() for name in names}, {name.lower() for name in others}
        places = [place for place, name in self.named if name in own]
        if not places:
            return "" if others else self.text
        # The list of headers that some reports begin with names the address before anything is told of it.
        start = next(
            (place for place in places if not _HEADER_LINE.match(self.text, self._line(place))), places[0]
        )
        start = self._line(start)
        lines = (self._line(place) for place, name in self.named if name in foreign and place > start)
        end = next((line for line in lines if line > start), len(self.text))
        return "\n".join(self.text[start:end].split("\n")[:MOST_LINES])

    def _line(self, place: int) -> int:
        """Return where the line of a place begins."""
        return self.text.rfind("\n", 0, place) + 1
