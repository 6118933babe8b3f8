"""What Resend tells: one event a call, signed as Svix does it.

https://resend.com/docs/webhooks/event-types, and for the signature
https://docs.svix.com/receiving/verifying-payloads/how-manual. Checking it takes a dozen lines of the standard
library; the package `svix`, which Resend recommends for it, is the client of a whole web service and brings
an HTTP client and its models along. A call that failed is repeated for some ten hours, each time signed anew,
under the same id.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from drumbeat.delivery.resend import ResendSettings
from drumbeat.errors import DeliveryError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import FRESH, Event, Forged, Stale, Verified, WebhookCall
from drumbeat.responses.webhooks.payload import ident, instant, rows, same, status_in, table, text
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, entries
from drumbeat.settings import needed_secret

TYPES: Mapping[str, Kind] = {
    "email.scheduled": Kind.QUEUED,
    "email.sent": Kind.SENT,
    "email.delivered": Kind.DELIVERED,
    "email.delivery_delayed": Kind.DEFERRED,
    "email.bounced": Kind.BOUNCED,  # BOUNCES says more
    "email.suppressed": Kind.REJECTED,
    "email.failed": Kind.FAILED,
    "email.complained": Kind.COMPLAINED,
    "email.opened": Kind.OPENED,
    "email.clicked": Kind.CLICKED,
    "contact.updated": Kind.UNKNOWN,  # UNSUBSCRIBED where the contact is
}
"""What is told of. All else is of no mail of ours: email.received, contact.*, domain.*, suppression.*."""

_Told: TypeAlias = "tuple[Kind, Literal['hard', 'soft'] | None, BounceReason | None]"

_SUPPRESSED: _Told = (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED)

BOUNCES: Mapping[str, _Told] = {
    "NoEmail": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),
    "Suppressed": _SUPPRESSED,
    "OnAccountSuppressionList": _SUPPRESSED,
    "MailboxFull": (Kind.BOUNCED, "soft", BounceReason.MAILBOX_FULL),
    "MessageTooLarge": (Kind.BOUNCED, "soft", BounceReason.MESSAGE_TOO_BIG),
    "ContentRejected": (Kind.BOUNCED, "soft", BounceReason.CONTENT),
    "AttachmentRejected": (Kind.BOUNCED, "soft", BounceReason.CONTENT),
    "MessageRejected": (Kind.BOUNCED, "soft", BounceReason.POLICY),
}
"""By `bounce.subType` (https://resend.com/docs/dashboard/emails/email-bounces)."""

BOUNCE_TYPES: Mapping[str, _Told] = {
    "Permanent": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),
    "Transient": (Kind.BOUNCED, "soft", BounceReason.OTHER),
    "Temporary": (Kind.BOUNCED, "soft", BounceReason.OTHER),
    "Undetermined": (Kind.BOUNCED, "soft", BounceReason.OTHER),
}
"""By `bounce.type`, for the subtypes General and Undetermined and those to come."""


class ResendWebhook:
    """Calls to /hooks/resend; each tells one event."""

    name = "resend"

    def __init__(self, settings: ResendSettings) -> None:
        self._key = _signing_key(settings.webhook_secret_env)

    def verify(self, call: WebhookCall) -> Verified:
        """Check the signature over id, time and body, then the time. Raises Forged or Stale."""
        identity, signed_at, signatures = (_header(call, part) for part in ("id", "timestamp", "signature"))
        if not (identity and signed_at and signatures):
            raise Forged("the call is not signed; expected svix-id, svix-timestamp and svix-signature")
        content = f"{identity}.{signed_at}.".encode("utf-8", "replace") + call.body
        expected = b64encode(hmac.digest(self._key, content, "sha256")).decode()
        # There are several, with a blank between them, while a secret is being replaced.
        if not any(same(signature, f"v1,{expected}") for signature in signatures.split()):
            raise Forged("the call's signature is wrong; check delivery.resend.webhook_secret_env")
        never = call.received_at - 2 * FRESH
        if abs(call.received_at - instant(signed_at, never)) > FRESH:
            raise Stale(
                f"the call was signed at {signed_at[:20]} (seconds since 1970), not within {FRESH} of now"
            )
        return Verified(identity)

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read a stored call. Raises InputError where it cannot be read at all."""
        return [self._event(entry, call) for entry in entries(call.body)]

    def follow_up(self, call: WebhookCall) -> None:
        """Nothing is left to do."""

    def _event(self, entry: Mapping[str, Any], call: WebhookCall) -> Event:
        data = table(entry.get("data"))
        bounce, click = table(data.get("bounce")), table(data.get("click"))
        kind, hardness, reason = _told(entry.get("type"), data)
        words = (
            _first(bounce.get("diagnosticCode"))
            or text(bounce.get("message"))
            or text(table(data.get("suppressed")).get("message"))
            or text(table(data.get("failed")).get("reason"))
        )
        return Event(
            kind,
            instant(entry.get("created_at"), call.received_at),
            # Of several recipients Resend never says which one an event is about: we send to one.
            recipient=_first(data.get("to")) or ident(data.get("email")),
            event_id=_header(call, "id"),
            token=_token(data.get("tags")),
            message_id=ident(data.get("message_id")),
            remote_id=ident(data.get("email_id")),
            url=text(click.get("link"), LONGEST_LINK),
            bounce=hardness,
            reason=reason,
            status=status_in(words),
            text=words,
            agent=text(click.get("userAgent")),
            ip=ident(click.get("ipAddress")),
            raw=entry,
        )


def _signing_key(variable: str) -> bytes:
    """Return the key that stands in `whsec_...`. Raises DeliveryError where there is none."""
    where = "delivery.resend.webhook_secret_env"
    try:
        key = b64decode(needed_secret(variable, where).strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise DeliveryError(
            f"the environment variable {variable} ({where} in project.yaml) holds no signing secret; expected"
            " whsec_ and base64, as the page of the webhook at resend.com shows it"
        )
    return key


def _header(call: WebhookCall, part: str) -> str:
    """Return a header of the signature, under Svix's name or that of the standard (standardwebhooks.com)."""
    return call.headers.get(f"svix-{part}") or call.headers.get(f"webhook-{part}") or ""


def _told(kind: Any, data: Mapping[str, Any]) -> _Told:
    known = TYPES.get(kind, Kind.UNKNOWN) if isinstance(kind, str) else Kind.UNKNOWN
    if known is Kind.REJECTED:
        return _SUPPRESSED
    if known is Kind.BOUNCED:
        bounce = table(data.get("bounce"))
        by_subtype = BOUNCES.get(ident(bounce.get("subType")) or "")
        return by_subtype or BOUNCE_TYPES.get(ident(bounce.get("type")) or "") or BOUNCE_TYPES["Undetermined"]
    if kind == "contact.updated" and data.get("unsubscribed") is True:
        known = Kind.UNSUBSCRIBED
    return known, None, None


def _first(value: Any) -> str | None:
    """Return the text, or the first of several."""
    return text(value[0] if isinstance(value, list) and value else value)


def _token(tags: Any) -> str | None:
    """Return our tag, from an object, as documented, or from a list, as it was sent."""
    if isinstance(tags, dict):
        return ident(tags.get("drumbeat"))
    return next((ident(tag.get("value")) for tag in rows(tags) if tag.get("name") == "drumbeat"), None)
