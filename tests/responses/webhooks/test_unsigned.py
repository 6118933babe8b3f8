"""What holds for every provider that signs nothing: who calls, how old the news is, what was seen before."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.handing import mangled, told

from drumbeat.delivery.brevo import BrevoSettings
from drumbeat.delivery.mailjet import MailjetSettings
from drumbeat.delivery.postmark import PostmarkSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Forged, Stale, Webhook, WebhookCall
from drumbeat.responses.webhooks.providers import WEBHOOKS
from drumbeat.responses.webhooks.unsigned import entries, within

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BASIC = "Basic " + b64encode("hooks:s3:crét".encode()).decode()
SETTINGS = {"postmark": PostmarkSettings, "brevo": BrevoSettings, "mailjet": MailjetSettings}

EVENT: dict[str, dict[str, Any]] = {
    "postmark": {
        "RecordType": "Delivery",
        "DeliveredAt": "2026-11-24T11:59:00Z",
        "Recipient": "a@example.com",
    },
    "brevo": {"event": "delivered", "ts_event": int(NOW.timestamp()) - 60, "email": "a@example.com"},
    "mailjet": {"event": "sent", "time": int(NOW.timestamp()) - 60, "email": "a@example.com"},
}


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOOK", "POSTMARK_WEBHOOK", "MAILJET_WEBHOOK"):
        monkeypatch.setenv(f"{name}_USERNAME", "hooks")
        monkeypatch.setenv(f"{name}_PASSWORD", "s3:crét")
    monkeypatch.setenv("BREVO_WEBHOOK_TOKEN", "t0ken")
    monkeypatch.setenv("HOOK_HEADER", "v4lue")


def webhook(name: str, **settings: Any) -> Webhook:
    if name == "brevo" and not settings:
        settings = {
            "webhook_token_env": None,
            "webhook_username_env": "HOOK_USERNAME",
            "webhook_password_env": "HOOK_PASSWORD",
        }
    return WEBHOOKS[name](SETTINGS[name](**settings))


def call(content: Any, received_at: datetime = NOW, **headers: str) -> WebhookCall:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return WebhookCall({"authorization": BASIC, **headers}, body, received_at)


each = pytest.mark.parametrize("name", ["postmark", "brevo", "mailjet"])


@each
def test_a_call_with_user_and_password_is_genuine(name: str) -> None:
    verified = webhook(name).verify(call(EVENT[name]))
    assert verified.keep
    assert verified.replay_key


@each
@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic ====",
        "Basic \ud800",
        "Bearer " + BASIC[6:],
        BASIC[6:],
        "Basic " + b64encode(b"hooks:wrong").decode(),
        "Basic " + b64encode("other:s3:crét".encode()).decode(),
        "Basic " + b64encode(b"hooks").decode(),
        "Basic " + b64encode("hooks:s3:crét ".encode()).decode(),
        "Basic " + b64encode(b"\xff\xfe:\xff").decode(),
        BASIC + "x",
    ],
)
def test_a_call_without_them_is_forged_whatever_it_says(name: str, authorization: str) -> None:
    for content in (EVENT[name], b"no JSON", b""):
        forged = WebhookCall(
            {"authorization": authorization},
            json.dumps(content).encode() if isinstance(content, dict) else content,
            NOW,
        )
        with pytest.raises(Forged) as refusal:
            webhook(name).verify(forged)
        assert "\n" not in str(refusal.value)
        assert "s3" not in str(refusal.value)
    with pytest.raises(Forged):
        webhook(name).verify(WebhookCall({}, b"{}", NOW))


def test_the_scheme_is_read_in_any_case() -> None:
    assert webhook("mailjet").verify(call(EVENT["mailjet"], authorization="basic " + BASIC[6:]))


def test_brevo_shows_a_bearer_token() -> None:
    brevo = WEBHOOKS["brevo"](BrevoSettings())
    assert brevo.verify(call(EVENT["brevo"], authorization="Bearer t0ken")).keep
    for wrong in ("Bearer t0ke", "Bearer t0ken2", "Basic t0ken", "t0ken", "Bearer", ""):
        with pytest.raises(Forged):
            brevo.verify(call(EVENT["brevo"], authorization=wrong))


@pytest.mark.parametrize("name", ["postmark", "brevo"])
def test_a_header_of_ones_own_is_asked_for_besides(name: str) -> None:
    one = webhook(
        name,
        webhook_username_env="HOOK_USERNAME",
        webhook_password_env="HOOK_PASSWORD",
        webhook_header="X-Proof",
        webhook_header_env="HOOK_HEADER",
        **({"webhook_token_env": None} if name == "brevo" else {}),
    )
    assert one.verify(call(EVENT[name], **{"x-proof": "v4lue"})).keep
    for headers in ({}, {"x-proof": "v4lu"}, {"x-proof": "v4lue", "authorization": "Basic eDp5"}):
        with pytest.raises(Forged):
            one.verify(call(EVENT[name], **headers))


def test_a_header_alone_will_do() -> None:
    one = webhook(
        "postmark",
        webhook_username_env=None,
        webhook_password_env=None,
        webhook_header="X-Proof",
        webhook_header_env="HOOK_HEADER",
    )
    assert one.verify(call(EVENT["postmark"], authorization="", **{"x-proof": "v4lue"})).keep


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"webhook_username_env": None, "webhook_password_env": None}, "asks webhook calls for nothing"),
        ({"webhook_username_env": None}, "set both or none"),
        ({"webhook_header": "X-Proof"}, "set both or none"),
        ({"webhook_username_env": "NOT_THERE"}, "NOT_THERE is not set"),
    ],
)
def test_a_webhook_that_would_believe_everybody_is_not_made(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(DeliveryError, match=words):
        webhook("postmark", **settings)


def test_brevo_cannot_show_a_password_and_a_token() -> None:
    with pytest.raises(DeliveryError, match="set one of them to null"):
        webhook("brevo", webhook_username_env="HOOK_USERNAME", webhook_password_env="HOOK_PASSWORD")


@each
def test_old_news_is_stale_and_the_age_is_a_setting(name: str) -> None:
    one = webhook(name)
    assert one.verify(call(EVENT[name], NOW + timedelta(days=6, hours=23))).keep
    with pytest.raises(Stale) as refusal:
        one.verify(call(EVENT[name], NOW + timedelta(days=7)))
    assert f"delivery.{name}.webhook_max_age" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    if name != "brevo":
        with pytest.raises(Stale):
            webhook(name, webhook_max_age="1h").verify(call(EVENT[name], NOW + timedelta(hours=2)))


@each
def test_of_several_events_the_newest_counts_and_one_without_a_time_is_as_new_as_the_call(name: str) -> None:
    later = NOW + timedelta(days=30)
    fresh = {
        **EVENT[name],
        "DeliveredAt": later.isoformat(),
        "ts_event": later.timestamp(),
        "time": later.timestamp(),
    }
    assert webhook(name).verify(call([EVENT[name], fresh], later)).keep
    timeless = {
        key: value for key, value in EVENT[name].items() if key not in ("DeliveredAt", "ts_event", "time")
    }
    assert webhook(name).verify(call(timeless, later)).keep
    with pytest.raises(Stale):
        webhook(name).verify(call([EVENT[name], EVENT[name]], later))


@each
def test_the_same_call_has_the_same_replay_key_and_any_other_has_another(name: str) -> None:
    one = webhook(name)
    other = {**EVENT[name], "email": "b@example.com", "Recipient": "b@example.com"}
    keys = [
        one.verify(call(content)).replay_key for content in (EVENT[name], EVENT[name], other, [EVENT[name]])
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@each
def test_an_empty_call_is_answered_and_not_kept(name: str) -> None:
    for body in (b"", b" \n", b"[]"):
        assert not webhook(name).verify(call(body)).keep


@each
@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"\xff\xfe",
        b'"text"',
        b"5",
        b"null",
        b"NaN",
        b"[" * 100_000,
        b"[" * 500 + b"]" * 500,
        b'{"a":' * 50_000,
        b"{" * 10,
        b"9" * 10_000,
    ],
)
def test_a_genuine_call_that_cannot_be_read_is_kept_and_says_so_in_one_line(name: str, body: bytes) -> None:
    one = webhook(name)
    assert one.verify(call(body)).keep
    with pytest.raises(InputError) as refusal:
        one.events(call(body))
    assert "\n" not in str(refusal.value)


@each
def test_what_is_no_event_does_not_cost_those_beside_it(name: str) -> None:
    events = webhook(name).events(call([EVENT[name], 5, None, "x", [], EVENT[name]]))
    assert [event.kind for event in events] == [Kind.DELIVERED, *[Kind.UNKNOWN] * 4, Kind.DELIVERED]
    assert events[1].raw == {"unreadable": 5}


@each
def test_a_giant_call_is_read_in_a_moment(name: str) -> None:
    body = json.dumps([EVENT[name]] * 5_000 + [{"event": "x" * 2_000_000}]).encode()
    one = webhook(name)
    started = time.perf_counter()
    assert one.verify(call(body)).keep
    events = one.events(call(body))
    assert time.perf_counter() - started < 5
    assert len(events) == 5_001


@each
def test_no_value_of_any_type_crashes_anything(name: str) -> None:
    one = webhook(name)
    for odd in mangled(EVENT[name]):
        words = told(one, call(odd))
        assert words.isprintable()
        assert isinstance(odd, dict | list) or "expected" in words


def test_an_object_inside_a_text_is_read_or_counts_as_none() -> None:
    assert within('{"drumbeat": "t"}') == {"drumbeat": "t"}
    for odd in ("", "x", "[1]", "{", None, 5, {}, "[" * 100_000, "\ud800"):
        assert within(odd) == {}


def test_entries_are_one_object_or_a_list_of_them() -> None:
    assert entries(b'{"a": 1}') == [{"a": 1}]
    assert entries(b'[{"a": 1}, {"b": 2}]') == [{"a": 1}, {"b": 2}]
