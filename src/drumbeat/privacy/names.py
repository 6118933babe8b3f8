"""Whether a text tells who somebody is: their addresses in every spelling that calls and mails use, names, ids.

Two questions, judged differently. Whose is this row that nobody asked for (`Names.named`): an address must stand
there as a whole, or a signed token of one of their messages, so that `susan@x.example` is not taken for
`an@x.example`. May this text stay in a row that is theirs (`Names.harmless`): any sign of an address or a name in it
is one too many.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import idna

_CODE = re.compile(r"\s*(\d{3}(?:[ -]\d\.\d{1,3}\.\d{1,3})?)(?!\d)")
"""A reply code with an enhanced status (RFC 5321, RFC 3463), at the beginning of what a server said."""

_AT = r"(?:@|=|%40|&#64;|\(at\))"
"""What stands for the @ where an address is part of another one (VERP, SRS) or of a form."""

_ANY_ADDRESS = re.compile(r"@|%40|&#64;|\(at\)")

_ANY_ADDRESS = re.compile(r"@|%40|&#64;|\(at\)")

_NOT_BEFORE, _NOT_AFTER = r"(?<![\w.+-])", r"(?![\w-])(?!\.\w)"

_RUNS = re.compile(r"[a-z0-9]{10,}")
TOKEN_LENGTH = 26
LONGEST_RUN = 200
"""A token stands by itself, or in an address with little around it; not inside a megabyte of base64."""

TOKEN = re.compile(rf"(?=([a-z2-7]{{{TOKEN_LENGTH}}}))")


class Names:
    """What points to a person.

    `ids`: by which the company knows them; `full_names`: first and last name; `words`: what else a text of theirs
    must not hold; `tokens`, `remote_ids`: by which mails and providers name their messages.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        ids: Iterable[str] = (),
        full_names: Iterable[tuple[str, str]] = (),
        words: Iterable[str] = (),
        tokens: Iterable[str] = (),
        remote_ids: Iterable[str] = (),
    ) -> None:
        self.addresses = frozenset(addresses)
        self.ids = frozenset(ids)
        self._full_names = [(first.casefold(), last.casefold()) for first, last in full_names]
        self._tokens = frozenset(tokens)
        self._remote = {_longest_run(one.lower()): one.lower() for one in remote_ids if len(one) >= 10}
        self._remote.pop("", None)
        spelled = {form: hint for key in self.addresses for form, hint in spellings(key)}
        self._hints = sorted(set(spelled.values()))
        self._address = _compiled(sorted(spelled, key=len, reverse=True), _NOT_BEFORE, _NOT_AFTER)
        self._word = _words([*words, *self.ids, *(name for pair in self._full_names for name in pair)])
        self._id = _words(self.ids)
        self._digits = [
            re.sub(r"\D", "", key)
            for key in self.addresses
            if key.startswith(("tel:", "tg:")) and len(key) > 9
        ]

    def same_as(self, other: Names) -> bool:
        """Say whether `named` says the same of every text."""
        mine = (self.addresses, self._tokens, self._remote)
        return mine == (other.addresses, other._tokens, other._remote)

    def named(self, text: str) -> bool:
        """Say whether a text, case-folded, names one of their addresses or messages."""
        # Most texts hold neither part of any address, and a plain search for these is far quicker than the pattern.
        if any(one in text and other in text for one, other in self._hints) and self._address.search(text):
            return True
        runs = set(_RUNS.findall(text)) if self._tokens or self._remote else set()
        if any(self._remote[run] in text for run in runs & self._remote.keys()):
            return True
        long_enough = (run for run in runs if TOKEN_LENGTH <= len(run) <= LONGEST_RUN)
        return any(token in self._tokens for run in long_enough for token in TOKEN.findall(run))

    def names_row(self, cells: Iterable[str]) -> bool:
        """Say whether a row of a table in a file is about them: an address, an id, or first and last name are in it."""
        folded = [cell.strip().casefold() for cell in cells]
        if any(self.named(cell) or self._id.search(cell) for cell in folded):
            return True
        return any(first in folded and last in folded for first, last in self._full_names)

    def harmless(self, text: str) -> bool:
        """Say whether a short text of a row of theirs holds no sign of anybody."""
        folded = text.casefold()
        return not _ANY_ADDRESS.search(folded) and not self.points_to_them(folded)

    def points_to_them(self, folded: str) -> bool:
        """Say whether a text of a row of theirs, case-folded, holds an address, a name or an id of theirs."""
        if self.named(folded) or self._word.search(folded):
            return True
        digits = re.sub(r"[\s().\-/]", "", folded)
        return any(number in digits for number in self._digits)

    def scrubbed(self, text: str | None) -> str | None:
        """Return a text where it is harmless, else the code it begins with, else None."""
        if text is None or self.harmless(text):
            return text
        code = _CODE.match(text)
        return code.group(1) if code is not None and self.harmless(code.group(1)) else None

    def cleaned(self, value: Any, stub: str, *, about_them: bool = False) -> Any:
        """Return a JSON value in which every text that points to them is replaced by `stub`.

        `about_them`: all of it is, so that whatever somebody wrote, rather than a word of ours, is replaced too.
        """
        if isinstance(value, str):
            written = about_them and len(value.split()) > 1
            return stub if written or self.points_to_them(value.casefold()) else value
        if isinstance(value, Mapping):
            return {
                self.cleaned(key, stub): self.cleaned(one, stub, about_them=about_them)
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.cleaned(one, stub, about_them=about_them) for one in value]
        return value

    def mentioned_in(self, value: Any) -> bool:
        """Say whether a JSON value has a text that names one of their addresses, or is one of their ids."""
        return any(text in self.ids or self.named(text.casefold()) for text in texts_of(value))


def texts_of(value: Any) -> Iterator[str]:
    """Give every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield str(key)
            yield from texts_of(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts_of(one)


def spellings(key: str) -> list[tuple[str, tuple[str, str]]]:
    """Return patterns of the ways in which an address, as suppressions name it, may be written, case-folded.

    Each with two parts that must both be in a text, or it cannot match.
    """
    if key.startswith("tel:"):
        digits = key.removeprefix("tel:").lstrip("+")
        return [(rf"(?:\+|%2b|00)?{re.escape(digits)}", (digits, digits))]
    if key.startswith("tg:"):
        # A chat's number alone is no sign: any number may be the same one.
        chat = key.removeprefix("tg:")
        forms = (rf"tg:{re.escape(chat)}", rf'"chat_?id"\s*:\s*"?{re.escape(chat)}')
        return [(form, (chat, chat)) for form in forms]
    local, _, domain = key.rpartition("@")
    domains = {domain}
    with suppress(idna.IDNAError, UnicodeError):
        domains.add(idna.decode(domain).casefold())
    name = local.casefold()
    return [(f"{re.escape(name)}{_AT}{re.escape(one)}", (name, one)) for one in sorted(domains)]


def _compiled(patterns: Collection[str], before: str, after: str) -> re.Pattern[str]:
    """Return what finds any of the patterns; without any it finds nothing."""
    return re.compile(f"{before}(?:{'|'.join(patterns)}){after}" if patterns else r"(?!)")


def _words(words: Iterable[str]) -> re.Pattern[str]:
    folded = sorted({word.strip().casefold() for word in words} - {""}, key=len, reverse=True)
    return _compiled([re.escape(word) for word in folded], r"(?<!\w)", r"(?!\w)")


def _longest_run(text: str) -> str:
    return max(_RUNS.findall(text), key=len, default="")
