"""What Brevo tells of transactional mail, in the shapes of its documentation."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.brevo import BrevoSettings
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, WebhookCall
from drumbeat.responses.webhooks.brevo import EVENTS, BrevoWebhook

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
AT = datetime(2026, 11, 24, 11, 58, 20, tzinfo=UTC)
SECONDS = int(AT.timestamp())

PAYLOAD = {
    "event": "delivered",
    "email": "reader@example.com",
    "id": 26224,
    "date": "2026-11-24 12:58:20",
    "ts": SECONDS,
    "message-id": "<201798300811.5787683@smtp-relay.mailin.fr>",
    "ts_event": SECONDS,
    "subject": "My first Transactional",
    "X-Mailin-custom": json.dumps({"drumbeat": TOKEN}),
    "sending_ip": "185.41.28.109",
    "ts_epoch": SECONDS * 1000,
    "template_id": 22,
    "mirror_link": "https://app-smtp.brevo.com/log/preview/1a2000f4",
    "contact_id": 8,
    "tags": ["cart"],
}


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> BrevoWebhook:
    monkeypatch.setenv("BREVO_WEBHOOK_TOKEN", "t0ken")
    return BrevoWebhook(BrevoSettings())


def call(content: Any) -> WebhookCall:
    return WebhookCall({"authorization": "Bearer t0ken"}, json.dumps(content).encode(), NOW)


def read(webhook: BrevoWebhook, **changes: Any) -> Event:
    content = {**PAYLOAD, **changes}
    assert webhook.verify(call(content)).keep
    (event,) = webhook.events(call(content))
    assert event.raw == content
    assert event.token == TOKEN
    assert event.recipient == "reader@example.com"
    assert event.event_id == "", "id names the webhook"
    return event


def test_delivered(webhook: BrevoWebhook) -> None:
    event = read(webhook)
    assert event.kind is Kind.DELIVERED
    assert event.at == AT
    assert event.remote_id == "201798300811.5787683@smtp-relay.mailin.fr"


EXPECTED: dict[str, tuple[Kind, str | None, BounceReason | None]] = {
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


@pytest.mark.parametrize("name", [*EXPECTED, "list_addition", "something_new"])
def test_every_event(webhook: BrevoWebhook, name: str) -> None:
    event = read(webhook, event=name)
    assert (event.kind, event.bounce, event.reason) == EXPECTED.get(name, (Kind.UNKNOWN, None, None))


def test_no_event_is_forgotten() -> None:
    assert set(EVENTS) == set(EXPECTED)


def test_a_proxys_open_is_a_machines_and_a_readers_is_not(webhook: BrevoWebhook) -> None:
    assert read(webhook, event="unique_proxy_open").machine == "proxy_open"
    assert read(webhook, event="proxy_open").machine == "proxy_open"
    assert read(webhook, event="unique_opened").machine is None


def test_a_click_has_its_link_and_agent(webhook: BrevoWebhook) -> None:
    event = read(webhook, event="click", link="https://example.com/?a=b", user_agent="Mozilla/5.0 (X11)")
    assert (event.url, event.agent) == ("https://example.com/?a=b", "Mozilla/5.0 (X11)")


def test_a_bounce_has_the_servers_words(webhook: BrevoWebhook) -> None:
    event = read(webhook, event="hard_bounce", reason=" RecipientError: 550 5.5.0\nmailbox unavailable.")
    assert event.status == "5.5.0"
    assert event.text == "RecipientError: 550 5.5.0 mailbox unavailable."


@pytest.mark.parametrize(
    ("times", "at"),
    [
        ({"ts_epoch": SECONDS}, AT),  # in seconds, as in the documentation's examples
        ({"ts_epoch": SECONDS * 1000, "ts_event": SECONDS - 9 * 3600, "ts": SECONDS - 9 * 3600}, AT),
        ({"ts_epoch": SECONDS * 1000, "ts_event": SECONDS + 3600, "ts": SECONDS + 3600}, AT),
        ({"ts_epoch": (SECONDS - 40 * 86400) * 1000}, AT),  # the time of sending, under an open long after
        ({"ts_epoch": None, "ts_event": None, "ts": None}, NOW),
        ({"ts_epoch": "x", "ts_event": [], "ts": SECONDS}, AT),
        ({"ts_epoch": 10**400, "ts_event": SECONDS}, AT),
    ],
)
def test_the_event_was_at_the_latest_of_its_times_that_is_not_to_come(
    webhook: BrevoWebhook, times: dict[str, Any], at: datetime
) -> None:
    assert read(webhook, **times).at == at


def test_an_open_long_after_the_mail_is_not_stale(webhook: BrevoWebhook) -> None:
    old = NOW - timedelta(days=60)
    assert webhook.verify(call({**PAYLOAD, "ts_epoch": int(old.timestamp() * 1000)})).keep


def test_a_batch_of_events_is_read_in_its_order(webhook: BrevoWebhook) -> None:
    batch = [{**PAYLOAD, "event": name} for name in ("request", "delivered", "opened")]
    assert webhook.verify(call(batch)).keep
    assert [event.kind for event in webhook.events(call(batch))] == [Kind.QUEUED, Kind.DELIVERED, Kind.OPENED]


def test_a_mail_of_others_has_no_token(webhook: BrevoWebhook) -> None:
    for custom in ("some_custom_header", '{"drumbeat": 5.5}', '["drumbeat"]', '{"other": "x"}'):
        (event,) = webhook.events(call({**PAYLOAD, "X-Mailin-custom": custom}))
        assert event.token is None


def test_no_value_of_any_type_crashes_anything(webhook: BrevoWebhook) -> None:
    for content in (PAYLOAD, [PAYLOAD, {**PAYLOAD, "event": "hard_bounce", "reason": "550 5.1.1 no"}]):
        for odd in mangled(content):
            words = told(webhook, call(odd))
            assert words.isprintable()
            words.encode()
