"""What Resend tells, in the shapes of its documentation, signed for real."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.resend import ResendSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Forged, Stale, WebhookCall
from drumbeat.responses.webhooks.providers import WEBHOOKS
from drumbeat.responses.webhooks.resend import BOUNCES, TYPES, ResendWebhook

NOW = datetime(2026, 11, 22, 23, 42, tzinfo=UTC)
KEY = b"0123456789abcdef01234567"
SECRET = "whsec_" + b64encode(KEY).decode()
EMAIL = "56761188-7520-42d8-8898-ff6fc54ce618"

DATA = {
    "created_at": "2026-11-22T23:41:11.894Z",
    "email_id": EMAIL,
    "message_id": "<k1@shop.example.com>",
    "from": "Shop <shop@example.com>",
    "to": ["Reader@example.com"],
    "subject": "Your cart",
    "tags": {"drumbeat": TOKEN, "campaign": "abandoned_cart"},
}


def event_of(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "created_at": "2026-11-22T23:41:12.126Z", "data": {**DATA, **data}}


BOUNCE = event_of(
    "email.bounced",
    bounce={
        "type": "Permanent",
        "subType": "General",
        "message": "The recipient's email provider sent a hard bounce message.",
        "diagnosticCode": ["smtp; 550 5.1.1 no such user"],
    },
)
CLICK = event_of(
    "email.clicked",
    click={
        "ipAddress": "122.115.53.11",
        "link": "https://shop.example.com/" + "a" * 900,
        "timestamp": "2026-11-22T23:41:12.126Z",
        "userAgent": "Mozilla/5.0 (Macintosh)",
    },
)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> ResendWebhook:
    monkeypatch.setenv("RESEND_WEBHOOK_SECRET", SECRET)
    return ResendWebhook(ResendSettings())


def signature(identity: str, moment: str, body: bytes, key: bytes = KEY) -> str:
    """Sign as https://docs.svix.com/receiving/verifying-payloads/how-manual says."""
    return "v1," + b64encode(hmac.digest(key, f"{identity}.{moment}.".encode() + body, "sha256")).decode()


def call(
    content: Any, *, at: datetime = NOW, key: bytes = KEY, prefix: str = "svix", **changed: str
) -> WebhookCall:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    moment = str(int(at.timestamp()))
    parts = {"id": "msg_1", "timestamp": moment, "signature": signature("msg_1", moment, body, key)} | changed
    return WebhookCall({f"{prefix}-{name}": value for name, value in parts.items() if value}, body, NOW)


def read(webhook: ResendWebhook, content: Any) -> Event:
    verified = webhook.verify(call(content))
    assert (verified.keep, verified.replay_key) == (True, "msg_1")
    (event,) = webhook.events(call(content))
    assert event.raw == content
    assert event.event_id == "msg_1"
    return event


