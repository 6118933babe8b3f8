"""What SparkPost tells: batches of up to some hundred events, each inside `{"msys": {<class>: {...}}}`.

https://developers.sparkpost.com/api/webhooks, and on support.sparkpost.com/docs tech-resources/
sparkpost-event-definitions, tech-resources/webhook-authentication and deliverability/bounce-classification-codes.
SparkPost signs nothing: it offers HTTP Basic, an OAuth2 token that it fetches itself, and headers of one's
own. It repeats a batch for eight hours, under one batch id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

from drumbeat.delivery.sparkpost import SparkPostSettings
from drumbeat.errors import InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Verified, WebhookCall
from drumbeat.responses.webhooks.payload import ident, instant, status_in, table, text
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, UnsignedWebhook, credentials, entries

TYPES: Mapping[str, Kind] = {
    "injection": Kind.QUEUED,
    "delivery": Kind.DELIVERED,
    "delay": Kind.DEFERRED,
    "bounce": Kind.BOUNCED,  # BOUNCE_CLASSES says more
    "out_of_band": Kind.BOUNCED,  # likewise
    "policy_rejection": Kind.REJECTED,
    "generation_rejection": Kind.REJECTED,
    "generation_failure": Kind.FAILED,
    "spam_complaint": Kind.COMPLAINED,
    "initial_open": Kind.OPENED,
    "open": Kind.OPENED,
    "amp_initial_open": Kind.OPENED,
    "amp_open": Kind.OPENED,
    "click": Kind.CLICKED,
    "amp_click": Kind.CLICKED,
    "list_unsubscribe": Kind.UNSUBSCRIBED,
    "link_unsubscribe": Kind.UNSUBSCRIBED,
}
"""What is told of. All else is of no mail of ours: relay_*, ab_test_*, sms_status, ingest's success and error."""

_Told: TypeAlias = "tuple[Kind, Literal['hard', 'soft'] | None, BounceReason | None]"

BOUNCE_CLASSES: Mapping[int, _Told] = {
    1: (Kind.BOUNCED, "soft", BounceReason.OTHER),  # undetermined
    10: (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),  # invalid recipient
    20: (Kind.BOUNCED, "soft", BounceReason.OTHER),  # soft bounce
    21: (Kind.BOUNCED, "soft", BounceReason.NETWORK),  # DNS failure, which may pass
    22: (Kind.BOUNCED, "soft", BounceReason.MAILBOX_FULL),
    23: (Kind.BOUNCED, "soft", BounceReason.MESSAGE_TOO_BIG),
    24: (Kind.BOUNCED, "soft", BounceReason.EXPIRED),  # timeout
    25: (Kind.REJECTED, None, BounceReason.POLICY),  # SparkPost's own policy; mostly its suppression list
    30: (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),  # no recipient could be determined
    40: (Kind.BOUNCED, "soft", BounceReason.OTHER),  # generic bounce
    50: (Kind.BOUNCED, "soft", BounceReason.BLOCKED),  # mail block
    51: (Kind.BOUNCED, "soft", BounceReason.BLOCKED),  # known spam source
    52: (Kind.BOUNCED, "soft", BounceReason.SPAM),  # spam content
    53: (Kind.BOUNCED, "soft", BounceReason.CONTENT),  # prohibited attachment
    54: (Kind.BOUNCED, "soft", BounceReason.RELAYING_DENIED),
    60: (Kind.AUTORESPONDED, None, None),  # auto-reply, vacation
    70: (Kind.BOUNCED, "soft", BounceReason.SYSTEM),  # transient failure
    80: (Kind.SUBSCRIBED, None, None),  # a subscribe request
    # SparkPost files it under hard bounces, since it stops all mail. The reader asked, the address lives.
    90: (Kind.UNSUBSCRIBED, None, None),  # an unsubscribe request
    100: (Kind.AUTORESPONDED, None, None),  # challenge-response
}
"""The bounce_class of a bounce: what it was, whether the address is dead, and why."""


LARGEST_TEST = 1_000
"""Bytes up to which a batch is looked into for events: reading 350 of them takes milliseconds."""


