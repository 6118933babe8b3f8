"""Mailgun's webhooks: one event a call, in `event-data`, with the signature beside it.

https://documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks. The signature, HMAC-SHA256 of time
and token, does NOT cover the event: who has seen one call could send another body with it. So the time must be
fresh and the token new (it is the replay key), and the address must have TLS.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parseaddr
from typing import Any, Literal

from drumbeat.delivery.mailgun import MailgunSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import HARD, BounceReason
from drumbeat.responses.webhooks import Event, Forged, Verified, WebhookCall
from drumbeat.responses.webhooks.codes import reason_of
from drumbeat.responses.webhooks.payload import ident, instant, same, status_in, table, text
from drumbeat.responses.webhooks.signed import check_fresh, unix_time
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, entries
from drumbeat.settings import needed_secret

KINDS: Mapping[str, Kind] = {
    "accepted": Kind.QUEUED,
    "rejected": Kind.REJECTED,
    "delivered": Kind.DELIVERED,
    "failed": Kind.BOUNCED,  # by `severity` and `reason`, see _told
    "opened": Kind.OPENED,
    "clicked": Kind.CLICKED,
    "unsubscribed": Kind.UNSUBSCRIBED,
    "complained": Kind.COMPLAINED,
}
"""By `event`. `stored` tells of a mail that came in, `list_...` of lists at Mailgun: no mail of ours, unknown."""

_Told = tuple[Kind, Literal["hard", "soft"] | None, BounceReason | None]

REASONS: Mapping[str, _Told] = {
    "suppress-bounce": (Kind.REJECTED, "hard", BounceReason.UNSUBSCRIBED),  # it bounced before
    "suppress-complaint": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    "suppress-unsubscribe": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    "old": (Kind.BOUNCED, "soft", BounceReason.EXPIRED),
    "espblock": (Kind.BOUNCED, "soft", BounceReason.BLOCKED),
}
"""By `reason` of a permanent failure; `bounce`, `generic` and others are told by the status."""

CODES: Mapping[int, _Told] = {
    498: (Kind.BOUNCED, "hard", BounceReason.HOST_UNKNOWN),  # no MX
    605: (Kind.REJECTED, "hard", BounceReason.UNSUBSCRIBED),
    606: (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    607: (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
}
"""By `delivery-status.code`, those that are Mailgun's own."""

BOTS: Mapping[str, str] = {"apple": "apple_privacy", "gmail": "gmail_proxy", "generic": "scanner"}
"""By `client-info.bot`; https://documentation.mailgun.com/docs/mailgun/user-manual/tracking-messages."""


class MailgunWebhook:
    """Calls to /hooks/mailgun. Raises DeliveryError where the signing key is not set."""

    name = "mailgun"

    def __init__(self, settings: MailgunSettings) -> None:
        if settings.webhook_key_env is None:
            raise DeliveryError(
                "delivery.mailgun.webhook_key_env in project.yaml is not set; it names the variable with the HTTP"
                " webhook signing key, without which anybody's calls would be believed"
            )
        self._key = (
            needed_secret(settings.webhook_key_env, "delivery.mailgun.webhook_key_env").strip().encode()
        )

    def verify(self, call: WebhookCall) -> Verified:
        """Check the signature, then the time. Raises Forged or Stale."""
        try:
            signature = table(_whole(call).get("signature"))
        except InputError:
            signature = {}
        stamp, token, given = (ident(signature.get(part)) for part in ("timestamp", "token", "signature"))
        if not (stamp and token and given):
            raise Forged("the call is not signed; expected a JSON object with timestamp, token and signature")
        signed = f"{stamp}{token}".encode("utf-8", "replace")
        if not same(given, hmac.new(self._key, signed, "sha256").hexdigest()):
            raise Forged(
                "the call's signature is wrong; check delivery.mailgun.webhook_key_env in project.yaml"
            )
        # Nothing parts the time from the token under the signature. Moved digits make a time that is not fresh.
        check_fresh(unix_time(stamp), call.received_at)
        return Verified(token)

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read a stored call. Raises InputError where it cannot be read at all."""
        entry = _whole(call).get("event-data")
        if not isinstance(entry, dict):
            raise InputError("the call has no event-data; set the webhook up as one of the events API's form")
        return [_event(entry, call.received_at)]

    def follow_up(self, call: WebhookCall) -> None:
        """Nothing is left to do."""


def _whole(call: WebhookCall) -> Mapping[str, Any]:
    found = entries(call.body)
    return found[0] if len(found) == 1 else {}


def _event(entry: Mapping[str, Any], received_at: datetime) -> Event:
    at = instant(entry.get("timestamp"), received_at)
    delivery, client = table(entry.get("delivery-status")), table(entry.get("client-info"))
    headers = table(table(entry.get("message")).get("headers"))
    words = (
        text(delivery.get("message"))
        or text(delivery.get("description"))
        or text(table(entry.get("reject")).get("reason"))
    )
    codes = (text(delivery.get("enhanced-code")), text(delivery.get("bounce-code")), words)
    status = next((found for found in map(status_in, codes) if found), None)
    kind, bounce, reason = _told(entry, delivery, status)
    message_id = ident(headers.get("message-id"))
    event_id = ident(entry.get("id"))
    bot = ident(client.get("bot"))
    return Event(
        kind,
        at,
        recipient=ident(entry.get("recipient")) or _address(headers.get("to")),
        # Mailgun's ids are unique within a day.
        event_id=f"{at:%Y%m%d}-{event_id}" if event_id else "",
        token=ident(table(entry.get("user-variables")).get("drumbeat")),
        message_id=message_id,
        remote_id=message_id,
        url=text(entry.get("url"), LONGEST_LINK) if kind is Kind.CLICKED else None,
        bounce=bounce,
        reason=reason,
        status=status,
        text=words,
        agent=text(client.get("user-agent")),
        ip=ident(entry.get("ip")),
        machine=BOTS.get(bot, bot) if bot else None,
        raw=entry,
    )


def _told(entry: Mapping[str, Any], delivery: Mapping[str, Any], status: str | None) -> _Told:
    kind = KINDS.get(text(entry.get("event")) or "", Kind.UNKNOWN)
    if kind is Kind.REJECTED:
        return kind, None, BounceReason.OTHER
    if kind is not Kind.BOUNCED:
        return kind, None, None
    cause, code = text(entry.get("reason")) or "", delivery.get("code")
    if entry.get("severity") == "temporary":
        own = REASONS.get(cause)
        return Kind.DEFERRED, None, reason_of(status) or (own[2] if own else None)
    by_code = CODES.get(code) if isinstance(code, int) else None
    if own := REASONS.get(cause) or by_code:
        return own
    reason = reason_of(status) or BounceReason.OTHER
    # Mailgun says `bounce` of what it puts on its own list of dead addresses.
    dead = reason in HARD or (reason is BounceReason.OTHER and cause == "bounce")
    return kind, "hard" if dead else "soft", reason


def _address(header: Any) -> str | None:
    """Return the address in a To header; a rejected mail's event has no other."""
    return ident(parseaddr(text(header) or "")[1])
