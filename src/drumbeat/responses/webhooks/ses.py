"""Amazon SES, through SNS: event publishing and feedback notifications, which differ in little.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html and
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html. A bounce or complaint can be about several
recipients; each becomes an event of its own. Message tags (our token) come with published events alone; a
notification has the headers of the mail, if SES is told to include them, and so our Message-ID.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from drumbeat.delivery.ses import SesSettings
from drumbeat.errors import InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import HARD, BounceReason
from drumbeat.responses.webhooks import Event, Forged, Verified, WebhookCall
from drumbeat.responses.webhooks.codes import reason_of
from drumbeat.responses.webhooks.payload import ident, instant, rows, status_in, table, text
from drumbeat.responses.webhooks.sns import Fetch, Signatures, fetch, read, subscribe_url
from drumbeat.responses.webhooks.unsigned import LONGEST_LINK, entries

GREETING = "Successfully validated SNS topic for Amazon SES event publishing."
"""What SES says, in no JSON, when a topic is first set up."""

KINDS: Mapping[str, tuple[Kind, str, str]] = {
    "Send": (Kind.SENT, "send", ""),
    "Delivery": (Kind.DELIVERED, "delivery", "recipients"),
    "DeliveryDelay": (Kind.DEFERRED, "deliveryDelay", "delayedRecipients"),
    "Bounce": (Kind.BOUNCED, "bounce", "bouncedRecipients"),
    "Complaint": (Kind.COMPLAINED, "complaint", "complainedRecipients"),
    "Reject": (Kind.REJECTED, "reject", ""),
    "Rendering Failure": (Kind.FAILED, "failure", ""),
    "Open": (Kind.OPENED, "open", ""),
    "Click": (Kind.CLICKED, "click", ""),
    "Subscription": (Kind.UNKNOWN, "subscription", ""),  # see _subscription
}
"""By `eventType` or `notificationType`: the kind, where its details stand, and there the recipients.

'' for the recipients: it is about all of the mail's."""

_Told = tuple[Kind, Literal["hard", "soft"] | None, BounceReason | None]

BOUNCES: Mapping[str, _Told] = {
    "Permanent/General": (Kind.BOUNCED, "hard", None),
    "Permanent/NoEmail": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),
    # SES did not send these on: the address is on a list of those that bounced or complained before.
    "Permanent/Suppressed": (Kind.REJECTED, "hard", BounceReason.UNSUBSCRIBED),
    "Permanent/OnAccountSuppressionList": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    "Permanent/OnTenantSuppressionList": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    "Permanent/EmailValidationSuppressed": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    "Transient/General": (Kind.BOUNCED, "soft", None),
    "Transient/MailboxFull": (Kind.BOUNCED, "soft", BounceReason.MAILBOX_FULL),
    "Transient/MessageTooLarge": (Kind.BOUNCED, "soft", BounceReason.MESSAGE_TOO_BIG),
    "Transient/CustomTimeoutExceeded": (Kind.BOUNCED, "soft", BounceReason.EXPIRED),
    "Transient/ContentRejected": (Kind.BOUNCED, "soft", BounceReason.CONTENT),
    "Transient/AttachmentRejected": (Kind.BOUNCED, "soft", BounceReason.CONTENT),
    "Undetermined/Undetermined": (Kind.BOUNCED, "soft", None),
}
"""By `bounceType/bounceSubType`; a reason of None is read from the status code."""

DELAYS: Mapping[str, BounceReason] = {
    "InternalFailure": BounceReason.OTHER,  # at SES
    "General": BounceReason.OTHER,
    "MailboxFull": BounceReason.MAILBOX_FULL,
    "SpamDetected": BounceReason.SPAM,
    "RecipientServerError": BounceReason.SYSTEM,
    "IPFailure": BounceReason.BLOCKED,
    "TransientCommunicationFailure": BounceReason.NETWORK,
    "BYOIPHostNameLookupUnavailable": BounceReason.NETWORK,
    "Undetermined": BounceReason.OTHER,
    "SendingDeferral": BounceReason.OTHER,
}
"""By `delayType`."""

COMPLAINTS: Mapping[str, _Told] = {
    "not-spam": (Kind.UNKNOWN, None, None),  # the reader took the complaint back
    "auth-failure": (
        Kind.UNKNOWN,
        None,
        BounceReason.AUTHENTICATION,
    ),  # a report on SPF or DKIM, not of a reader
}
"""By `complaintFeedbackType`; abuse, fraud, virus, other and what is left out are complaints."""