class SparkPostWebhook(UnsignedWebhook):
    """Calls to /hooks/sparkpost; each tells a batch of events."""

    name = "sparkpost"
    times: ClassVar[tuple[str, ...]] = ("timestamp",)

    def __init__(self, settings: SparkPostSettings) -> None:
        shown = credentials(
            self.name,
            settings,
            token_env=settings.webhook_token_env,
            header=settings.webhook_header,
            header_env=settings.webhook_header_env,
        )
        super().__init__(settings, shown)

    def verify(self, call: WebhookCall) -> Verified:
        """Check who calls and how old the news is; a batch without an event, `[{"msys": {}}]`, is a test."""
        checked = super().verify(call)
        batch = ident(call.headers.get("x-messagesystems-batch-id"))
        if len(call.body) <= LARGEST_TEST and checked.keep:
            with suppress(InputError):
                told = any(_inside(entry) is not None for entry in entries(call.body))
                checked = replace(checked, keep=told)
        return replace(checked, replay_key=batch or checked.replay_key)

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read every event of a stored batch. Raises InputError where it cannot be read at all."""
        told = [entry for entry in entries(call.body) if _inside(entry) is not None]
        return [self.event(entry, self.moment(entry, call.received_at)) for entry in told]

    def event(self, entry: Mapping[str, Any], at: datetime) -> Event:
        """Return the normalised event."""
        said = _inside(entry) or {}
        words = text(said.get("raw_reason")) or text(said.get("reason"))
        kind, bounce, reason = _told(said, words or "")
        return Event(
            kind,
            at,
            # rcpt_to is in small letters.
            recipient=ident(said.get("raw_rcpt_to")) or ident(said.get("rcpt_to")),
            event_id=ident(said.get("event_id")) or "",
            token=ident(table(said.get("rcpt_meta")).get("drumbeat")),
            # message_id is SparkPost's own too, and not known when a mail is handed over.
            remote_id=ident(said.get("transmission_id")),
            url=text(said.get("target_link_url"), LONGEST_LINK),
            bounce=bounce,
            reason=reason,
            status=status_in(words),
            text=words,
            agent=text(said.get("user_agent")),
            ip=ident(said.get("ip_address")),
            machine=_machine(said) if kind is Kind.OPENED else None,
            raw=entry,
        )

    def moment(self, entry: Mapping[str, Any], received_at: datetime) -> datetime:
        """Return when the event was, from seconds since 1970 or, as the samples have it, ISO 8601."""
        return instant((_inside(entry) or {}).get("timestamp"), received_at)


def _inside(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the one class of event inside an entry tells; None for a test, empty for what is unreadable."""
    classes = entry.get("msys")
    if classes == {}:
        return None
    return table(next(iter(classes.values()))) if isinstance(classes, dict) else {}


def _told(said: Mapping[str, Any], words: str) -> _Told:
    kind = TYPES.get(ident(said.get("type")) or "", Kind.UNKNOWN)
    number = ident(said.get("bounce_class")) or ""
    bounce: Literal["hard", "soft"] | None = None
    reason: BounceReason | None = None
    if number.isascii() and number.isdigit() and int(number) in BOUNCE_CLASSES:
        known = BOUNCE_CLASSES[int(number)]
    else:
        # A bounce of a class that came up later is a bounce still, and its address not known to be dead.
        known = BOUNCE_CLASSES[1]
    if kind is Kind.BOUNCED:
        kind, bounce, reason = known
    elif kind is Kind.DEFERRED:
        reason = known[2]
    if kind is Kind.REJECTED:
        # "Recipient address was suppressed due to customer policy", or "system policy".
        reason = BounceReason.UNSUBSCRIBED if "suppressed" in words else BounceReason.POLICY
    return kind, bounce, reason


def _machine(said: Mapping[str, Any]) -> str | None:
    """Say that the pictures were fetched before anybody looked, as Apple's Mail Privacy Protection does."""
    parsed = table(said.get("user_agent_parsed"))
    return "prefetched" if True in (said.get("is_prefetched"), parsed.get("is_prefetched")) else None
