"""What Mailjet tells, in the shapes of its documentation."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.mailjet import MailjetSettings
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, WebhookCall
from drumbeat.responses.webhooks.mailjet import ERRORS, EVENTS, MailjetWebhook

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
AT = datetime(2026, 11, 24, 11, 58, 20, tzinfo=UTC)

COMMON = {
    "time": int(AT.timestamp()),
    "MessageID": 19421777835146490,
    "Message_GUID": "1ab23cd4-e567-8901-2345-6789f0gh1i2j",
    "email": "reader@example.com",
    "mj_campaign_id": 7257,
    "mj_contact_id": 4,
    "customcampaign": "cart",
    "CustomID": TOKEN,
    "Payload": "",
}
SENT = {
    **COMMON,
    "event": "sent",
    "mj_message_id": "19421777835146490",
    "smtp_reply": "sent (250 2.0.0 OK 1433333948 fa5si855896wjc.199 - gsmtp)",
}
OPEN = {
    **COMMON,
    "event": "open",
    "ip": "127.0.0.1",
    "geo": "US",
    "agent": "Mozilla/5.0 (Windows NT 5.1) Firefox/11",
}
CLICK = {**OPEN, "event": "click", "url": "https://example.com/?a=b"}
BOUNCE = {
    **COMMON,
    "event": "bounce",
    "blocked": False,
    "hard_bounce": True,
    "error_related_to": "recipient",
    "error": "user unknown",
    "comment": "550 5.1.1 The account does not exist",
}
BLOCKED = {**COMMON, "event": "blocked", "error_related_to": "mailjet", "error": "preblocked"}
SPAM = {**COMMON, "event": "spam", "source": "JMRPP"}
UNSUB = {**OPEN, "event": "unsub", "mj_list_id": 1}


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> MailjetWebhook:
    monkeypatch.setenv("MAILJET_WEBHOOK_USERNAME", "hooks")
    monkeypatch.setenv("MAILJET_WEBHOOK_PASSWORD", "secret")
    return MailjetWebhook(MailjetSettings())


def call(content: Any) -> WebhookCall:
    basic = "Basic " + b64encode(b"hooks:secret").decode()
    return WebhookCall({"authorization": basic}, json.dumps(content).encode(), NOW)


def read(webhook: MailjetWebhook, content: dict[str, Any], **changes: Any) -> Event:
    content = {**content, **changes}
    assert webhook.verify(call(content)).keep
    (event,) = webhook.events(call(content))
    assert event.raw == content
    assert (event.token, event.remote_id) == (TOKEN, "19421777835146490")
    assert (event.recipient, event.at) == ("reader@example.com", AT)
    return event


def test_sent_says_that_the_readers_server_took_it(webhook: MailjetWebhook) -> None:
    event = read(webhook, SENT)
    assert event.kind is Kind.DELIVERED
    assert event.status == "2.0.0"


@pytest.mark.parametrize(
    ("content", "kind"),
    [(OPEN, Kind.OPENED), (CLICK, Kind.CLICKED), (SPAM, Kind.COMPLAINED), (UNSUB, Kind.UNSUBSCRIBED)],
)
def test_what_readers_do(webhook: MailjetWebhook, content: dict[str, Any], kind: Kind) -> None:
    event = read(webhook, content)
    assert event.kind is kind
    assert (event.bounce, event.reason) == (None, None)
    assert event.url == content.get("url")
    assert event.agent == content.get("agent")
    assert event.ip == content.get("ip")


def test_no_event_is_forgotten() -> None:
    assert set(EVENTS) == {"sent", "open", "click", "bounce", "blocked", "spam", "unsub"}


HARD = {"user unknown", "mailbox inactive", "invalid domain", "no mail host", "typofix"}


@pytest.mark.parametrize("error", list(ERRORS))
@pytest.mark.parametrize("flag", [True, False])
def test_a_bounce_is_hard_where_mailjet_says_so_and_the_address_is_why(
    webhook: MailjetWebhook, error: str, flag: bool
) -> None:
    event = read(webhook, BOUNCE, error=error, hard_bounce=flag)
    if error == "greylisted":
        assert (event.kind, event.bounce) == (Kind.DEFERRED, None)
    else:
        assert (event.kind, event.bounce) == (Kind.BOUNCED, "hard" if flag and error in HARD else "soft")
    assert event.reason is ERRORS[error]


def test_reasons_are_those_one_expects(webhook: MailjetWebhook) -> None:
    assert read(webhook, BOUNCE).reason is BounceReason.USER_UNKNOWN
    assert read(webhook, BOUNCE, error="quota exceeded").reason is BounceReason.MAILBOX_FULL
    assert read(webhook, BOUNCE, error="Content Blocked").reason is BounceReason.SPAM
    assert read(webhook, BOUNCE, error="something new").reason is BounceReason.OTHER
    assert read(webhook, BOUNCE).status == "5.1.1"


def test_a_bounce_without_an_error_is_as_hard_as_its_flag(webhook: MailjetWebhook) -> None:
    assert read(webhook, BOUNCE, error="", comment="").bounce == "hard"
    assert read(webhook, BOUNCE, error=None, hard_bounce="true").bounce == "soft"


@pytest.mark.parametrize(
    ("error", "bounce", "reason"),
    [
        ("preblocked", None, BounceReason.UNSUBSCRIBED),
        ("spam reporter", None, BounceReason.UNSUBSCRIBED),
        ("duplicate in campaign", None, BounceReason.OTHER),
        ("user unknown", "hard", BounceReason.USER_UNKNOWN),
        ("typofix", "hard", BounceReason.HOST_UNKNOWN),
    ],
)
def test_blocked(webhook: MailjetWebhook, error: str, bounce: str | None, reason: BounceReason) -> None:
    event = read(webhook, BLOCKED, error=error)
    assert (event.kind, event.bounce, event.reason) == (Kind.REJECTED, bounce, reason)


def test_a_group_of_mixed_events_is_read_in_its_order(webhook: MailjetWebhook) -> None:
    group = [SENT, OPEN, BOUNCE, {**SENT, "event": "new"}]
    assert webhook.verify(call(group)).keep
    kinds = [event.kind for event in webhook.events(call(group))]
    assert kinds == [Kind.DELIVERED, Kind.OPENED, Kind.BOUNCED, Kind.UNKNOWN]


def test_a_message_is_named_by_text_too_and_zero_is_no_name(webhook: MailjetWebhook) -> None:
    (text,) = webhook.events(call({**SENT, "MessageID": "19421777835146490"}))
    (none,) = webhook.events(call({**SENT, "MessageID": 0}))
    assert (text.remote_id, none.remote_id) == ("19421777835146490", None)


def test_the_token_may_come_in_the_payload(webhook: MailjetWebhook) -> None:
    (event,) = webhook.events(call({**SENT, "CustomID": "", "Payload": json.dumps({"drumbeat": TOKEN})}))
    assert event.token == TOKEN


def test_no_value_of_any_type_crashes_anything(webhook: MailjetWebhook) -> None:
    for content in (SENT, [CLICK, BOUNCE], BLOCKED):
        for odd in mangled(content):
            words = told(webhook, call(odd))
            assert words.isprintable()
            words.encode()