class SesWebhook:
    """Calls of SNS to /hooks/ses. `get` fetches URLs of SNS, for tests."""

    name = "ses"

    def __init__(self, settings: SesSettings, *, get: Fetch = fetch) -> None:
        self._fetch = get
        self._signatures = Signatures(settings.topics, get)

    def verify(self, call: WebhookCall) -> Verified:
        """Check topic, time and signature. Raises Forged or Stale.

        Raises DeliveryError while the certificate cannot be had: the call should be answered with 503, since SNS
        does not repeat one that was answered with 403.
        """
        try:
            message = read(call.body)
        except InputError as error:
            raise Forged(str(error)) from None
        message_id = self._signatures.check(message, call.received_at)
        return Verified(message_id, keep=message.get("Message") != GREETING)

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read a stored call; none of one about the subscription. Raises InputError where it cannot be read."""
        message = read(call.body)
        if message["Type"] != "Notification" or message.get("Message") == GREETING:
            return []
        inner = message.get("Message")
        found = entries(inner.encode("utf-8", "replace")) if isinstance(inner, str) else []
        if len(found) != 1:
            raise InputError("the SNS message holds no event of SES; expected a JSON object in Message")
        return list(_events(found[0], message, call.received_at))

    def follow_up(self, call: WebhookCall) -> None:
        """Confirm a subscription that SNS asks about. Raises InputError for a wrong URL, DeliveryError without answer."""
        message = read(call.body)
        if message["Type"] == "SubscriptionConfirmation":
            self._fetch(subscribe_url(message))


def _events(entry: Mapping[str, Any], message: Mapping[str, Any], received_at: datetime) -> Iterator[Event]:
    name = text(entry.get("eventType")) or text(entry.get("notificationType")) or ""
    kind, place, listed = KINDS.get(name, (Kind.UNKNOWN, "", ""))
    mail, details = table(entry.get("mail")), table(entry.get(place))
    at = received_at
    for when in (message.get("Timestamp"), mail.get("timestamp"), details.get("timestamp")):
        at = instant(when, at) if when is not None else at
    # The same bounce can be told as an event and as a notification; this id is the same in both.
    fact = ident(details.get("feedbackId")) or ident(message.get("MessageId")) or ""
    recipients = _recipients(details.get(listed)) or _recipients(mail.get("destination")) or [{}]
    for number, recipient in enumerate(recipients):
        words = _words(details, recipient)
        status = status_in(text(recipient.get("status"))) or status_in(words)
        told, bounce, reason = _told(kind, details, status)
        yield Event(
            told,
            at,
            recipient=ident(recipient.get("emailAddress")),
            event_id=f"{fact}/{number}" if fact and number else fact,
            token=_token(mail.get("tags")),
            message_id=_message_id(mail),
            remote_id=ident(mail.get("messageId")),
            url=text(details.get("link"), LONGEST_LINK) if kind is Kind.CLICKED else None,
            bounce=bounce,
            reason=reason,
            status=status,
            text=words,
            agent=text(details.get("userAgent")) if kind in (Kind.OPENED, Kind.CLICKED) else None,
            ip=ident(details.get("ipAddress")),
            raw=entry,
        )


def _told(kind: Kind, details: Mapping[str, Any], status: str | None) -> _Told:
    if kind is Kind.BOUNCED:
        said = f"{text(details.get('bounceType'))}/{text(details.get('bounceSubType'))}"
        told, bounce, known = BOUNCES.get(said, BOUNCES["Undetermined/Undetermined"])
        reason = known or reason_of(status) or BounceReason.OTHER
        # What is permanent for its content or our reputation says nothing of the address.
        if told is Kind.BOUNCED and reason not in HARD and reason is not BounceReason.OTHER:
            bounce = "soft"
        return told, bounce, reason
    if kind is Kind.COMPLAINED:
        if details.get("complaintSubType") == "OnAccountSuppressionList":
            return Kind.REJECTED, None, BounceReason.UNSUBSCRIBED
        return COMPLAINTS.get(text(details.get("complaintFeedbackType")) or "", (kind, None, None))
    if kind is Kind.DEFERRED:
        delay = DELAYS.get(text(details.get("delayType")) or "", BounceReason.OTHER)
        return kind, None, delay if delay is not BounceReason.OTHER else reason_of(status) or delay
    if kind is Kind.REJECTED:
        bad = details.get("reason") == "Bad content"
        return kind, None, BounceReason.VIRUS if bad else BounceReason.OTHER
    if kind is Kind.FAILED:
        return kind, None, BounceReason.CONTENT
    if "newTopicPreferences" in details:
        return _subscription(details), None, None
    return kind, None, None


def _subscription(details: Mapping[str, Any]) -> Kind:
    """Return what changed on SES's own list of contacts, which its unsubscribe link writes to."""
    new, old = (table(details.get(f"{age}TopicPreferences")) for age in ("new", "old"))
    out_of = _opted_out(new) - _opted_out(old)
    if (new.get("unsubscribeAll") is True and old.get("unsubscribeAll") is not True) or out_of:
        return Kind.UNSUBSCRIBED
    back = old.get("unsubscribeAll") is True and new.get("unsubscribeAll") is False
    return Kind.SUBSCRIBED if back or _opted_out(old) - _opted_out(new) else Kind.UNKNOWN


def _opted_out(preferences: Mapping[str, Any]) -> set[str | None]:
    listed = rows(preferences.get("topicSubscriptionStatus"))
    return {text(row.get("topicName")) for row in listed if row.get("subscriptionStatus") == "OptOut"}


def _recipients(value: Any) -> list[Mapping[str, Any]]:
    """Return the recipients as objects: SES lists them so, or as bare addresses."""
    listed = value if isinstance(value, list) else []
    return [
        one if isinstance(one, dict) else {"emailAddress": one}
        for one in listed
        if isinstance(one, dict | str)
    ]


def _words(details: Mapping[str, Any], recipient: Mapping[str, Any]) -> str | None:
    said = (
        recipient.get("diagnosticCode"),
        details.get("smtpResponse"),
        details.get("reason"),
        details.get("errorMessage"),
        details.get("complaintSubType"),
        details.get("complaintFeedbackType"),
        details.get("delayType"),
        details.get("bounceSubType"),
    )
    return next((words for words in map(text, said) if words), None)


def _token(tags: Any) -> str | None:
    values = table(tags).get("drumbeat")
    return ident(values[0]) if isinstance(values, list) and values else None


def _message_id(mail: Mapping[str, Any]) -> str | None:
    """Return our Message-ID; SES sends the mail on under one of its own."""
    for header in rows(mail.get("headers")):
        if (text(header.get("name")) or "").lower() == "message-id":
            return ident(header.get("value"))
    return ident(table(mail.get("commonHeaders")).get("messageId"))
