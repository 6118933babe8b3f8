"""Webhooks: what providers tell us of messages. One file each, under the name of the provider in delivery/.

A call is checked and stored as it came, answered, and worked on after: `verify` says whether it is genuine
and fresh, in milliseconds and without the database; `events` reads the stored body later. A provider's words
are mapped to ours by a table; what no table knows is Kind.UNKNOWN and keeps the provider's own words in `raw`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from drumbeat.errors import InputError
from drumbeat.responses.kinds import Kind

FRESH = timedelta(minutes=5)
"""A signed call older, or further in the future, than this is refused, where the provider signs a time."""


class Forged(InputError):  # noqa: N818 - a refusal, in the words of the rest
    """The call is not from the provider, or was altered: answered with 403."""


class Stale(InputError):  # noqa: N818 - a refusal, in the words of the rest
    """The call is genuine but too old, or seen before: answered with 403."""


@dataclass(frozen=True)
class WebhookCall:
    """A call as it arrived. `headers`: names in small letters. `url`: as the caller wrote it."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    url: str = ""
    method: str = "POST"


@dataclass(frozen=True)
class Verified:
    """A genuine call. `replay_key` is the same when the same call comes again, and different for every other.

    `keep`: False for a call that only asks whether we are there; it is answered and not stored.
    """

    replay_key: str
    keep: bool = True


@dataclass(frozen=True)
class Event:
    """One normalised fact.

    Which message: `token` (ours, given back), else `message_id` (the Message-ID header, with or without
    angle brackets), else `remote_id` (the provider's own id of the message, as the send call returned it).
    `recipient`: the address it is about. `event_id`: the provider's id of this fact, '' where it has none.
    `bounce`: hard: the address is dead; soft: this time. `reason`: one of `Reason`. `status`: the enhanced
    status code. `text`: the mail server's or provider's words, one line. `agent`, `ip`: of an open or click.
    """

    kind: Kind
    at: datetime
    recipient: str | None = None
    event_id: str = ""
    token: str | None = None
    message_id: str | None = None
    remote_id: str | None = None
    url: str | None = None
    bounce: Literal["hard", "soft"] | None = None
    reason: str | None = None
    status: str | None = None
    text: str | None = None
    agent: str | None = None
    ip: str | None = None
    machine: str | None = None
    """Why the provider says that a machine did it, such as `apple_privacy`; None: it does not say."""
    raw: Mapping[str, Any] = field(default_factory=dict)


class Webhook(Protocol):
    """What the web server and the work after it need of a provider."""

    name: str

    def verify(self, call: WebhookCall) -> Verified:
        """Say that the call is genuine and fresh. Raises Forged or Stale with one line."""
        ...

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read a stored call. Raises InputError where it cannot be read at all."""
        ...

    def follow_up(self, call: WebhookCall) -> None:
        """Do what the provider wants of a stored call beside its events (SNS: confirm the subscription)."""
        ...
