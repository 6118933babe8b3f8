"""What a message of a channel must keep to, whoever it is for: asked of samples by validate, of each message when sent.

DB060  an SMS of more segments than project.yaml allows
DB061  marketing by SMS or Telegram without a word on how to end it
DB062  a Telegram message longer than Telegram takes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from drumbeat.rendering.notes import SMS, TELEGRAM, RenderedNote
from drumbeat.rendering.sms import length
from drumbeat.rendering.telegram import LONGEST, text_of, units


@dataclass(frozen=True)
class NoteRules:
    """`max_segments`: of an SMS. `opt_out`: by channel, the words of which marketing must have one."""

    max_segments: int = 3
    opt_out: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {SMS: ("STOP",), TELEGRAM: ("/stop",)}
    )

    @classmethod
    def of(cls, delivery: Any) -> NoteRules:
        """Take them from the `delivery` part of project.yaml (project.delivery.Delivery)."""
        return cls(
            delivery.sms.max_segments, {SMS: delivery.sms.opt_out, TELEGRAM: delivery.telegram.opt_out}
        )


class Broken(NamedTuple):
    """A rule that is not kept: its code, what was found, what to do."""

    code: str
    message: str
    fix: str


def broken(
    channel: str, note: RenderedNote, rules: NoteRules, *, marketing: bool, unsubscribe_url: str
) -> Iterator[Broken]:
    """Give every rule that the message breaks."""
    if channel == SMS:
        size = length(note.text)
        if size.segments > rules.max_segments:
            yield Broken(
                "DB060",
                f"the SMS has {size}; delivery.sms.max_segments allows {rules.max_segments}.",
                "Write less, or raise it.",
            )
    if channel == TELEGRAM:
        found = units(text_of(note.text) if note.html else note.text)
        if found > LONGEST:
            yield Broken(
                "DB062", f"the message has {found:,} characters; Telegram takes {LONGEST:,}.", "Write less."
            )
    words = rules.opt_out.get(channel, ())
    if marketing and words and unsubscribe_url not in note.text:
        text = note.text.casefold()
        if not any(word.casefold() in text for word in words):
            shown = " or ".join(f"'{word}'" for word in words)
            yield Broken(
                "DB061",
                f"marketing without a way to end it: neither {shown} nor {{{{ unsubscribe_url }}}} is in the text.",
                f"Say how, for example: reply {words[0]} to end."
                if channel == SMS
                else f"Say how, for example: {words[0]} ends these messages.",
            )
