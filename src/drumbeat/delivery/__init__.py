"""Backends: how a rendered mail leaves. One file each; the send loop is outbox.deliver alone.

A backend hands over one mail at a time and says exactly how it ended. `before_content` is the point of no
return: the backend calls it once, after everything that can be refused without harm (connection, MAIL,
RCPT, DATA's 354) and directly before the first byte of content. It commits "handing over" and re-checks
consent and cap. When it returns False the backend must abandon the mail without sending its content.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """How a hand-over ended."""

    ACCEPTED = "accepted"  # the server took responsibility
    REFUSED = "refused"  # permanently; certainly not sent
    DEFERRED = "deferred"  # for now; certainly not sent, may be tried again
    UNCERTAIN = "uncertain"  # cut off after content began: sent or not, nobody knows
    WITHDRAWN = "withdrawn"  # before_content said no; certainly not sent


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one hand-over; `text` is the server's reply or the reason, one line."""

    outcome: Outcome
    text: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail ready to leave.

    `content` has CRLF line ends and no dot-stuffing; `key` is unique and stable per message.
    """

    key: str
    envelope_from: str
    envelope_to: str
    content: bytes


class Backend(Protocol):
    """What the send loop needs.

    `open` and `hand_over` raise DeliveryError where the backend as a whole is unusable.
    """

    name: str

    def open(self) -> None:
        """Get ready (connect, log in). Raises DeliveryError with what to do."""
        ...

    def hand_over(self, mail: Mail, before_content: Callable[[], bool]) -> Answer:
        """Hand one mail over and say how it ended."""
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...
