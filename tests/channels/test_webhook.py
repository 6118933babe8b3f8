"""A webhook of our own: signed, told once by its key, and made again until it is answered."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from servers.provider import DROP_AFTER, Response, provider_server
from support.handing import Handed, hand_over
from support.notes import WAITS, note

from drumbeat.clock import FixedClock
from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.webhook import WebhookBackend, WebhookSettings, signature
from drumbeat.errors import DeliveryError

KEY = bytes(range(32))
NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
PAYLOAD = '{"who": "Zoë"}'


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRUMBEAT_WEBHOOK_SECRET", "whsec_" + b64encode(KEY).decode())


def sent(answer: Any, **settings: Any) -> tuple[Handed, list[Any]]:
    with provider_server(answer) as server:
        given = {"url": f"{server.url}/hook/", "timeout": "1s", **settings}
        backend = WebhookBackend(WebhookSettings.model_validate(given), FixedClock(NOW))
        backend._sleep = lambda seconds: None
        return hand_over(backend, [note("", channel="webhook", text=PAYLOAD)]), server.requests


def test_a_payload_arrives_as_it_is_with_a_signature_that_anybody_with_the_key_can_check() -> None:
    handed, (call,) = sent(Response(204))
    assert handed.only.outcome is Outcome.ACCEPTED
    assert call.body == PAYLOAD.encode()
    assert call.target == "/hook/"
    name, stamp = call.headers["webhook-id"], call.headers["webhook-timestamp"]
    assert (name, call.headers["idempotency-key"]) == ("k1", "k1")
    assert int(stamp) == NOW.timestamp()
    version, _, given = call.headers["webhook-signature"].partition(",")
    expected = hmac.new(KEY, f"{name}.{stamp}.".encode() + call.body, sha256).digest()
    assert (version, b64decode(given)) == ("v1", expected)


def test_the_signature_is_the_one_of_standard_webhooks_own_example() -> None:
    """The vector of the specification's reference libraries."""
    key = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "outcome", "scope"),
    [
        (200, Outcome.ACCEPTED, Scope.MESSAGE),
        (400, Outcome.REFUSED, Scope.MESSAGE),
        (422, Outcome.REFUSED, Scope.MESSAGE),
        (429, Outcome.DEFERRED, Scope.SERVER),
        (503, Outcome.DEFERRED, Scope.SERVER),
        (500, Outcome.DEFERRED, Scope.MESSAGE),
    ],
)
def test_what_an_answer_means(status: int, outcome: Outcome, scope: Scope) -> None:
    answer = sent(Response(status))[0].only
    assert (answer.outcome, answer.scope) == (outcome, scope)


@pytest.mark.parametrize("status", [301, 401, 403, 404, 410])
def test_an_endpoint_that_is_none_stops_the_hand_over(status: int) -> None:
    handed, calls = sent(Response(status, headers={"Location": "https://elsewhere.example/"}))
    assert isinstance(handed.error, DeliveryError)
    assert handed.only.outcome in WAITS
    assert len(calls) == 1


def test_a_call_without_an_answer_is_made_again_with_the_same_key_and_then_put_off() -> None:
    handed, calls = sent(lambda call: DROP_AFTER)
    assert [call.headers["webhook-id"] for call in calls] == ["k1"] * 3
    assert (handed.only.outcome, handed.only.scope) == (Outcome.DEFERRED, Scope.SERVER)


def test_a_receiver_that_does_not_know_keys_is_never_called_twice() -> None:
    handed, calls = sent(lambda call: DROP_AFTER, idempotent=False)
    assert (handed.only.outcome, len(calls)) == (Outcome.UNCERTAIN, 1)


def test_headers_of_ones_own_hold_secrets_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_TOKEN", "t0k")
    _, (call,) = sent(Response(200), headers={"Authorization": "Bearer {CRM_TOKEN}"}, secret_env=None)
    assert call.headers["authorization"] == "Bearer t0k"
    assert "webhook-signature" not in call.headers


@pytest.mark.parametrize("value", ["short", "whsec_!!!", "whsec_" + b64encode(b"x" * 23).decode()])
def test_a_weak_key_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRUMBEAT_WEBHOOK_SECRET", value)
    with pytest.raises(DeliveryError, match="is no key of at least 24 bytes"):
        WebhookBackend(WebhookSettings(url="https://crm.example/hook"))


def test_without_a_url_there_is_nothing_to_post_to() -> None:
    with pytest.raises(DeliveryError, match="has no url"):
        WebhookBackend(WebhookSettings())
