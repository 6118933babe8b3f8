"""What Brevo tells of transactional mail: https://developers.brevo.com/docs/transactional-webhooks.

A call tells one event, or up to 500 as a list where the webhook was created as `batched`. Brevo offers a bearer
token, a user and password in the URL, and headers of one's own (docs/secured-webhooks). It repeats a call
after 10 minutes, 1, 2 and 8 hours, but gives it up at any 4xx other than 429 and at any 5xx.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

from drumbeat.delivery.brevo import BrevoSettings
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import FRESH, Event
from drumbeat.responses.webhooks.payload import ident, instant, status_in, text
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, UnsignedWebhook, credentials, within

_Told: TypeAlias = "tuple[Kind, Literal['hard', 'soft'] | None, BounceReason | None]"

EVENTS: Mapping[str, _Told] = {
    # It also comes for mail that Brevo then blocks.
    "request": (Kind.QUEUED, None, None),
    "sent": (Kind.QUEUED, None, None),
    "delivered": (Kind.DELIVERED, None, None),
    "deferred": (Kind.DEFERRED, None, None),
    "soft_bounce": (Kind.BOUNCED, "soft", BounceReason.OTHER),
    "hard_bounce": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),
    "invalid_email": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),
    "blocked": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    "error": (Kind.FAILED, None, BounceReason.OTHER),
    "spam": (Kind.COMPLAINED, None, None),
    "complaint": (Kind.COMPLAINED, None, None),
    "unsubscribed": (Kind.UNSUBSCRIBED, None, None),
    "unsubscribe": (Kind.UNSUBSCRIBED, None, None),
    "opened": (Kind.OPENED, None, None),
    "unique_opened": (Kind.OPENED, None, None),
    "proxy_open": (Kind.OPENED, None, None),
    "unique_proxy_open": (Kind.OPENED, None, None),
    "unique_proxy_opened": (Kind.OPENED, None, None),
    "loaded_by_proxy": (Kind.OPENED, None, None),
    "click": (Kind.CLICKED, None, None),
}
"""The event: what it was, whether the address is dead, and why."""

MILLISECONDS = 100_000_000_000
"""From here on a timestamp is in milliseconds: 1973, while in seconds it is the year 5138."""

MACHINES: Mapping[str, str] = {
    "proxy_open": "proxy_open",
    "unique_proxy_open": "proxy_open",
    "unique_proxy_opened": "proxy_open",
    "loaded_by_proxy": "proxy_open",
}
"""Opens by a proxy that fetches pictures for the reader, whether or not they look: Apple's Mail Privacy Protection."""


class BrevoWebhook(UnsignedWebhook):
    """Calls to /hooks/brevo."""

    name: str = "brevo"
    times: ClassVar[tuple[str, ...]] = ("ts_epoch", "ts_event", "ts")

    def __init__(self, settings: BrevoSettings) -> None:
        super().__init__(
            settings,
            credentials(
                self.name,
                settings,
                token_env=settings.webhook_token_env,
                header=settings.webhook_header,
                header_env=settings.webhook_header_env,
            ),
        )

    def moment(self, entry: Mapping[str, Any], received_at: datetime) -> datetime:
        """Return the latest of the event's times that is not still to come.

        `ts_epoch` is documented as the time of sending, and was seen to be the event's; `ts_event` as that of
        the call, and was seen in the account's time zone rather than in UTC. `date` has no zone and is left out.
        """
        found = [instant(_seconds(entry.get(name)), received_at) for name in self.times]
        past = [at for at in found if at != received_at and at <= received_at + FRESH]
        return max(past, default=received_at)

    def event(self, entry: Mapping[str, Any], at: datetime) -> Event:
        """Return the normalised event. `id` names the webhook, not the event: no event has a name."""
        word = text(entry.get("event")) or ""
        kind, bounce, reason = EVENTS.get(word, (Kind.UNKNOWN, None, None))
        words = text(entry.get("reason"))
        return Event(
            kind,
            at,
            recipient=ident(entry.get("email")),
            token=ident(within(entry.get("X-Mailin-custom")).get("drumbeat")),
            remote_id=(ident(entry.get("message-id")) or "").strip("<> ") or None,
            url=text(entry.get("link"), LONGEST_LINK),
            bounce=bounce,
            reason=reason,
            status=status_in(words),
            text=words,
            agent=text(entry.get("user_agent")),
            machine=MACHINES.get(word),
            raw=entry,
        )


def _seconds(value: Any) -> Any:
    """Return a time in milliseconds, as `ts_epoch` is, in seconds, as it is in the documentation's examples."""
    if isinstance(value, int | float) and MILLISECONDS <= value < 1_000 * MILLISECONDS:
        return value / 1_000
    return value
