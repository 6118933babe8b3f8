"""What Twilio and Telegram tell us, who is believed, and what follows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import Engine
from support.handing import mangled, told
from support.notes import TOKEN, suppressed

from drumbeat.clock import FixedClock
from drumbeat.delivery.telegram import TelegramSettings
from drumbeat.delivery.twilio import TwilioSettings
from drumbeat.errors import InputError
from drumbeat.rendering.links import Links
from drumbeat.responses.arrived import arrived_call, store_arrived
from drumbeat.responses.inbox import Desk, work
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Forged, WebhookCall
from drumbeat.responses.webhooks.providers import WEBHOOKS
from drumbeat.responses.webhooks.telegram import SECRET, TelegramWebhook
from drumbeat.responses.webhooks.twilio import CODES, SIGNATURE, TwilioWebhook, signature
from drumbeat.store.engine import writing

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
URL = f"https://click.shop.example/hooks/twilio?drumbeat={TOKEN}"
STATUS = {
    "MessageSid": "SM1",
    "SmsSid": "SM1",
    "MessageStatus": "delivered",
    "SmsStatus": "delivered",
    "To": "+447700900123",
    "From": "+15005550006",
    "AccountSid": "AC1",
    "ApiVersion": "2010-04-01",
}
INBOUND = {
    "MessageSid": "SM2",
    "SmsStatus": "received",
    "From": "+447700900123",
    "To": "+15005550006",
    "Body": " Stop. ",
    "NumMedia": "0",
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "12345")
    monkeypatch.setenv("TELEGRAM_WEBHOOK_SECRET", "tg-secret")


@pytest.fixture
def twilio() -> TwilioWebhook:
    return TwilioWebhook(TwilioSettings())


def call(form: dict[str, str], url: str = URL, signed_url: str | None = None) -> WebhookCall:
    signed = signature(b"12345", signed_url or url, list(form.items()))
    return WebhookCall({SIGNATURE: signed}, urlencode(form).encode(), NOW, url)


def read(twilio: TwilioWebhook, form: dict[str, str], url: str = URL) -> Event:
    one = call(form, url)
    assert twilio.verify(one).keep
    (event,) = twilio.events(one)
    return event


def test_the_signature_is_the_one_of_twilios_own_example() -> None:
    """The URL, fields and token of Twilio's page on security, and of every one of its libraries' tests."""
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+12349013030",
        "Digits": "1234",
        "From": "+12349013030",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature(b"12345", url, list(fields.items())) == "0/KCTR6DLpKmkAf8muzZqo1nDgQ="


@pytest.mark.parametrize(
    "signed_url", [URL, URL.replace(".example/", ".example:443/")], ids=["as it is", "with its port"]
)
def test_twilio_signs_with_or_without_the_usual_port(twilio: TwilioWebhook, signed_url: str) -> None:
    assert twilio.verify(call(STATUS, signed_url=signed_url)).replay_key == "SM1:delivered"


def altered(what: str) -> WebhookCall:
    good = call(STATUS)
    if what == "unsigned":
        return WebhookCall({}, good.body, NOW, URL)
    if what == "body":
        return WebhookCall(good.headers, good.body.replace(b"delivered", b"failed"), NOW, URL)
    if what == "token":
        return WebhookCall(good.headers, good.body, NOW, URL.replace("abc", "abd"))
    return WebhookCall(good.headers, good.body, NOW, URL.replace("shop", "evil"))


@pytest.mark.parametrize("what", ["unsigned", "body", "token", "host"])
def test_a_call_that_is_not_twilios_is_refused(twilio: TwilioWebhook, what: str) -> None:
    with pytest.raises(Forged):
        twilio.verify(altered(what))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("queued", Kind.QUEUED),
        ("sending", Kind.QUEUED),
        ("sent", Kind.SENT),
        ("delivered", Kind.DELIVERED),
        ("read", Kind.OPENED),
        ("undelivered", Kind.BOUNCED),
        ("failed", Kind.FAILED),
        ("canceled", Kind.FAILED),
        ("something new", Kind.UNKNOWN),
    ],
)
def test_statuses(twilio: TwilioWebhook, status: str, kind: Kind) -> None:
    event = read(twilio, {**STATUS, "MessageStatus": status})
    assert event.kind is kind
    assert (event.token, event.remote_id, event.recipient) == (TOKEN, "SM1", "+447700900123")
    assert event.event_id == f"SM1:{status}"
    assert event.bounce == ("soft" if kind is Kind.BOUNCED else None)


@pytest.mark.parametrize(
    ("code", "kind", "bounce"),
    [
        ("30003", Kind.BOUNCED, "soft"),
        ("30005", Kind.BOUNCED, "hard"),
        ("30006", Kind.BOUNCED, "hard"),
        ("30007", Kind.BOUNCED, "soft"),
        ("21610", Kind.REJECTED, None),
        ("30034", Kind.FAILED, None),
        ("39999", Kind.BOUNCED, "soft"),
    ],
)
def test_codes_say_whether_the_number_is_dead(
    twilio: TwilioWebhook, code: str, kind: Kind, bounce: str | None
) -> None:
    event = read(twilio, {**STATUS, "MessageStatus": "undelivered", "ErrorCode": code})
    assert (event.kind, event.bounce) == (kind, bounce)
    assert event.text == f"undelivered {code}"


def test_a_code_of_a_delivered_message_is_no_bounce(twilio: TwilioWebhook) -> None:
    assert read(twilio, {**STATUS, "ErrorCode": "30005"}).bounce is None


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ({}, Kind.UNSUBSCRIBED),
        ({"Body": "STOPALL"}, Kind.UNSUBSCRIBED),
        ({"Body": "Arret"}, Kind.UNSUBSCRIBED),
        ({"Body": "Schluss", "OptOutType": "STOP"}, Kind.UNSUBSCRIBED),
        ({"Body": "start"}, Kind.SUBSCRIBED),
        ({"Body": "please stop this"}, Kind.UNKNOWN),
        ({"Body": "When do you open?"}, Kind.UNKNOWN),
        ({"Body": ""}, Kind.UNKNOWN),
    ],
)
def test_what_a_reader_writes_back(twilio: TwilioWebhook, form: dict[str, str], kind: Kind) -> None:
    event = read(twilio, {**INBOUND, **form}, "https://click.shop.example/hooks/twilio")
    assert (event.kind, event.recipient, event.event_id) == (kind, "+447700900123", "SM2")


def test_a_project_has_stop_words_of_its_own() -> None:
    webhook = TwilioWebhook(TwilioSettings(stop_words=("ende",)))
    assert read(webhook, {**INBOUND, "Body": "ENDE"}).kind is Kind.UNSUBSCRIBED
    assert read(webhook, INBOUND).kind is Kind.UNKNOWN


def test_the_codes_are_of_the_one_vocabulary() -> None:
    assert all(reason in BounceReason for _, _, reason in CODES.values())


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"a=1&" * 200, b"MessageSid=%ff%00&MessageStatus=x", b"%" * 50]
)
def test_whatever_is_sent_is_read_or_refused_in_one_line(twilio: TwilioWebhook, body: bytes) -> None:
    with pytest.raises(InputError):
        twilio.verify(WebhookCall({SIGNATURE: "x"}, body, NOW, URL))
    try:
        events = twilio.events(WebhookCall({}, body, NOW, URL))
    except InputError:
        return
    json.dumps([dict(event.raw) for event in events], ensure_ascii=False).encode()


# Telegram

UPDATE = {
    "update_id": 9,
    "message": {"message_id": 1, "chat": {"id": 777, "type": "private"}, "date": 1764061200, "text": "/stop"},
}
BLOCKED = {
    "update_id": 10,
    "my_chat_member": {
        "chat": {"id": 777},
        "date": 1764061200,
        "new_chat_member": {"status": "kicked"},
    },
}


def update(content: Any, secret: str = "tg-secret") -> WebhookCall:
    return WebhookCall({SECRET: secret}, json.dumps(content).encode(), NOW)


@pytest.fixture
def telegram() -> TelegramWebhook:
    return TelegramWebhook(TelegramSettings())


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (UPDATE, Kind.UNSUBSCRIBED),
        ({**UPDATE, "message": {**UPDATE["message"], "text": "/Stop@shop_bot now"}}, Kind.UNSUBSCRIBED),
        ({**UPDATE, "message": {**UPDATE["message"], "text": "/start abc"}}, Kind.SUBSCRIBED),
        (BLOCKED, Kind.UNSUBSCRIBED),
        ({**BLOCKED, "my_chat_member": {**BLOCKED["my_chat_member"], "new_chat_member": {"status": "member"}}}, Kind.SUBSCRIBED),
    ],
)  # fmt: skip
def test_stop_and_a_block_end_messages(telegram: TelegramWebhook, content: Any, kind: Kind) -> None:
    assert telegram.verify(update(content)).keep
    (event,) = telegram.events(update(content))
    assert (event.kind, event.recipient) == (kind, "tg:777")
    assert event.at == datetime(2025, 11, 25, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "content", [{}, {"update_id": 1}, {"update_id": 2, "message": {"text": "hello"}}, []]
)
def test_what_says_nothing_to_us_is_answered_and_not_kept(telegram: TelegramWebhook, content: Any) -> None:
    assert not telegram.verify(update(content)).keep


def test_only_who_knows_the_secret_is_believed(telegram: TelegramWebhook) -> None:
    for secret in ("", "tg-secre", "tg-secret2"):
        with pytest.raises(Forged):
            telegram.verify(update(UPDATE, secret))


@pytest.mark.parametrize("payload", [UPDATE, BLOCKED], ids=["message", "member"])
def test_any_json_is_read(telegram: TelegramWebhook, payload: Any) -> None:
    for content in mangled(payload):
        told(telegram, update(content))


# What follows


@pytest.fixture
def desk(clock: FixedClock) -> Desk:
    webhooks = {
        "twilio": WEBHOOKS["twilio"](TwilioSettings()),
        "telegram": WEBHOOKS["telegram"](TelegramSettings()),
    }
    return Desk(Links("https://click.shop.example", b"k" * 32), clock, webhooks)


def arrive(store: Engine, desk: Desk, name: str, one: WebhookCall) -> None:
    verified = desk.webhooks[name].verify(one)
    with writing(store) as connection:
        store_arrived(connection, [arrived_call(name, verified.replay_key, one)])


def test_a_stop_suppresses_the_number_once_however_often_it_is_told(
    store: Engine, desk: Desk, people: Any
) -> None:
    people.add(phone="+447700900123")
    for _ in range(2):
        arrive(store, desk, "twilio", call(INBOUND, "https://click.shop.example/hooks/twilio"))
        assert work(store, desk).failed == 0
    assert suppressed(store) == [("tel:+447700900123", "", "unsubscribed")]


def test_stop_on_telegram_suppresses_the_chat(store: Engine, desk: Desk, people: Any) -> None:
    people.add(telegram_id="777")
    arrive(store, desk, "telegram", update(UPDATE))
    assert work(store, desk).done == 1
    assert suppressed(store) == [("tg:777", "", "unsubscribed")]


@pytest.mark.parametrize(
    ("code", "reason"), [("30005", "bounced"), ("21610", "unsubscribed"), ("30003", None), ("30034", None)]
)
def test_what_a_carrier_says_of_a_number_holds_for_what_comes_after(
    store: Engine, desk: Desk, people: Any, code: str, reason: str | None
) -> None:
    people.add(phone="+447700900123")
    form = {**STATUS, "MessageStatus": "undelivered", "ErrorCode": code}
    url = "https://click.shop.example/hooks/twilio"
    one = call(form, url)
    arrive(store, desk, "twilio", WebhookCall(one.headers, one.body, desk.clock.now(), url))
    # Its message is not known here: after a quarter of an hour it counts all the same.
    assert isinstance(desk.clock, FixedClock)
    desk.clock.advance(timedelta(minutes=20))
    work(store, desk)
    assert suppressed(store) == ([("tel:+447700900123", "", reason)] if reason else [])
