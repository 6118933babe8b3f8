"""The templates of the channels beside mail: SMS, Telegram, webhook and task.

templates/cart_sms/       text.txt.j2     text.de.txt.j2 (optional)     sample.yaml
templates/cart_telegram/  text.txt.j2, or text.html.j2 for Telegram's HTML, where values are escaped
templates/cart_crm/       payload.json.j2                    a JSON document; values by the filter `tojson`
templates/cart_call/      title.txt.j2    text.txt.j2        what one of us is to do

A task and a payload are read by our own people and systems: they have no variants by language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Undefined

from drumbeat.rendering.sample import EVERY_MAIL, read_sample
from drumbeat.rendering.telegram import text_of
from drumbeat.rendering.templates import Template, TemplateFault, Templates

SMS, TELEGRAM, WEBHOOK, TASK = "sms", "telegram", "webhook", "task"

NOTE_PARTS: Mapping[str, Mapping[str, str]] = {
    SMS: {"text": "text{}.txt.j2"},
    TELEGRAM: {"text": "text{}.txt.j2"},
    WEBHOOK: {"payload": "payload{}.json.j2"},
    TASK: {"title": "title{}.txt.j2", "text": "text{}.txt.j2"},
}
"""The files of a message by channel; `{}` is empty or `.de`."""

AS_HTML = "text{}.html.j2"
"""The file of a Telegram message in Telegram's own HTML, in the place of the plain text."""

TRANSLATED = (SMS, TELEGRAM)
"""Channels whose readers are customers, each in their language."""

ALSO_GIVEN: Mapping[str, Mapping[str, Any]] = {
    SMS: {},
    TELEGRAM: {},
    WEBHOOK: {"key": "0123456789abcdef0123456789abcdef", "occasion": "sample:1"},
    TASK: {"assignee": "sam", "due_at": "2011-12-07T09:00:00+00:00"},
}
"""What a template of a channel may use beside what every mail has, with an example of each."""

_NEEDS: Mapping[str, str] = {
    SMS: "An SMS needs text.txt.j2 and a sample.",
    TELEGRAM: "A Telegram message needs text.txt.j2 or text.html.j2, and a sample.",
    WEBHOOK: "A webhook needs payload.json.j2 and a sample.",
    TASK: "A task needs title.txt.j2, text.txt.j2 and a sample.",
}


@dataclass(frozen=True, slots=True)
class RenderedNote:
    """What the templates gave.

    `text`: the message; a webhook's JSON document as it is sent. `title`: of a task. `html`: the text is
    Telegram's HTML. `payload`: the document, read.
    """

    text: str
    title: str = ""
    html: bool = False
    payload: Any = None


class NoteTemplates(Templates):
    """The templates of one channel in a folder that holds those of others too."""

    def __init__(self, folder: Path, channel: str, language: str = "en") -> None:
        super().__init__(folder, language)
        self.channel = channel
        self.parts = NOTE_PARTS[channel]
        self.given = {**EVERY_MAIL, **ALSO_GIVEN[channel]}
        self.needs = _NEEDS[channel]
        self.environment.filters["tojson"] = to_json

    def _is_ours(self, folder: Path) -> bool:
        return all(self.path(folder.name, part).is_file() for part in self.parts)

    def path(self, name: str, part: str, language: str | None = None) -> Path:
        """Return where a part of the message is, or would be."""
        if self.channel == TELEGRAM and self.in_html(name):
            return self.folder / name / AS_HTML.format(f".{language}" if language else "")
        return super().path(name, part, language)

    def in_html(self, name: str) -> bool:
        """Say whether the message is written in Telegram's HTML."""
        return (self.folder / name / AS_HTML.format("")).is_file()

    def load(self, name: str, language: str | None = None) -> NoteTemplate:
        """Return the message in the language, as `Templates.load` does."""
        found = super().load(name, language)
        assert isinstance(found, NoteTemplate)  # noqa: S101 - _compile makes no other
        return found

    def sample(self, name: str, language: str | None = None) -> dict[str, Any]:
        """Return the whole context of the message's sample. Raises ProjectError."""
        return {**ALSO_GIVEN[self.channel], **read_sample(self.folder, name, language)}

    def languages(self, name: str) -> list[str]:
        """Return the languages, beside the default one, that the message is written in, sorted."""
        if self.channel not in TRANSLATED:
            return []
        if self.channel == TELEGRAM and self.in_html(name):
            return sorted(f.name.split(".")[1] for f in (self.folder / name).glob(AS_HTML.format(".*")))
        return super().languages(name)

    def _variant(self, name: str, language: str | None) -> str | None:
        return super()._variant(name, language) if self.channel in TRANSLATED else None

    def _compile(self, name: str, variant: str | None) -> NoteTemplate:
        return NoteTemplate(self, name, variant, self._compiled(name, variant))


