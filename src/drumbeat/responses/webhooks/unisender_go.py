"""What Unisender Go tells: up to a hundred events a call, signed with the API key inside the body.

https://godocs.unisender.ru/web-api-ref#callback-format, #email-statuses. `auth` is the MD5 of the body with the
API key in its own place. It covers every byte, the times of the events too, and nothing may be appended to a
signed body (as MD5 itself would allow) without its ceasing to be JSON. A call that is not answered with 200
within three seconds is repeated every ten minutes for a day, with `retry_count` added. When a webhook is
switched on Unisender makes a GET to see that somebody is there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from drumbeat.delivery.http import api_key
from drumbeat.delivery.unisender_go import UnisenderGoSettings
from drumbeat.errors import InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Forged, Stale, Verified, WebhookCall
from drumbeat.responses.webhooks.payload import ident, instant, rows, same, status_in, table, text
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, entries

STATUSES: Mapping[str, Kind] = {
    "accepted": Kind.QUEUED,
    "sent": Kind.SENT,
    "delivered": Kind.DELIVERED,
    "opened": Kind.OPENED,
    "clicked": Kind.CLICKED,
    "unsubscribed": Kind.UNSUBSCRIBED,
    "subscribed": Kind.SUBSCRIBED,
    "soft_bounced": Kind.DEFERRED,  # Unisender tries on for two days
    "hard_bounced": Kind.BOUNCED,  # and then gives up; DELIVERY_STATUSES says why
    "spam": Kind.COMPLAINED,
}
"""The status of a transactional_email_status. transactional_spam_block is of no mail: UNKNOWN."""

_Told: TypeAlias = "tuple[Kind, Literal['hard', 'soft'] | None, BounceReason | None]"


def _soft(reason: BounceReason) -> _Told:
    return Kind.BOUNCED, "soft", reason


_GONE: _Told = (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN)

DELIVERY_STATUSES: Mapping[str, _Told] = {
    "err_user_unknown": _GONE,
    "err_user_inactive": _GONE,
    "err_mailbox_discarded": _GONE,
    "err_dest_invalid": _GONE,
    # "does not exist or does not accept mail"; Unisender itself bars such an address for days only.
    "err_domain_inactive": _soft(BounceReason.NETWORK),
    "err_no_dns": _soft(BounceReason.NETWORK),
    "err_no_smtp": _soft(BounceReason.NETWORK),
    "err_destination_misconfigured": _soft(BounceReason.SYSTEM),
    "err_not_available": _soft(BounceReason.NETWORK),
    "err_mailbox_full": _soft(BounceReason.MAILBOX_FULL),
    "skip_dup_mailbox_full": (Kind.REJECTED, None, BounceReason.MAILBOX_FULL),
    "err_too_large": _soft(BounceReason.MESSAGE_TOO_BIG),
    "err_spam_rejected": _soft(BounceReason.SPAM),
    "err_spam_skipped": (Kind.REJECTED, None, BounceReason.SPAM),
    "err_spam_removed": (Kind.REJECTED, None, BounceReason.SPAM),
    "err_blacklisted": _soft(BounceReason.BLOCKED),
    "err_unsubscribed": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    # Many failures have shown that the address is dead; sending bars it as permanent_unavailable.
    "err_unreachable": _GONE,
    "skip_dup_unreachable": (Kind.REJECTED, "hard", BounceReason.USER_UNKNOWN),
    "err_skip_letter": (Kind.REJECTED, None, BounceReason.OTHER),
    "skip_dup_temp_unreachable": (Kind.REJECTED, None, BounceReason.OTHER),
    "not_sent": (Kind.REJECTED, None, BounceReason.OTHER),
    "err_will_retry": _soft(BounceReason.EXPIRED),
    "err_retry_letter": _soft(BounceReason.EXPIRED),
    "err_resend": _soft(BounceReason.EXPIRED),
    "err_giveup": _soft(BounceReason.EXPIRED),
    "err_src_invalid": _soft(BounceReason.REJECTED),
    "err_lost": (Kind.FAILED, None, BounceReason.SYSTEM),
    "err_internal": (Kind.FAILED, None, BounceReason.SYSTEM),
    "err_delivery_failed": _soft(BounceReason.OTHER),
    "err_unknown": _soft(BounceReason.OTHER),
}
"""The delivery_status of a hard_bounced: what it was, whether the address is dead, and why.