def test_the_signature_in_svixs_own_example_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of the page "Verifying webhooks manually"."""
    monkeypatch.setenv("RESEND_WEBHOOK_SECRET", "whsec_plJ3nmyCDGBKInavdOK15jsl")
    headers = {
        "svix-id": "msg_loFOjxBNrRLzqYUf",
        "svix-timestamp": "1731705121",
        "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }
    body = b'{"event_type":"ping","data":{"success":true}}'
    given = WebhookCall(headers, body, datetime.fromtimestamp(1731705121, UTC))
    assert ResendWebhook(ResendSettings()).verify(given).replay_key == "msg_loFOjxBNrRLzqYUf"


def test_the_standards_header_names_will_do(webhook: ResendWebhook) -> None:
    assert webhook.verify(call(BOUNCE, prefix="webhook")).replay_key == "msg_1"


def test_one_of_several_signatures_is_enough(webhook: ResendWebhook) -> None:
    body = json.dumps(BOUNCE).encode()
    moment = str(int(NOW.timestamp()))
    several = f"v1,{'A' * 43}= v2,x {signature('msg_1', moment, body)}"
    assert webhook.verify(call(BOUNCE, signature=several)).keep


@pytest.mark.parametrize("missing", ["id", "timestamp", "signature"])
def test_a_call_without_one_of_its_three_headers_is_refused(webhook: ResendWebhook, missing: str) -> None:
    with pytest.raises(Forged, match="not signed"):
        webhook.verify(call(BOUNCE, **{missing: ""}))


def test_a_call_that_was_altered_anywhere_is_refused(webhook: ResendWebhook) -> None:
    genuine = call(BOUNCE)
    moment = int(genuine.headers["svix-timestamp"])
    forged = [
        call(BOUNCE, key=b"another"),
        WebhookCall(genuine.headers, genuine.body + b" ", NOW),
        WebhookCall(genuine.headers, genuine.body.replace(b"Permanent", b"Transient"), NOW),
        WebhookCall({**genuine.headers, "svix-id": "msg_2"}, genuine.body, NOW),
        WebhookCall({**genuine.headers, "svix-timestamp": str(moment + 1)}, genuine.body, NOW),
        call(BOUNCE, signature=genuine.headers["svix-signature"].removeprefix("v1,")),
        call(BOUNCE, signature=genuine.headers["svix-signature"].replace("v1,", "v1a,")),
        call(BOUNCE, signature="v1,ü"),
        call(BOUNCE, signature=","),
    ]
    for one in forged:
        with pytest.raises(Forged, match="signature is wrong"):
            webhook.verify(one)


@pytest.mark.parametrize("apart", [timedelta(minutes=-5, seconds=-1), timedelta(minutes=5, seconds=1)])
def test_a_call_signed_more_than_five_minutes_from_now_is_stale(
    webhook: ResendWebhook, apart: timedelta
) -> None:
    with pytest.raises(Stale, match="was signed at"):
        webhook.verify(call(BOUNCE, at=NOW + apart))
    assert webhook.verify(call(BOUNCE, at=NOW + apart * 0.98)).keep


@pytest.mark.parametrize("moment", ["never", "1e400", "-1", "9" * 400, "٣"])
def test_a_signed_time_that_is_none_is_stale(webhook: ResendWebhook, moment: str) -> None:
    body = json.dumps(BOUNCE).encode()
    with pytest.raises(Stale):
        webhook.verify(call(BOUNCE, timestamp=moment, signature=signature("msg_1", moment, body)))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64", "re_123456789"])
def test_a_secret_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("RESEND_WEBHOOK_SECRET", secret)
    with pytest.raises(DeliveryError, match="RESEND_WEBHOOK_SECRET"):
        WEBHOOKS["resend"](ResendSettings())


KINDS = {
    "email.scheduled": Kind.QUEUED,
    "email.sent": Kind.SENT,
    "email.delivered": Kind.DELIVERED,
    "email.delivery_delayed": Kind.DEFERRED,
    "email.bounced": Kind.BOUNCED,
    "email.suppressed": Kind.REJECTED,
    "email.failed": Kind.FAILED,
    "email.complained": Kind.COMPLAINED,
    "email.opened": Kind.OPENED,
    "email.clicked": Kind.CLICKED,
    "email.received": Kind.UNKNOWN,
    "contact.created": Kind.UNKNOWN,
    "contact.updated": Kind.UNKNOWN,
    "contact.deleted": Kind.UNKNOWN,
    "domain.created": Kind.UNKNOWN,
    "domain.updated": Kind.UNKNOWN,
    "domain.deleted": Kind.UNKNOWN,
    "suppression.added": Kind.UNKNOWN,
    "suppression.removed": Kind.UNKNOWN,
    "email.of_tomorrow": Kind.UNKNOWN,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_documented_type_has_its_word(webhook: ResendWebhook, kind: str) -> None:
    event = read(webhook, event_of(kind))
    assert event.kind is KINDS[kind]
    assert event.at == datetime(2026, 11, 22, 23, 41, 12, 126000, tzinfo=UTC)
    assert (event.token, event.remote_id, event.recipient) == (TOKEN, EMAIL, "Reader@example.com")
    assert event.message_id == "<k1@shop.example.com>"


def test_no_type_of_the_table_is_left_out_above() -> None:
    assert set(TYPES) <= set(KINDS)


def test_a_hard_bounce_has_the_servers_words_and_status(webhook: ResendWebhook) -> None:
    event = read(webhook, BOUNCE)
    assert (event.bounce, event.reason, event.status) == ("hard", BounceReason.USER_UNKNOWN, "5.1.1")
    assert event.text == "smtp; 550 5.1.1 no such user"


SUBTYPES = {
    ("Permanent", "General"): (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),
    ("Permanent", "NoEmail"): (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN),
    ("Permanent", "Suppressed"): (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    ("Permanent", "OnAccountSuppressionList"): (Kind.REJECTED, None, BounceReason.UNSUBSCRIBED),
    ("Transient", "General"): (Kind.BOUNCED, "soft", BounceReason.OTHER),
    ("Transient", "MailboxFull"): (Kind.BOUNCED, "soft", BounceReason.MAILBOX_FULL),
    ("Transient", "MessageTooLarge"): (Kind.BOUNCED, "soft", BounceReason.MESSAGE_TOO_BIG),
    ("Transient", "ContentRejected"): (Kind.BOUNCED, "soft", BounceReason.CONTENT),
    ("Transient", "AttachmentRejected"): (Kind.BOUNCED, "soft", BounceReason.CONTENT),
    ("Temporary", "MessageRejected"): (Kind.BOUNCED, "soft", BounceReason.POLICY),
    ("Temporary", "General"): (Kind.BOUNCED, "soft", BounceReason.OTHER),
    ("Undetermined", "Undetermined"): (Kind.BOUNCED, "soft", BounceReason.OTHER),
    ("OfTomorrow", "OfTomorrow"): (Kind.BOUNCED, "soft", BounceReason.OTHER),
    (None, None): (Kind.BOUNCED, "soft", BounceReason.OTHER),
}


@pytest.mark.parametrize("pair", SUBTYPES)
def test_every_documented_bounce_is_hard_or_soft_and_has_a_reason(webhook: ResendWebhook, pair: Any) -> None:
    event = read(
        webhook, event_of("email.bounced", bounce={"type": pair[0], "subType": pair[1], "message": "m"})
    )
    assert (event.kind, event.bounce, event.reason) == SUBTYPES[pair]


def test_no_bounce_of_the_table_is_left_out_above() -> None:
    assert set(BOUNCES) <= {str(subtype) for _, subtype in SUBTYPES}


def test_a_click_has_its_whole_link_agent_and_address(webhook: ResendWebhook) -> None:
    event = read(webhook, CLICK)
    assert event.url == CLICK["data"]["click"]["link"]
    assert (event.agent, event.ip) == ("Mozilla/5.0 (Macintosh)", "122.115.53.11")
    assert event.machine is None


def test_what_resend_kept_back_or_could_not_send_says_why(webhook: ResendWebhook) -> None:
    kept = read(
        webhook, event_of("email.suppressed", suppressed={"message": "On the list.", "type": "account"})
    )
    assert (kept.reason, kept.text, kept.bounce) == (BounceReason.UNSUBSCRIBED, "On the list.", None)
    assert read(webhook, event_of("email.failed", failed={"reason": "reached_daily_quota"})).text == (
        "reached_daily_quota"
    )


def test_a_contact_who_unsubscribed_at_resend_has_unsubscribed(webhook: ResendWebhook) -> None:
    contact = {"id": "e1", "email": "reader@example.com", "unsubscribed": True}
    event = read(webhook, {"type": "contact.updated", "created_at": "2026-11-22T23:41:12Z", "data": contact})
    assert (event.kind, event.recipient, event.token) == (Kind.UNSUBSCRIBED, "reader@example.com", None)
    contact["unsubscribed"] = False
    assert read(webhook, {"type": "contact.updated", "data": contact}).kind is Kind.UNKNOWN


def test_tags_may_stand_as_they_were_sent(webhook: ResendWebhook) -> None:
    tags = [{"name": "campaign", "value": "c"}, {"name": "drumbeat", "value": TOKEN}]
    assert read(webhook, event_of("email.opened", tags=tags)).token == TOKEN


def test_a_time_that_cannot_be_read_is_that_of_the_call(webhook: ResendWebhook) -> None:
    for odd in (None, "yesterday", "2096-01-01T00:00:00Z", 0):
        assert read(webhook, {**event_of("email.sent"), "created_at": odd}).at == NOW


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[" * 9999, b"\xff", b"1", b'"x"', b'{"a": NaN}'])
def test_a_signed_body_that_is_no_event_is_one_line(webhook: ResendWebhook, body: bytes) -> None:
    assert webhook.verify(call(body)).keep
    with pytest.raises(InputError, match="the call's body"):
        webhook.events(call(body))


def test_no_value_anywhere_is_a_crash(webhook: ResendWebhook) -> None:
    for sample in (
        BOUNCE,
        CLICK,
        event_of("email.failed", failed={"reason": "r"}, tags=[{"name": "a", "value": "b"}]),
    ):
        for odd in mangled(sample):
            line = told(webhook, call(odd))
            assert "\x00" not in line
            assert "\ud800" not in line


def test_a_giant_call_is_read(webhook: ResendWebhook) -> None:
    event = event_of("email.bounced", bounce={"message": "x" * 3_000_000}, padding=["y" * 1000] * 1000)
    (found,) = webhook.events(call(event))
    assert webhook.verify(call(event)).keep
    assert len(found.text or "") <= 1000
