"""What SparkPost tells, in the shapes of its documentation."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.sparkpost import SparkPostSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Forged, Stale, WebhookCall
from drumbeat.responses.webhooks.providers import WEBHOOKS
from drumbeat.responses.webhooks.sparkpost import BOUNCE_CLASSES, TYPES, SparkPostWebhook

NOW = datetime(2016, 6, 2, 0, 0, tzinfo=UTC)
BASIC = {"authorization": "Basic " + b64encode(b"hooks:secret").decode()}
BATCH = {"x-messagesystems-batch-id": "032d330540298f54f0e8bcc1373f3cfd"}

COMMON = {
    "event_id": "84345317653491230",
    "message_id": "0004e3724f57753a3561",
    "transmission_id": "84345317650824116",
    "campaign_id": "abandoned_cart",
    "customer_id": "1",
    "rcpt_meta": {"drumbeat": TOKEN},
    "raw_rcpt_to": "Reader@example.com",
    "rcpt_to": "reader@example.com",
    "timestamp": "1464824548",
}
BOUNCE = {
    **COMMON,
    "type": "bounce",
    "bounce_class": "10",
    "error_code": "550",
    "raw_reason": "550 5.1.1 <Reader@example.com>: Recipient address rejected: User unknown",
    "reason": "550 5.1.1 ...@... Recipient address rejected: ...",
}
OPEN = {
    **COMMON,
    "type": "open",
    "ip_address": "17.58.1.1",
    "user_agent": "Mozilla/5.0",
    "geo_ip": {"country": "US", "latitude": 39.1749},
    "user_agent_parsed": {"agent_family": "Mail", "is_mobile": True, "is_proxy": True, "is_prefetched": True},
}
CLICK = {**OPEN, "type": "click", "target_link_url": "https://shop.example.com/" + "a" * 900}

CLASSES = {"bounce": "message_event", "open": "track_event", "click": "track_event"}


def entry(said: Any, event_class: str = "message_event") -> dict[str, Any]:
    return {"msys": {event_class: said}}


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> SparkPostWebhook:
    monkeypatch.setenv("SPARKPOST_WEBHOOK_USERNAME", "hooks")
    monkeypatch.setenv("SPARKPOST_WEBHOOK_PASSWORD", "secret")
    return SparkPostWebhook(SparkPostSettings())


def call(content: Any, headers: dict[str, str] | None = None) -> WebhookCall:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return WebhookCall(BASIC | BATCH if headers is None else headers, body, NOW)


def read(webhook: SparkPostWebhook, said: Any, event_class: str = "message_event") -> Event:
    batch = [entry(said, event_class)]
    assert webhook.verify(call(batch)).keep
    (event,) = webhook.events(call(batch))
    assert event.raw == batch[0]
    assert (event.token, event.remote_id) == (TOKEN, "84345317650824116")
    assert (event.recipient, event.event_id) == ("Reader@example.com", "84345317653491230")
    assert event.at == datetime(2016, 6, 1, 23, 42, 28, tzinfo=UTC)
    return event


KINDS = {
    ("message_event", "injection"): Kind.QUEUED,
    ("message_event", "delivery"): Kind.DELIVERED,
    ("message_event", "delay"): Kind.DEFERRED,
    ("message_event", "bounce"): Kind.BOUNCED,
    ("message_event", "out_of_band"): Kind.BOUNCED,
    ("message_event", "policy_rejection"): Kind.REJECTED,
    ("message_event", "spam_complaint"): Kind.COMPLAINED,
    ("message_event", "sms_status"): Kind.UNKNOWN,
    ("gen_event", "generation_failure"): Kind.FAILED,
    ("gen_event", "generation_rejection"): Kind.REJECTED,
    ("track_event", "initial_open"): Kind.OPENED,
    ("track_event", "open"): Kind.OPENED,
    ("track_event", "amp_initial_open"): Kind.OPENED,
    ("track_event", "amp_open"): Kind.OPENED,
    ("track_event", "click"): Kind.CLICKED,
    ("track_event", "amp_click"): Kind.CLICKED,
    ("unsubscribe_event", "list_unsubscribe"): Kind.UNSUBSCRIBED,
    ("unsubscribe_event", "link_unsubscribe"): Kind.UNSUBSCRIBED,
    ("relay_event", "relay_injection"): Kind.UNKNOWN,
    ("relay_event", "relay_permfail"): Kind.UNKNOWN,
    ("ab_test_event", "ab_test_completed"): Kind.UNKNOWN,
    ("ingest_event", "error"): Kind.UNKNOWN,
    ("message_event", "of_tomorrow"): Kind.UNKNOWN,
}


@pytest.mark.parametrize("pair", KINDS)
def test_every_documented_type_has_its_word(webhook: SparkPostWebhook, pair: tuple[str, str]) -> None:
    event_class, kind = pair
    assert read(webhook, {**COMMON, "type": kind}, event_class).kind is KINDS[pair]


def test_no_type_of_the_table_is_left_out_above() -> None:
    assert set(TYPES) <= {kind for _, kind in KINDS}


def test_a_hard_bounce_has_the_servers_words_and_status(webhook: SparkPostWebhook) -> None:
    event = read(webhook, BOUNCE)
    assert (event.kind, event.bounce, event.reason) == (Kind.BOUNCED, "hard", BounceReason.USER_UNKNOWN)
    assert event.status == "5.1.1"
    assert event.text == BOUNCE["raw_reason"]


HARD, SOFT, NO = (Kind.BOUNCED, "hard"), (Kind.BOUNCED, "soft"), None
EXPECTED: dict[int, tuple[Kind, str | None]] = (
    dict.fromkeys((10, 30), HARD)
    | dict.fromkeys((1, 20, 21, 22, 23, 24, 40, 50, 51, 52, 53, 54, 70), SOFT)
    | {25: (Kind.REJECTED, NO), 60: (Kind.AUTORESPONDED, NO), 100: (Kind.AUTORESPONDED, NO)}
    | {80: (Kind.SUBSCRIBED, NO), 90: (Kind.UNSUBSCRIBED, NO), 999: SOFT}
)


@pytest.mark.parametrize("kind", ["bounce", "out_of_band"])
@pytest.mark.parametrize("number", EXPECTED)
def test_every_bounce_class_is_what_it_means(webhook: SparkPostWebhook, number: int, kind: str) -> None:
    for written in (str(number), number):
        event = read(webhook, {**BOUNCE, "type": kind, "bounce_class": written})
        assert (event.kind, event.bounce) == EXPECTED[number]


def test_no_bounce_class_is_left_out_above() -> None:
    assert set(BOUNCE_CLASSES) == set(EXPECTED) - {999}


def test_what_sparkpost_suppressed_is_told_from_its_other_policies(webhook: SparkPostWebhook) -> None:
    words = "554 5.7.1 Recipient address was suppressed due to customer policy"
    kept = {**BOUNCE, "bounce_class": "25", "raw_reason": words}
    assert (read(webhook, kept).reason, read(webhook, kept).status) == (BounceReason.UNSUBSCRIBED, "5.7.1")
    assert read(webhook, {**kept, "raw_reason": "554 5.7.1 not allowed"}).reason is BounceReason.POLICY
    rejection = {**COMMON, "type": "generation_rejection", "reason": words}
    assert read(webhook, rejection, "gen_event").reason is BounceReason.UNSUBSCRIBED


def test_a_delay_says_why_and_is_no_bounce(webhook: SparkPostWebhook) -> None:
    words = "454 4.4.4 [internal] no MX or A for domain"
    event = read(webhook, {**BOUNCE, "type": "delay", "bounce_class": "21", "raw_reason": words})
    assert (event.kind, event.bounce, event.reason) == (Kind.DEFERRED, None, BounceReason.NETWORK)
    assert event.status == "4.4.4"


def test_pictures_fetched_before_anybody_looked_are_told_from_those_that_a_reader_saw(
    webhook: SparkPostWebhook,
) -> None:
    assert read(webhook, OPEN, "track_event").machine == "prefetched"
    assert read(webhook, {**OPEN, "type": "initial_open"}, "track_event").machine == "prefetched"
    proxy = {**OPEN, "user_agent_parsed": {"is_proxy": True, "is_prefetched": False}}
    assert read(webhook, proxy, "track_event").machine is None
    assert read(webhook, {**proxy, "is_prefetched": True}, "track_event").machine == "prefetched"
    assert read(webhook, CLICK, "track_event").machine is None


def test_a_click_has_its_whole_link_agent_and_address(webhook: SparkPostWebhook) -> None:
    event = read(webhook, CLICK, "track_event")
    assert event.url == CLICK["target_link_url"]
    assert (event.agent, event.ip) == ("Mozilla/5.0", "17.58.1.1")


def test_a_batch_tells_each_of_its_events_once_and_leaves_out_the_empty_ones(
    webhook: SparkPostWebhook,
) -> None:
    batch = [entry(BOUNCE), {"msys": {}}, entry(OPEN, "track_event"), entry({**COMMON, "type": "delivery"})]
    kinds = [event.kind for event in webhook.events(call(batch))]
    assert kinds == [Kind.BOUNCED, Kind.OPENED, Kind.DELIVERED]


@pytest.mark.parametrize("content", [[{"msys": {}}], [{"msys": {}}, {"msys": {}}], [], {"msys": {}}, b""])
def test_a_test_batch_is_answered_and_not_kept(webhook: SparkPostWebhook, content: Any) -> None:
    assert not webhook.verify(call(content)).keep


def test_the_batch_id_is_the_replay_key_and_the_content_where_there_is_none(
    webhook: SparkPostWebhook,
) -> None:
    batch = [entry(BOUNCE)]
    assert webhook.verify(call(batch)).replay_key == BATCH["x-messagesystems-batch-id"]
    first, again = (webhook.verify(call(batch, BASIC)).replay_key for _ in range(2))
    other = webhook.verify(call([entry(OPEN)], BASIC)).replay_key
    assert first == again != other


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic " + b64encode(b"hooks:wrong").decode()},
        {"authorization": "Basic " + b64encode(b"hook:ssecret").decode()},
        {"authorization": "Basic !!!"},
        {"authorization": "Bearer secret"},
        {"authorization": "hooks:secret"},
        {"x-messagesystems-webhook-token": "secret"},
    ],
)
def test_a_call_without_the_password_is_refused(webhook: SparkPostWebhook, headers: dict[str, str]) -> None:
    with pytest.raises(Forged, match="user and password"):
        webhook.verify(call([entry(BOUNCE)], headers))


def test_a_token_or_a_header_of_ones_own_stands_in_for_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SP_TOKEN", "t0ken")
    monkeypatch.setenv("SP_HEADER", "h3ader")
    none: dict[str, Any] = {"webhook_username_env": None, "webhook_password_env": None}
    bearer = SparkPostWebhook(SparkPostSettings(**none, webhook_token_env="SP_TOKEN"))
    assert bearer.verify(call([entry(BOUNCE)], {"authorization": "Bearer t0ken"})).keep
    with pytest.raises(Forged, match="bearer token"):
        bearer.verify(call([entry(BOUNCE)], {"authorization": "Bearer other"}))
    named = SparkPostWebhook(
        SparkPostSettings(
            **none, webhook_header="X-MessageSystems-Webhook-Token", webhook_header_env="SP_HEADER"
        )
    )
    assert named.verify(call([entry(BOUNCE)], {"x-messagesystems-webhook-token": "h3ader"})).keep
    with pytest.raises(Forged, match="x-messagesystems-webhook-token"):
        named.verify(call([entry(BOUNCE)], {}))
    with pytest.raises(DeliveryError, match="asks webhook calls for nothing"):
        WEBHOOKS["sparkpost"](SparkPostSettings(**none))


def test_a_batch_of_old_events_is_stale(webhook: SparkPostWebhook) -> None:
    old = {**BOUNCE, "timestamp": str(int((NOW - timedelta(days=8)).timestamp()))}
    with pytest.raises(Stale, match="webhook_max_age"):
        webhook.verify(call([entry(old), entry(old)]))
    assert webhook.verify(call([entry(old), entry(BOUNCE)])).keep


@pytest.mark.parametrize(
    "written", [1464824548, "1464824548.5", "2016-06-01T23:42:28.000+00:00", 1464824548.0]
)
def test_the_time_is_read_in_each_form_in_which_sparkpost_writes_it(
    webhook: SparkPostWebhook, written: Any
) -> None:
    (event,) = webhook.events(call([entry({**BOUNCE, "timestamp": written})]))
    assert event.at.replace(microsecond=0) == datetime(2016, 6, 1, 23, 42, 28, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"{", b"null", b"[" * 9999, b"\xff", b"1", b'"x"', b"[NaN]"])
def test_a_body_that_is_no_batch_is_one_line(webhook: SparkPostWebhook, body: bytes) -> None:
    assert webhook.verify(call(body)).keep
    with pytest.raises(InputError, match="the call's body"):
        webhook.events(call(body))


def test_no_value_anywhere_is_a_crash(webhook: SparkPostWebhook) -> None:
    for sample in ([entry(BOUNCE)], [entry(CLICK, "track_event"), {"msys": {}}]):
        for odd in mangled(sample):
            line = told(webhook, call(odd))
            assert "\x00" not in line
            assert "\ud800" not in line


def test_a_batch_of_thousands_is_read(webhook: SparkPostWebhook) -> None:
    batch = call([entry({**BOUNCE, "event_id": number}) for number in range(5000)])
    assert webhook.verify(batch).keep
    assert len({event.event_id for event in webhook.events(batch)}) == 5000