`hard_bounced` alone says only that Unisender tries no more: a full mailbox ends so too."""

_OTHER_STATUS = DELIVERY_STATUSES["err_unknown"]

_AUTH = re.compile(rb'"auth"\s*:\s*"([0-9a-f]{32})"')


class UnisenderGoWebhook:
    """Calls to /hooks/unisender_go; each tells several events, or one where it was set up so."""

    name = "unisender_go"

    def __init__(self, settings: UnisenderGoSettings) -> None:
        self.settings = settings
        self._key = api_key(settings.api_key_env, "delivery.unisender_go.api_key_env").encode()

    def verify(self, call: WebhookCall) -> Verified:
        """Check `auth`, then how old the news is. Raises Forged or Stale.

        What is repeated has another body, so the events themselves are the replay key.
        """
        if call.method in ("GET", "HEAD"):
            return Verified("", keep=False)
        try:
            (said,) = entries(call.body)
        except (InputError, ValueError):
            raise Forged(
                "the call's body is no JSON object with `auth`; expected the format json_post, not compressed"
            ) from None
        given = said.get("auth")
        places = [found for found in _AUTH.finditer(call.body) if found.group(1).decode() == given]
        if len(places) != 1:
            raise Forged("the call's body has no `auth`; expected the MD5 of the body")
        start, end = places[0].span(1)
        # MD5 is what is documented; who wants to forge it has to know the key.
        signed = call.body[:start] + self._key + call.body[end:]
        if not same(str(given), hashlib.md5(signed, usedforsecurity=False).hexdigest()):
            raise Forged(
                "the call's `auth` is wrong; check delivery.unisender_go.api_key_env, and that the webhook's"
                " project is that of the key"
            )
        moments = [_at(data, call.received_at) for _, data in _told_of(said)]
        if moments and call.received_at - max(moments) > self.settings.webhook_max_age:
            raise Stale(
                f"the newest event is of {max(moments):%Y-%m-%d %H:%M} UTC, older than delivery.unisender_go."
                "webhook_max_age allows"
            )
        told = {key: value for key, value in said.items() if key not in ("auth", "retry_count")}
        content = json.dumps(told, sort_keys=True).encode()
        return Verified("sha256:" + hashlib.sha256(content).hexdigest())

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read every event of a stored call. Raises InputError where it cannot be read at all."""
        found = [pair for said in entries(call.body) for pair in _told_of(said)]
        if not found:
            raise InputError("the call tells of nothing; expected `events_by_user`, or one event")
        return [_event(name, data, call.received_at) for name, data in found]

    def follow_up(self, call: WebhookCall) -> None:
        """Nothing is left to do."""


def _told_of(said: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the name and data of each event; with "single event" both stand at the top."""
    if "events_by_user" not in said:
        data = {key: value for key, value in said.items() if key not in ("auth", "retry_count")}
        return [(ident(said.get("event_name")) or "", data)] if data else []
    return [
        (ident(event.get("event_name")) or "", table(event.get("event_data")))
        for user in rows(said.get("events_by_user"))
        for event in rows(user.get("events"))
    ]


def _event(name: str, data: Mapping[str, Any], received_at: datetime) -> Event:
    info = table(data.get("delivery_info"))
    detail = ident(info.get("delivery_status"))
    kind, bounce, reason = _told(name, ident(data.get("status")) or "", detail or "")
    words = text(info.get("destination_response")) or detail or text(data.get("comment"))
    return Event(
        kind,
        _at(data, received_at),
        recipient=ident(data.get("email")),
        token=ident(table(data.get("metadata")).get("drumbeat")),
        remote_id=ident(data.get("job_id")),
        url=text(data.get("url"), LONGEST_LINK),
        bounce=bounce,
        reason=reason,
        status=status_in(words),
        text=words,
        agent=text(info.get("user_agent")),
        ip=ident(info.get("ip")),
        raw={"event_name": name, "event_data": data},
    )


def _told(name: str, status: str, detail: str) -> _Told:
    kind = STATUSES.get(status, Kind.UNKNOWN) if name == "transactional_email_status" else Kind.UNKNOWN
    if kind is Kind.BOUNCED:
        return DELIVERY_STATUSES.get(detail, _OTHER_STATUS)
    if kind is Kind.DEFERRED:
        known = DELIVERY_STATUSES.get(detail)
        return kind, None, known[2] if known and detail != "err_will_retry" else None
    return kind, None, None


def _at(data: Mapping[str, Any], received_at: datetime) -> datetime:
    """Return when it was; Unisender names no zone and means UTC."""
    return instant(data.get("event_time", data.get("block_time")), received_at)
