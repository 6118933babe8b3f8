"""Backends: how a rendered message leaves. One file each; the send loop is outbox.deliver alone.

A backend hands messages over and says exactly how each ended. `begin` is the point of no return of one
message: the backend calls it after everything that can be refused without harm (connection, MAIL, RCPT,
DATA's 354) and directly before the first byte of content; it leaves a durable mark. When it returns False
the backend must abandon the message without sending its content. `done` is called with how it ended, before
the content of the next message goes out on the same connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeAlias


class Outcome(StrEnum):
    """How a hand-over ended."""

    ACCEPTED = "accepted"  # the server took responsibility
    REFUSED = "refused"  # permanently; certainly not sent
    DEFERRED = "deferred"  # for now; certainly not sent, may be tried again
    UNCERTAIN = "uncertain"  # cut off after content began: sent or not, nobody knows
    WITHDRAWN = "withdrawn"  # begin said no; certainly not sent


class Scope(StrEnum):
    """What a temporary refusal is about, and so what has to wait."""

    MESSAGE = "message"  # this message or its mailbox alone: greylisting, a full mailbox
    DOMAIN = "domain"  # everything to the recipient's domain: its rate limit, its block of us
    SERVER = "server"  # the server or account that we hand over to, as a whole


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one hand-over; `text` is the server's reply or the reason, one line.

    `code`: the SMTP reply or HTTP status. `status`: the enhanced status code (RFC 3463), such as `5.1.1`.
    `retry_after`: how long the server asked us to wait. `scope`: what a DEFERRED holds for.
    `remote_id`: the name that the provider gave the accepted message. `dead_address`: the refusal says that
    the recipient's address does not exist, so that nothing more may go there. `via`: which server took it.
    `unsubscribed`: the refusal says that its owner wants no more of this, as a carrier's or provider's list has it.
    """

    outcome: Outcome
    text: str = ""
    code: int | None = None
    status: str | None = None
    retry_after: timedelta | None = None
    scope: Scope = Scope.MESSAGE
    remote_id: str | None = None
    dead_address: bool = False
    via: str | None = None
    unsubscribed: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What a mail consists of, for providers that take its parts rather than MIME.

    Addresses are ASCII (domains as DNS has them), names and texts are not escaped in any way. `headers`:
    further headers in order, beyond From, To, Reply-To, Subject, Date and those of MIME: Message-ID, List-Id,
    List-Unsubscribe, List-Unsubscribe-Post, Feedback-ID, Auto-Submitted.
    """

    from_name: str
    from_address: str
    to_name: str | None
    to_address: str
    reply_to: str | None
    subject: str
    html: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail ready to leave.

    `key`: unique and stable per message, so also the idempotency key. `content`: the whole MIME message with
    CRLF line ends and no dot-stuffing; with letters beyond ASCII only where the backend's `eight_bit` asked
    for it, and then `seven_bit` gives the same mail in ASCII. `token`: names the message in a signed form;
    providers are asked to give it back in their webhooks. `campaign`: for providers' tags.
    """

    key: str
    envelope_from: str
    envelope_to: str
    content: bytes
    parts: Parts | None = None
    token: str = ""
    campaign: str = ""
    seven_bit: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)

    @property
    def domain(self) -> str:
        """Return the recipient's domain in small letters."""
        return self.envelope_to.rpartition("@")[2].lower()


@dataclass(frozen=True, slots=True)
class Note:
    """A message of another channel than mail, ready to leave.

    `to`: where in the channel: a phone number (E.164), a Telegram chat, a manager; '' for a webhook.
    `fields`: what else the channel's templates gave (a task's title and due time, a webhook's payload).
    """

    key: str
    channel: str
    to: str
    text: str
    token: str = ""
    campaign: str = ""
    message_id: int = 0
    due_at: datetime | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


Parcel: TypeAlias = "Mail | Note"
"""What is handed over."""

Begin: TypeAlias = "Callable[[Any], bool]"
"""Called with a parcel at its point of no return; False: abandon it."""

Done: TypeAlias = "Callable[[Any, Answer], None]"
"""Called with a parcel and how its hand-over ended."""


class Backend(Protocol):
    """What the send loop needs.

    `open` and `hand_over` raise DeliveryError where the backend as a whole is unusable: what was not begun
    stays as it was, what was begun and not done is uncertain.
    """

    name: str

    @property
    def eight_bit(self) -> bool:
        """Say, once open, whether mails may have letters beyond ASCII in their bodies (RFC 6152)."""
        ...

    def open(self) -> None:
        """Get ready (connect, log in). Raises DeliveryError with what to do."""
        ...

    def hand_over(self, parcels: Sequence[Any], begin: Begin, done: Done) -> None:
        """Hand parcels over and call `done` once for each, in any order."""
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...
