"""What Twilio tells of SMS: status callbacks, and what readers send back.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status, .../webhooks/webhooks-security: the
signature is HMAC-SHA1, keyed with the account's auth token, over the whole URL and each field's name and value in
the order of the names. Twilio signs no time, so a call cannot be told to be old; the same one again is the same row.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha1
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, parse_qsl, urlsplit

from drumbeat.delivery.twilio import TwilioSettings
from drumbeat.errors import InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Forged, Verified, WebhookCall
from drumbeat.responses.webhooks.payload import ident, same, text
from drumbeat.settings import needed_secret

SIGNATURE = "x-twilio-signature"

MOST_FIELDS = 100

START_WORDS = frozenset({"start", "unstop", "yes"})
"""What ends Twilio's own block. It is no consent to any topic of ours."""

STATUSES: Mapping[str, Kind] = {
    "accepted": Kind.QUEUED,
    "scheduled": Kind.QUEUED,
    "queued": Kind.QUEUED,
    "sending": Kind.QUEUED,
    "sent": Kind.SENT,
    "delivered": Kind.DELIVERED,
    "read": Kind.OPENED,
    "undelivered": Kind.BOUNCED,  # CODES says more
    "failed": Kind.FAILED,  # CODES says more
    "canceled": Kind.FAILED,
}
"""MessageStatus of a message of ours."""

_Told: TypeAlias = "tuple[Kind, Literal['hard', 'soft'] | None, BounceReason]"

CODES: Mapping[str, _Told] = {
    "21211": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),  # no valid number
    "21610": (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),  # the reader replied STOP
    "21614": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),  # no mobile number
    "30001": (Kind.FAILED, None, BounceReason.RATE_LIMITED),  # queue overflow
    "30002": (Kind.FAILED, None, BounceReason.SYSTEM),  # account suspended
    "30003": (Kind.BOUNCED, "soft", BounceReason.NETWORK),  # unreachable handset: off, or abroad
    "30004": (Kind.BOUNCED, "soft", BounceReason.BLOCKED),  # blocked for or by this reader
    "30005": (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),  # unknown handset: no such number now
    "30006": (Kind.BOUNCED, "hard", BounceReason.NOT_ACCEPTING),  # a landline, or a carrier out of reach
    "30007": (Kind.BOUNCED, "soft", BounceReason.SPAM),  # filtered by the carrier
    "30008": (Kind.BOUNCED, "soft", BounceReason.OTHER),  # the carrier does not say
    "30009": (Kind.FAILED, None, BounceReason.NETWORK),  # a segment went missing
    "30010": (Kind.FAILED, None, BounceReason.POLICY),  # dearer than the price allowed
    "30017": (Kind.FAILED, None, BounceReason.NETWORK),  # the carrier's network is congested
    "30022": (Kind.FAILED, None, BounceReason.RATE_LIMITED),  # the carrier's rate for a 10DLC number
    "30023": (Kind.FAILED, None, BounceReason.RATE_LIMITED),  # the carrier's daily cap
    "30034": (Kind.FAILED, None, BounceReason.AUTHENTICATION),  # an unregistered 10DLC number
    "30036": (Kind.FAILED, None, BounceReason.EXPIRED),  # its validity period was over
    "30410": (Kind.FAILED, None, BounceReason.NETWORK),  # the carrier did not answer in time
}
"""ErrorCode of an undelivered or failed message (https://www.twilio.com/docs/api/errors)."""