class NoteTemplate(Template):
    """A message of one channel in one language, compiled."""

    home: NoteTemplates

    @cached_property
    def html(self) -> bool:
        """Say whether the text is Telegram's HTML."""
        return self.home.channel == TELEGRAM and self.home.in_html(self.name)

    def note(self, context: Mapping[str, Any]) -> RenderedNote:
        """Fill in a context. Raises RenderError with the file and line: a missing name, an empty text, no JSON."""
        full = {**self.home.environment.globals, **context, "language": self.language}
        if self.home.channel == WEBHOOK:
            return self._payload(full)
        title = self._part("title", full).strip() if self.home.channel == TASK else ""
        text = self._part("text", full).replace("\r\n", "\n").strip()
        if self.home.channel == TASK and (not title or len(title.splitlines()) > 1):
            found = "is empty" if not title else f"has {len(title.splitlines())} lines"
            raise TemplateFault(self.place("title"), f"the title {found}; expected one line of text")
        if self.html:
            try:
                seen = text_of(text)
            except ValueError as error:
                raise TemplateFault(self.place("text"), f"Telegram would refuse the text: {error}") from None
        else:
            seen = text
        if not seen.strip():
            raise TemplateFault(self.place("text"), "the text is empty")
        self._can_be_sent("text", f"{title}{text}")
        return RenderedNote(text, title, self.html)

    def _payload(self, full: Mapping[str, Any]) -> RenderedNote:
        text = self._part("payload", full).strip()
        try:
            payload = json.loads(text, parse_constant=_no_json)
        except (ValueError, RecursionError) as error:
            line = (
                f" (line {error.lineno} of what it gave)" if isinstance(error, json.JSONDecodeError) else ""
            )
            words = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise TemplateFault(
                self.place("payload"),
                f"the payload is no JSON: {words}{line}; write values as {{{{ value | tojson }}}}",
            ) from None
        self._can_be_sent("payload", text)
        return RenderedNote(text, payload=payload)

    def _can_be_sent(self, part: str, text: str) -> None:
        if "\0" in text or not _in_utf8(text):
            raise TemplateFault(
                self.place(part), "the text has a character that UTF-8 or a database cannot hold"
            )


def guess_channel(folder: Path) -> str:
    """Return the channel whose files a message's folder has; of two with the same files, the one that allows more."""
    for channel, file in (
        ("mail", "subject.txt.j2"),
        (WEBHOOK, "payload.json.j2"),
        (TASK, "title.txt.j2"),
        (TELEGRAM, "text.html.j2"),
        (TELEGRAM, "text.txt.j2"),
    ):
        if (folder / file).is_file():
            return channel
    return "mail"


def to_json(value: Any, indent: int | None = None) -> str:
    """Write a value as JSON: amounts as text with a point, times in ISO 8601. A missing name is an error."""
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, Undefined):
        return str(value)  # StrictUndefined raises, and names it
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"tojson: {type(value).__name__} has no place in JSON")


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _in_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
