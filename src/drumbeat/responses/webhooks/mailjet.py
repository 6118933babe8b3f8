"""What Mailjet tells: https://dev.mailjet.com/email/guides/webhooks/.

A call tells a list of events, those of one second, or one object where "group events" is off. Mailjet signs
nothing and advises a user and password in the URL. It repeats a call every 30 seconds for 24 hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

from drumbeat.delivery.mailjet import MailjetSettings
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import HARD, BounceReason
from drumbeat.responses.webhooks import Event
from drumbeat.responses.webhooks.payload import ident, status_in, text
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, UnsignedWebhook, credentials, within

EVENTS: Mapping[str, Kind] = {
    "sent": Kind.DELIVERED,  # "the destination SMTP server has accepted the message"
    "open": Kind.OPENED,
    "click": Kind.CLICKED,
    "bounce": Kind.BOUNCED,
    "blocked": Kind.REJECTED,
    "spam": Kind.COMPLAINED,
    "unsub": Kind.UNSUBSCRIBED,
}
"""The event: what it was."""

ERRORS: Mapping[str, BounceReason] = {
    # recipient
    "user unknown": BounceReason.USER_UNKNOWN,
    "mailbox inactive": BounceReason.SUSPENDED,
    "quota exceeded": BounceReason.MAILBOX_FULL,
    "blacklisted": BounceReason.UNSUBSCRIBED,
    "spam reporter": BounceReason.UNSUBSCRIBED,
    # domain
    "invalid domain": BounceReason.HOST_UNKNOWN,
    "no mail host": BounceReason.HOST_UNKNOWN,
    "relay/access denied": BounceReason.RELAYING_DENIED,
    "greylisted": BounceReason.POLICY,
    "typofix": BounceReason.HOST_UNKNOWN,
    # content
    "bad or empty template": BounceReason.CONTENT,
    "error in template language": BounceReason.CONTENT,
    # spam
    "sender blocked": BounceReason.BLOCKED,
    "content blocked": BounceReason.SPAM,
    "policy issue": BounceReason.POLICY,
    # system
    "system issue": BounceReason.SYSTEM,
    "protocol issue": BounceReason.SYSTEM,
    "connection issue": BounceReason.NETWORK,
    # mailjet
    "preblocked": BounceReason.UNSUBSCRIBED,
    "duplicate in campaign": BounceReason.OTHER,
}
"""The error of a bounced or blocked mail: why."""

DEAD = HARD | {BounceReason.SUSPENDED}
"""Reasons for which Mailjet's `hard_bounce` means the address. It also flags permanent refusals of our content
or server, and its documentation asks to look at both fields. "mailbox inactive" is for good at Mailjet."""


class MailjetWebhook(UnsignedWebhook):
    """Calls to /hooks/mailjet."""

    name: str = "mailjet"
    times: ClassVar[tuple[str, ...]] = ("time",)

    def __init__(self, settings: MailjetSettings) -> None:
        super().__init__(settings, credentials(self.name, settings))

    def event(self, entry: Mapping[str, Any], at: datetime) -> Event:
        """Return the normalised event; none has a name of its own."""
        kind = EVENTS.get(text(entry.get("event")) or "", Kind.UNKNOWN)
        error = (text(entry.get("error")) or "").lower()
        reason = ERRORS.get(error, BounceReason.OTHER) if error else None
        bounce: Literal["hard", "soft"] | None = None
        if kind is Kind.BOUNCED:
            dead = entry.get("hard_bounce") is True and (reason is None or reason in DEAD)
            bounce = "hard" if dead else "soft"
            if error == "greylisted" and not dead:
                kind, bounce = Kind.DEFERRED, None
        elif kind is Kind.REJECTED and reason in HARD:
            bounce = "hard"
        words = next(
            (
                said
                for field in ("comment", "smtp_reply", "error", "source")
                if (said := text(entry.get(field)))
            ),
            None,
        )
        number = ident(entry.get("MessageID"))
        return Event(
            kind,
            at,
            recipient=ident(entry.get("email")),
            token=ident(entry.get("CustomID")) or ident(within(entry.get("Payload")).get("drumbeat")),
            remote_id=number if number != "0" else None,
            url=text(entry.get("url"), LONGEST_LINK),
            bounce=bounce,
            reason=reason,
            status=status_in(words),
            text=words,
            agent=text(entry.get("agent")),
            ip=ident(entry.get("ip")),
            raw=entry,
        )