class TwilioWebhook:
    """Calls to /hooks/twilio. Raises DeliveryError where the auth token is not set."""

    name = "twilio"

    def __init__(self, settings: TwilioSettings) -> None:
        self._token = needed_secret(settings.auth_token_env, "delivery.twilio.auth_token_env").encode()
        self._stop_words = frozenset(word.strip().casefold() for word in settings.stop_words)

    def verify(self, call: WebhookCall) -> Verified:
        """Check the signature. Raises Forged."""
        given = call.headers.get(SIGNATURE, "")
        if not given:
            raise Forged("the call is not signed; only Twilio's own calls are believed")
        try:
            fields = _fields(call.body)
        except InputError as error:
            raise Forged(str(error)) from None
        # Twilio signs the URL with or without its default port, by which of its systems calls.
        if not any(
            same(given, signature(self._token, url, fields)) for url in _with_and_without_port(call.url)
        ):
            raise Forged(
                "the call's signature is wrong; check delivery.twilio.auth_token_env, and that tracking.base_url in"
                " project.yaml is the address that Twilio calls"
            )
        said = dict(fields)
        sid, status = said.get("MessageSid", ""), said.get("MessageStatus", "")
        return Verified(f"{sid}:{status}" if sid else f"sig:{given}", keep=bool(sid))

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read a stored call: one event. Raises InputError where it cannot be read."""
        said = dict(_fields(call.body))
        status = said.get("MessageStatus") or ""
        if status and status != "received":
            return [_status(said, status, call)]
        return [self._from_reader(said, call.received_at)]

    def follow_up(self, call: WebhookCall) -> None:
        """Nothing is left to do."""

    def _from_reader(self, said: Mapping[str, str], at: datetime) -> Event:
        """Read a message to us. What a reader writes besides the words that end messages is kept, for people."""
        word = (text(said.get("Body")) or "").casefold().strip(" .!\"'")
        opts = (said.get("OptOutType") or "").upper()  # with Advanced Opt-Out, in any language
        kind = Kind.UNKNOWN
        if opts == "STOP" or word in self._stop_words:
            kind = Kind.UNSUBSCRIBED
        elif opts == "START" or word in START_WORDS:
            kind = Kind.SUBSCRIBED
        return Event(
            kind,
            at,
            recipient=ident(said.get("From")),
            event_id=ident(said.get("MessageSid")) or "",
            text=text(said.get("Body")),
            raw=said,
        )


def _status(said: Mapping[str, str], status: str, call: WebhookCall) -> Event:
    kind = STATUSES.get(status, Kind.UNKNOWN)
    bounce: Literal["hard", "soft"] | None = None
    reason: BounceReason | None = None
    if kind in (Kind.BOUNCED, Kind.FAILED):
        otherwise: _Told = (
            kind,
            "soft" if kind is Kind.BOUNCED else None,
            BounceReason.OTHER,
        )
        kind, bounce, reason = CODES.get(said.get("ErrorCode") or "", otherwise)
    sid = ident(said.get("MessageSid"))
    words = " ".join(filter(None, (status, said.get("ErrorCode"), said.get("ErrorMessage"))))
    return Event(
        kind,
        call.received_at,
        recipient=ident(said.get("To")),
        event_id=f"{sid}:{status}" if sid else "",
        token=ident(next(iter(parse_qs(urlsplit(call.url).query).get("drumbeat", ())), None)),
        remote_id=sid,
        bounce=bounce,
        reason=reason,
        text=text(words),
        raw=said,
    )


def signature(token: bytes, url: str, fields: Sequence[tuple[str, str]]) -> str:
    """Return what X-Twilio-Signature must be for a call's URL and form."""
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    return b64encode(hmac.new(token, signed.encode("utf-8", "replace"), sha1).digest()).decode()


def _fields(body: bytes) -> list[tuple[str, str]]:
    """Return a form's fields. Raises InputError for what is no form."""
    try:
        return parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="replace", max_num_fields=MOST_FIELDS
        )
    except (ValueError, UnicodeDecodeError):
        raise InputError("the call's body cannot be read; expected a form in UTF-8") from None


def _with_and_without_port(url: str) -> Sequence[str]:
    parts = urlsplit(url)
    standard = {"https": 443, "http": 80}.get(parts.scheme)
    try:
        port = parts.port
    except ValueError:
        return (url,)
    if standard is None or port not in (None, standard):
        return (url,)
    host = parts.netloc.removesuffix(f":{standard}")
    rest = url[len(f"{parts.scheme}://{parts.netloc}") :]
    return (f"{parts.scheme}://{host}{rest}", f"{parts.scheme}://{host}:{standard}{rest}")
