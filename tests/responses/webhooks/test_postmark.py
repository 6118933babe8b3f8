"""What Postmark tells, in the shapes of its documentation."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.postmark import PostmarkSettings
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, WebhookCall
from drumbeat.responses.webhooks.postmark import BOUNCE_TYPES, TYPE_CODES, PostmarkWebhook

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ID = "883953f4-6105-42a2-a16a-77a8eac79483"
COMMON = {
    "MessageID": ID,
    "ServerID": 23,
    "MessageStream": "broadcast",
    "Tag": "cart",
    "Metadata": {"drumbeat": TOKEN},
}

DELIVERY = {
    **COMMON,
    "RecordType": "Delivery",
    "Recipient": "john@example.com",
    "DeliveredAt": "2026-11-24T11:33:54.9070259Z",
    "Details": "smtp;250 2.0.0 OK accepted",
}
BOUNCE = {
    **COMMON,
    "RecordType": "Bounce",
    "ID": 4323372036854775807,
    "Type": "HardBounce",
    "TypeCode": 1,
    "Name": "Hard bounce",
    "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
    "Details": "smtp;550 5.1.1 The email account that you tried to reach does not exist.",
    "Email": "john@example.com",
    "From": "sender@example.com",
    "BouncedAt": "2026-11-24T06:33:54.2735393-05:00",
    "DumpAvailable": True,
    "Inactive": True,
    "CanActivate": True,
    "Subject": "Test subject",
    "Content": "<Full dump of bounce>",
}
COMPLAINT = {
    **BOUNCE,
    "RecordType": "SpamComplaint",
    "Type": "SpamComplaint",
    "TypeCode": 100001,
    "Details": "",
    "Description": "",
}
OPEN = {
    **COMMON,
    "RecordType": "Open",
    "FirstOpen": True,
    "Client": {"Name": "Chrome 35.0.1916.153", "Company": "Google", "Family": "Chrome"},
    "OS": {"Name": "OS X 10.7 Lion", "Company": "Apple Computer, Inc.", "Family": "OS X 10"},
    "Platform": "WebMail",
    "UserAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_7_5) Chrome/35.0.1916.153",
    "Geo": {"CountryISOCode": "RS", "City": "Novi Sad", "Coords": "45.2517,19.8369", "IP": "188.2.95.4"},
    "ReceivedAt": "2026-11-24T11:58:00Z",
    "Recipient": "john@example.com",
}
CLICK = {
    **OPEN,
    "RecordType": "Click",
    "ClickLocation": "HTML",
    "OriginalLink": "https://example.com/" + "a" * 900,
}
CHANGE = {
    **COMMON,
    "RecordType": "SubscriptionChange",
    "ChangedAt": "2026-11-24T10:53:34.416071Z",
    "Recipient": "john@example.com",
    "Origin": "Recipient",
    "SuppressSending": True,
    "SuppressionReason": "ManualSuppression",
}


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> PostmarkWebhook:
    monkeypatch.setenv("POSTMARK_WEBHOOK_USERNAME", "hooks")
    monkeypatch.setenv("POSTMARK_WEBHOOK_PASSWORD", "secret")
    return PostmarkWebhook(PostmarkSettings())


def call(content: Any) -> WebhookCall:
    basic = "Basic " + b64encode(b"hooks:secret").decode()
    return WebhookCall({"authorization": basic}, json.dumps(content).encode(), NOW)


def read(webhook: PostmarkWebhook, content: Any) -> Event:
    assert webhook.verify(call(content)).keep
    (event,) = webhook.events(call(content))
    assert event.raw == content
    assert (event.token, event.remote_id, event.recipient) == (TOKEN, ID, "john@example.com")
    return event


def test_delivery(webhook: PostmarkWebhook) -> None:
    event = read(webhook, DELIVERY)
    assert event.kind is Kind.DELIVERED
    assert event.at == datetime(2026, 11, 24, 11, 33, 54, 907025, tzinfo=UTC)
    assert event.status == "2.0.0"
    assert event.text == "smtp;250 2.0.0 OK accepted"
    assert (event.bounce, event.reason, event.event_id) == (None, None, "")


def test_hard_bounce(webhook: PostmarkWebhook) -> None:
    event = read(webhook, BOUNCE)
    assert (event.kind, event.bounce, event.reason) == (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN)
    assert event.at == datetime(2026, 11, 24, 11, 33, 54, 273539, tzinfo=UTC)
    assert event.status == "5.1.1"
    assert event.event_id == "4323372036854775807"


EXPECTED = {
    "HardBounce": (Kind.BOUNCED, "hard"),
    "Transient": (Kind.DEFERRED, None),
    "Unsubscribe": (Kind.UNSUBSCRIBED, None),
    "Subscribe": (Kind.SUBSCRIBED, None),
    "AutoResponder": (Kind.AUTORESPONDED, None),
    "AddressChange": (Kind.AUTORESPONDED, None),
    "DnsError": (Kind.DEFERRED, None),
    "SpamNotification": (Kind.BOUNCED, "soft"),
    "OpenRelayTest": (Kind.UNKNOWN, None),
    "Unknown": (Kind.UNKNOWN, None),
    "SoftBounce": (Kind.BOUNCED, "soft"),
    "VirusNotification": (Kind.BOUNCED, "soft"),
    "ChallengeVerification": (Kind.AUTORESPONDED, None),
    "BadEmailAddress": (Kind.REJECTED, "hard"),
    "SpamComplaint": (Kind.COMPLAINED, None),
    "ManuallyDeactivated": (Kind.REJECTED, None),
    "Unconfirmed": (Kind.REJECTED, None),
    "Blocked": (Kind.BOUNCED, "soft"),
    "SMTPApiError": (Kind.FAILED, None),
    "InboundError": (Kind.UNKNOWN, None),
    "DMARCPolicy": (Kind.BOUNCED, "soft"),
    "TemplateRenderingFailed": (Kind.FAILED, None),
    "SomethingNew": (Kind.BOUNCED, "soft"),
}


@pytest.mark.parametrize("kind", list(EXPECTED))
def test_every_documented_type_of_bounce(webhook: PostmarkWebhook, kind: str) -> None:
    event = read(webhook, {**BOUNCE, "Type": kind, "TypeCode": 0})
    assert (event.kind, event.bounce) == EXPECTED[kind]


def test_no_type_is_forgotten_and_each_has_its_number() -> None:
    assert set(BOUNCE_TYPES) == set(EXPECTED) - {"SomethingNew"}
    assert sorted(TYPE_CODES.values()) == sorted(BOUNCE_TYPES)


def test_the_number_of_a_type_will_do(webhook: PostmarkWebhook) -> None:
    for code, kind in TYPE_CODES.items():
        content = {key: value for key, value in BOUNCE.items() if key != "Type"}
        event = read(webhook, {**content, "TypeCode": code})
        assert (event.kind, event.bounce) == EXPECTED[kind]


def test_complaint(webhook: PostmarkWebhook) -> None:
    event = read(webhook, COMPLAINT)
    assert event.kind is Kind.COMPLAINED
    assert event.bounce is None


def test_open(webhook: PostmarkWebhook) -> None:
    event = read(webhook, OPEN)
    assert event.kind is Kind.OPENED
    assert event.agent is not None
    assert event.agent.startswith("Mozilla/5.0 (Macintosh")
    assert event.ip == "188.2.95.4"


def test_click_with_the_whole_link(webhook: PostmarkWebhook) -> None:
    event = read(webhook, CLICK)
    assert event.kind is Kind.CLICKED
    assert event.url == CLICK["OriginalLink"]


@pytest.mark.parametrize(
    ("changes", "kind", "bounce"),
    [
        ({}, Kind.UNSUBSCRIBED, None),
        ({"Origin": "Customer"}, Kind.UNSUBSCRIBED, None),
        ({"SuppressionReason": "HardBounce"}, Kind.BOUNCED, "hard"),
        ({"SuppressionReason": "SpamComplaint"}, Kind.COMPLAINED, None),
        ({"SuppressionReason": "SomethingNew"}, Kind.UNSUBSCRIBED, None),
        ({"SuppressSending": False, "SuppressionReason": None}, Kind.SUBSCRIBED, None),
        ({"SuppressSending": False, "SuppressionReason": None, "Origin": "Admin"}, Kind.UNKNOWN, None),
        ({"SuppressSending": "x", "SuppressionReason": 5}, Kind.UNKNOWN, None),
    ],
)
def test_change_of_a_subscription(
    webhook: PostmarkWebhook, changes: dict[str, Any], kind: Kind, bounce: str | None
) -> None:
    event = read(webhook, {**CHANGE, **changes})
    assert (event.kind, event.bounce) == (kind, bounce)


def test_what_is_unknown_is_kept(webhook: PostmarkWebhook) -> None:
    event = read(webhook, {**DELIVERY, "RecordType": "SMTPApiError"})
    assert event.kind is Kind.UNKNOWN


def test_a_bounce_is_known_by_its_id_even_where_its_text_differs(webhook: PostmarkWebhook) -> None:
    one = webhook.verify(call(BOUNCE)).replay_key
    assert webhook.verify(call({**BOUNCE, "Content": "another dump"})).replay_key == one
    assert webhook.verify(call({**BOUNCE, "ID": 5})).replay_key != one
    assert webhook.verify(call(COMPLAINT)).replay_key != one


def test_no_value_of_any_type_crashes_anything(webhook: PostmarkWebhook) -> None:
    for content in (DELIVERY, BOUNCE, OPEN, CHANGE):
        for odd in mangled(content):
            words = told(webhook, call(odd))
            assert words.isprintable()
            words.encode()
