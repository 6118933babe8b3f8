"""What Postmark tells: https://postmarkapp.com/developer/webhooks/webhooks-overview.

Postmark signs nothing, whatever some pages say of an `X-Postmark-Signature`: it offers a user and password in
the URL, and headers of one's own. After a 403 it gives a call up, else it repeats it for up to ten hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

from drumbeat.delivery.postmark import PostmarkSettings
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event
from drumbeat.responses.webhooks.payload import ident, status_in, table, text
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, UnsignedWebhook, credentials

RECORD_TYPES: Mapping[str, Kind] = {
    "Delivery": Kind.DELIVERED,
    "Bounce": Kind.BOUNCED,  # BOUNCE_TYPES says more
    "SpamComplaint": Kind.COMPLAINED,
    "Open": Kind.OPENED,
    "Click": Kind.CLICKED,
    "SubscriptionChange": Kind.UNSUBSCRIBED,  # SUPPRESSIONS says more
}
"""RecordType: what is told of."""

_Told: TypeAlias = "tuple[Kind, Literal['hard', 'soft'] | None, BounceReason | None]"

_UNTOLD: _Told = (Kind.UNKNOWN, None, None)

BOUNCE_TYPES: Mapping[str, _Told] = {
    "HardBounce": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),
    "Transient": (Kind.DEFERRED, None, BounceReason.NETWORK),
    "Unsubscribe": (Kind.UNSUBSCRIBED, None, None),
    "Subscribe": (Kind.SUBSCRIBED, None, None),
    "AutoResponder": (Kind.AUTORESPONDED, None, None),
    "AddressChange": (Kind.AUTORESPONDED, None, BounceReason.HAS_MOVED),
    "DnsError": (Kind.DEFERRED, None, BounceReason.NETWORK),
    # A server or filter took it for spam; a reader's complaint is SpamComplaint.
    "SpamNotification": (Kind.BOUNCED, "soft", BounceReason.SPAM),
    "OpenRelayTest": _UNTOLD,
    "Unknown": _UNTOLD,
    "SoftBounce": (Kind.BOUNCED, "soft", BounceReason.OTHER),
    "VirusNotification": (Kind.BOUNCED, "soft", BounceReason.VIRUS),
    "ChallengeVerification": (Kind.AUTORESPONDED, None, None),
    "BadEmailAddress": (Kind.REJECTED, "hard", BounceReason.USER_UNKNOWN),
    "SpamComplaint": (Kind.COMPLAINED, None, None),
    "ManuallyDeactivated": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    "Unconfirmed": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    "Blocked": (Kind.BOUNCED, "soft", BounceReason.BLOCKED),
    "SMTPApiError": (Kind.FAILED, None, BounceReason.SYSTEM),
    "InboundError": _UNTOLD,
    "DMARCPolicy": (Kind.BOUNCED, "soft", BounceReason.AUTHENTICATION),
    "TemplateRenderingFailed": (Kind.FAILED, None, BounceReason.CONTENT),
}
"""The Type of a bounce: what it was, whether the address is dead, and why (.../api/bounce-api#bounce-types)."""

TYPE_CODES: Mapping[int, str] = {
    1: "HardBounce",
    2: "Transient",
    16: "Unsubscribe",
    32: "Subscribe",
    64: "AutoResponder",
    128: "AddressChange",
    256: "DnsError",
    512: "SpamNotification",
    1024: "OpenRelayTest",
    2048: "Unknown",
    4096: "SoftBounce",
    8192: "VirusNotification",
    16384: "ChallengeVerification",
    100000: "BadEmailAddress",
    100001: "SpamComplaint",
    100002: "ManuallyDeactivated",
    100003: "Unconfirmed",
    100006: "Blocked",
    100007: "SMTPApiError",
    100008: "InboundError",
    100009: "DMARCPolicy",
    100010: "TemplateRenderingFailed",
}
"""TypeCode: the same as Type, as a number."""

SUPPRESSIONS: Mapping[str, _Told] = {
    "HardBounce": BOUNCE_TYPES["HardBounce"],
    "SpamComplaint": BOUNCE_TYPES["SpamComplaint"],
    "ManualSuppression": (Kind.UNSUBSCRIBED, None, None),
}
"""The SuppressionReason of a SubscriptionChange that stops mail; a reader who unsubscribes is the last one."""


class PostmarkWebhook(UnsignedWebhook):
    """Calls to /hooks/postmark; each tells one event."""

    name: str = "postmark"
    times: ClassVar[tuple[str, ...]] = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")

    def __init__(self, settings: PostmarkSettings) -> None:
        super().__init__(
            settings,
            credentials(
                self.name, settings, header=settings.webhook_header, header_env=settings.webhook_header_env
            ),
        )

    def own_key(self, entry: Mapping[str, Any]) -> str | None:
        """Return the ID of a bounce or complaint; nothing else has one."""
        record, number = ident(entry.get("RecordType")), ident(entry.get("ID"))
        return f"{record}:{number}" if record in ("Bounce", "SpamComplaint") and number else None

    def event(self, entry: Mapping[str, Any], at: datetime) -> Event:
        """Return the normalised event."""
        kind, bounce, reason = _told(entry)
        words = text(entry.get("Details")) or text(entry.get("Description")) or text(entry.get("Origin"))
        return Event(
            kind,
            at,
            recipient=ident(entry.get("Email")) or ident(entry.get("Recipient")),
            event_id=ident(entry.get("ID")) or "",
            token=ident(table(entry.get("Metadata")).get("drumbeat")),
            remote_id=ident(entry.get("MessageID")),
            url=text(entry.get("OriginalLink"), LONGEST_LINK),
            bounce=bounce,
            reason=reason,
            status=status_in(words),
            text=words,
            agent=text(entry.get("UserAgent")),
            ip=ident(table(entry.get("Geo")).get("IP")),
            raw=entry,
        )


def _told(entry: Mapping[str, Any]) -> _Told:
    record = entry.get("RecordType")
    kind = RECORD_TYPES.get(record, Kind.UNKNOWN) if isinstance(record, str) else Kind.UNKNOWN
    if kind is Kind.BOUNCED:
        kind_of, code = entry.get("Type"), entry.get("TypeCode")
        if not isinstance(kind_of, str):
            kind_of = TYPE_CODES.get(code, "") if type(code) is int else ""
        # A bounce of a type that came up later is a bounce still, and its address not known to be dead.
        return BOUNCE_TYPES.get(kind_of, (Kind.BOUNCED, "soft", BounceReason.OTHER))
    if kind is not Kind.UNSUBSCRIBED:
        return kind, None, None
    stops = entry.get("SuppressSending")
    if stops is False:
        # Reactivated by us in Postmark's pages is not asked for by the reader.
        return (Kind.SUBSCRIBED if entry.get("Origin") == "Recipient" else Kind.UNKNOWN), None, None
    why = entry.get("SuppressionReason")
    known = SUPPRESSIONS.get(why) if isinstance(why, str) else None
    return known or ((Kind.UNSUBSCRIBED if stops is True else Kind.UNKNOWN), None, None)
