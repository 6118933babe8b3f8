"""Hand messages over to the screen: who, what subject, and the beginning of the text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from email import message_from_bytes
from email.policy import default
from typing import TextIO

from drumbeat.delivery import Answer, Begin, Done, Mail, Note, Outcome

LINES = 6
"""How much of the text is shown."""


class ConsoleBackend:
    """Prints a short form of each message to `stream`."""

    name = "console"
    eight_bit = True

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def open(self) -> None:
        """Nothing to get ready."""

    def hand_over(self, parcels: Sequence[Mail | Note], begin: Begin, done: Done) -> None:
        """Print each parcel after `begin` agreed."""
        stream = self._stream or sys.stdout
        for parcel in parcels:
            if not begin(parcel):
                done(parcel, Answer(Outcome.WITHDRAWN, "withdrawn before it was shown"))
                continue
            stream.write(_short_form(parcel))
            stream.flush()
            done(parcel, Answer(Outcome.ACCEPTED, "shown on the console"))

    def close(self) -> None:
        """Nothing to let go of."""


def _short_form(parcel: Mail | Note) -> str:
    if isinstance(parcel, Note):
        head = [f"To: {parcel.to} by {parcel.channel}"]
        text = parcel.text
    else:
        message = message_from_bytes(parcel.content, policy=default)
        part = message.get_body(("plain",))
        text = part.get_content() if part is not None else ""
        head = [f"To: {parcel.envelope_to}", f"From: {message['From']}", f"Subject: {message['Subject']}"]
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    shown = [*lines[:LINES], *(["…"] if len(lines) > LINES else [])]
    return "\n".join([*head, *(f"  {line}" for line in shown), "", ""])
