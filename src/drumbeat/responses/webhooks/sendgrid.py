"""SendGrid's signed event webhook: a list of events a call, each about one recipient.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event. The signature is ECDSA on P-256 over
the timestamp's header and the body as it came:
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
"""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from drumbeat.delivery.sendgrid import SendgridSettings
from drumbeat.errors import DeliveryError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import HARD, BounceReason
from drumbeat.responses.webhooks import Event, Forged, Verified, WebhookCall
from drumbeat.responses.webhooks.codes import exact_reason_of, reason_of
from drumbeat.responses.webhooks.payload import ident, instant, status_in, text
from drumbeat.responses.webhooks.signed import check_fresh, unix_time
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, entries
from drumbeat.settings import needed_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"

KINDS: Mapping[str, Kind] = {
    "processed": Kind.QUEUED,
    "deferred": Kind.DEFERRED,
    "delivered": Kind.DELIVERED,
    "bounce": Kind.BOUNCED,  # `type` says bounce or blocked
    "blocked": Kind.BOUNCED,
    "dropped": Kind.REJECTED,
    "open": Kind.OPENED,
    "click": Kind.CLICKED,
    "spamreport": Kind.COMPLAINED,
    "unsubscribe": Kind.UNSUBSCRIBED,
    "group_unsubscribe": Kind.UNSUBSCRIBED,
    "group_resubscribe": Kind.SUBSCRIBED,
}
"""By `event`. What is about the account, such as account_status_change, is of no mail and stays unknown."""

CLASSES: Mapping[str, BounceReason] = {
    "invalid address": BounceReason.USER_UNKNOWN,
    "mailbox unavailable": BounceReason.SUSPENDED,
    "reputation": BounceReason.BLOCKED,
    "content": BounceReason.CONTENT,
    "frequency/volume": BounceReason.RATE_LIMITED,
    "frequency or volume too high": BounceReason.RATE_LIMITED,
    "technical": BounceReason.SYSTEM,
    "technical failure": BounceReason.SYSTEM,
}
"""By `bounce_classification`, in small letters; `Unclassified` says nothing."""

DROPS: Mapping[str, tuple[BounceReason, Literal["hard"] | None]] = {
    "bounced address": (BounceReason.UNSUBSCRIBED, "hard"),  # it bounced before: SendGrid sends no more there
    "invalid": (BounceReason.USER_UNKNOWN, "hard"),
    "spam reporting address": (BounceReason.UNSUBSCRIBED, None),
    "unsubscribed address": (BounceReason.UNSUBSCRIBED, None),
    "group unsubscribe": (BounceReason.UNSUBSCRIBED, None),
    "spam content": (BounceReason.SPAM, None),
    "invalid smtpapi header": (BounceReason.CONTENT, None),
    "recipient list over package quota": (BounceReason.RATE_LIMITED, None),
}
"""By `reason` of a dropped mail, in small letters."""


class SendgridWebhook:
    """Calls to /hooks/sendgrid. Raises DeliveryError where the verification key is not set or is none."""

    name = "sendgrid"

    def __init__(self, settings: SendgridSettings) -> None:
        if settings.webhook_key_env is None:
            raise DeliveryError(
                "delivery.sendgrid.webhook_key_env in project.yaml is not set; it names the variable with the"
                " verification key, without which anybody's calls would be believed"
            )
        where = "delivery.sendgrid.webhook_key_env"
        self._key = _public_key(needed_secret(settings.webhook_key_env, where), settings.webhook_key_env)

    def verify(self, call: WebhookCall) -> Verified:
        """Check the signature, then the time. Raises Forged or Stale.

        The replay key is of what was signed: of one ECDSA signature anybody can make a second valid one.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        stamp, signature = call.headers.get(TIMESTAMP, ""), call.headers.get(SIGNATURE, "")
        if not (stamp and signature):
            raise Forged("the call is not signed; switch the signed event webhook on at SendGrid")
        signed = stamp.encode("utf-8", "replace") + call.body
        try:
            self._key.verify(b64decode(signature, validate=True), signed, ECDSA(SHA256()))
        except (InvalidSignature, binascii.Error, ValueError):
            raise Forged(
                "the call's signature is wrong; check delivery.sendgrid.webhook_key_env in project.yaml"
            ) from None
        check_fresh(unix_time(stamp), call.received_at)
        return Verified(f"sha256:{hashlib.sha256(signed).hexdigest()}", keep=call.body.strip() != b"[]")

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read every event of a stored call. Raises InputError where it cannot be read at all."""
        return [_event(entry, call) for entry in entries(call.body)]

    def follow_up(self, call: WebhookCall) -> None:
        """Nothing is left to do."""


def _event(entry: Mapping[str, Any], call: WebhookCall) -> Event:
    kind = KINDS.get(text(entry.get("event")) or "", Kind.UNKNOWN)
    words = text(entry.get("response")) or text(entry.get("reason"))
    status = status_in(text(entry.get("status"))) or status_in(words)
    bounce, reason = _refusal(kind, entry, status)
    message_id = ident(entry.get("smtp-id"))
    return Event(
        kind,
        instant(entry.get("timestamp"), call.received_at),
        recipient=ident(entry.get("email")),
        event_id=ident(entry.get("sg_event_id")) or "",
        token=ident(entry.get("drumbeat")),
        message_id=message_id,
        remote_id=_remote_id(ident(entry.get("sg_message_id"))),
        url=text(entry.get("url"), LONGEST_LINK) if kind is Kind.CLICKED else None,
        bounce=bounce,
        reason=reason,
        status=status,
        text=words,
        agent=text(entry.get("useragent")),
        ip=ident(entry.get("ip")),
        machine="apple_privacy" if entry.get("sg_machine_open") is True else None,
        raw=entry,
    )


def _refusal(
    kind: Kind, entry: Mapping[str, Any], status: str | None
) -> tuple[Literal["hard", "soft"] | None, BounceReason | None]:
    if kind is Kind.REJECTED:
        cause = (text(entry.get("reason")) or "").lower()
        reason, bounce = DROPS.get(cause, (BounceReason.OTHER, None))
        return bounce, reason
    if kind is Kind.DEFERRED:
        return None, reason_of(status)
    if kind is not Kind.BOUNCED:
        return None, None
    known = CLASSES.get((text(entry.get("bounce_classification")) or "").lower())
    reason = exact_reason_of(status) or known or reason_of(status) or BounceReason.OTHER
    # `blocked` is SendGrid's word for a refusal of this mail, `bounce` for one of the address.
    blocked = "blocked" in (entry.get("type"), entry.get("event"))
    dead = reason in HARD or reason is BounceReason.OTHER
    return "hard" if dead and not blocked else "soft", reason


def _remote_id(message_id: str | None) -> str | None:
    """Return the X-Message-Id that the send call was answered with; the server that took it stands behind it."""
    return re.split(r"\.(?:filter|recvd)", message_id or "")[0] or None


def _public_key(key: str, variable: str) -> EllipticCurvePublicKey:
    """Read the key as SendGrid shows it, base64 without frame, or as PEM. Raises DeliveryError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    lines = [line for line in key.split("\n") if not line.startswith("-----")]
    try:
        found = load_der_public_key(b64decode("".join("".join(lines).split()), validate=True))
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, EllipticCurvePublicKey) or not isinstance(found.curve, SECP256R1):
        raise DeliveryError(
            f"the environment variable {variable} (delivery.sendgrid.webhook_key_env in project.yaml) holds no"
            " verification key; expected base64, as SendGrid shows it under Signed Event Webhook"
        )
    return found
