"""Hand mails over to the screen: who, what subject, and the beginning of the text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from typing import TextIO

from drumbeat.delivery import Answer, Mail, Outcome

LINES = 6
"""How much of the text is shown."""


class ConsoleBackend:
    """Prints a short form of each mail to `stream`."""

    name = "console"

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def open(self) -> None:
        """Nothing to get ready."""

    def hand_over(self, mail: Mail, before_content: Callable[[], bool]) -> Answer:
        """Print the mail after `before_content` agreed."""
        if not before_content():
            return Answer(Outcome.WITHDRAWN, "withdrawn before it was shown")
        stream = self._stream or sys.stdout
        stream.write(_short_form(mail))
        stream.flush()
        return Answer(Outcome.ACCEPTED, "shown on the console")

    def close(self) -> None:
        """Nothing to let go of."""


def _short_form(mail: Mail) -> str:
    message = message_from_bytes(mail.content, policy=default)
    part = message.get_body(("plain",))
    text = part.get_content() if part is not None else ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    shown = [*lines[:LINES], *(["…"] if len(lines) > LINES else [])]
    head = [f"To: {mail.envelope_to}", f"From: {message['From']}", f"Subject: {message['Subject']}"]
    return "\n".join([*head, *(f"  {line}" for line in shown), "", ""])
