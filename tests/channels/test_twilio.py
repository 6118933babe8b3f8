"""What each of Twilio's answers means for an SMS."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from servers.provider import DROP_AFTER, DROP_BEFORE, Response, provider_server
from support.handing import Handed, hand_over
from support.notes import TOKEN, WAITS, note

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.twilio import ERRORS, TwilioBackend, TwilioSettings
from drumbeat.errors import DeliveryError

SID = "AC" + "0" * 32
CREATED = {"sid": "SM1", "status": "queued", "error_code": None, "error_message": None}


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", SID)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "secret")


def backend(url: str, base_url: str = "https://click.shop.example", **settings: Any) -> TwilioBackend:
    given = {"from": "+15005550006", "base_url": url, "timeout": "2s", **settings}
    return TwilioBackend(TwilioSettings.model_validate(given), base_url)


def answered(answer: Any, **settings: Any) -> tuple[Handed, list[Any]]:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url, **settings), [note()])
        return handed, server.requests


def refusal(code: int, status: int = 400) -> Response:
    return Response(status, json={"code": code, "message": f"words of {code}", "status": status})


def test_a_message_is_created_with_all_that_twilio_needs() -> None:
    handed, (call,) = answered(Response(201, json=CREATED))
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id == "SM1"
    assert call.path == f"/2010-04-01/Accounts/{SID}/Messages.json"
    assert call.form == {
        "To": ["+447700900123"],
        "Body": ["Hello"],
        "From": ["+15005550006"],
        "StatusCallback": [f"https://click.shop.example/hooks/twilio?drumbeat={TOKEN}"],
    }
    assert call.headers["authorization"].startswith("Basic QUMwMDAw")


def test_a_messaging_service_and_an_api_key_take_the_place_of_number_and_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEY", "SK1")
    monkeypatch.setenv("KEY_SECRET", "s2")
    service = "MG" + "a" * 32
    settings = {"from": None, "messaging_service_sid": service, "validity": 3600}
    handed, (call,) = answered(
        Response(201, json=CREATED), key_sid_env="KEY", key_secret_env="KEY_SECRET", **settings
    )
    assert handed.only.outcome is Outcome.ACCEPTED
    assert call.form["MessagingServiceSid"] == [service]
    assert call.form["ValidityPeriod"] == ["3600"]
    assert "From" not in call.form
    assert call.headers["authorization"] == "Basic U0sxOnMy"


@pytest.mark.parametrize(
    "base_url", ["", "http://127.0.0.1:8025", "http://localhost:8025", "https://my_shop.example"]
)
def test_no_callback_is_asked_for_at_an_address_that_twilio_cannot_reach(base_url: str) -> None:
    """Twilio refuses the whole message where it cannot (21609)."""
    with provider_server(Response(201, json=CREATED)) as server:
        hand_over(backend(server.url, base_url), [note()])
        assert "StatusCallback" not in server.requests[0].form


@pytest.mark.parametrize("code", [21211, 21614, 21217])
def test_a_number_that_is_none_is_dead(code: int) -> None:
    answer = answered(refusal(code))[0].only
    assert (answer.outcome, answer.dead_address, answer.unsubscribed) == (Outcome.REFUSED, True, False)
    assert answer.text == f"{code}: words of {code}"


def test_a_reader_who_replied_stop_has_unsubscribed_and_is_not_dead() -> None:
    answer = answered(refusal(21610))[0].only
    assert (answer.outcome, answer.dead_address, answer.unsubscribed) == (Outcome.REFUSED, False, True)


@pytest.mark.parametrize("code", [21408, 21612, 21617, 99999])
def test_other_refusals_are_about_the_message_alone(code: int) -> None:
    answer = answered(refusal(code))[0].only
    assert (answer.outcome, answer.dead_address, answer.unsubscribed) == (Outcome.REFUSED, False, False)


@pytest.mark.parametrize(
    "response",
    [refusal(20429, 429), refusal(21611), refusal(14107), Response(429), Response(503, body="<html>")],
)
def test_too_many_at_once_waits_for_the_whole_account(response: Response) -> None:
    answer = answered(response)[0].only
    assert (answer.outcome, answer.scope) == (Outcome.DEFERRED, Scope.SERVER)


@pytest.mark.parametrize(
    "response",
    [refusal(20003, 401), refusal(21606), refusal(20404, 404), refusal(21659), Response(401), Response(404)],
)
def test_an_account_that_is_wrong_stops_the_hand_over_and_nothing_was_sent(response: Response) -> None:
    handed, _ = answered(response)
    assert handed.only.outcome in WAITS
    assert isinstance(handed.error, DeliveryError)
    assert "secret" not in str(handed.error)


def test_a_message_that_failed_at_once_is_refused() -> None:
    failed = {**CREATED, "status": "failed", "error_code": 21211, "error_message": "no"}
    answer = answered(Response(201, json=failed))[0].only
    assert (answer.outcome, answer.dead_address) == (Outcome.REFUSED, True)


@pytest.mark.parametrize(
    "response",
    [Response(201, body="<html>"), Response(201, json={}), Response(500), Response(201, json=CREATED, cut=5)],
)
def test_an_answer_that_cannot_be_read_leaves_it_uncertain(response: Response) -> None:
    assert answered(response)[0].only.outcome is Outcome.UNCERTAIN


def test_a_lost_answer_is_uncertain_and_the_call_is_never_made_again() -> None:
    """Twilio has no idempotency key: a second call could be a second SMS."""
    handed, calls = answered(lambda call: DROP_AFTER)
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert len(calls) == 1


def test_a_call_that_never_left_is_put_off() -> None:
    assert answered(lambda call: DROP_BEFORE)[0].only.outcome in (Outcome.DEFERRED, Outcome.UNCERTAIN)
    handed = hand_over(backend("http://127.0.0.1:9"), [note()])
    assert (handed.only.outcome, handed.only.scope) == (Outcome.DEFERRED, Scope.SERVER)


def test_who_is_unsubscribed_while_the_chunk_is_on_its_way_gets_nothing() -> None:
    with provider_server(Response(201, json=CREATED)) as server:
        notes = [note(key="a"), note(key="b")]
        handed = hand_over(backend(server.url), notes, withdraw=lambda one: one.key == "a")
        assert handed.answers["a"].outcome is Outcome.WITHDRAWN
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"from": "not a number!"}, "from"),
        ({"from": "+1"}, "from"),
        ({"from": "+15005550006", "messaging_service_sid": "MG" + "0" * 32}, "keep one"),
        ({"key_sid_env": "KEY"}, "go together"),
    ],
)
def test_settings_that_cannot_work_are_faults(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TwilioSettings.model_validate(settings)


def test_nobody_to_be_from_is_said_before_anything_is_sent() -> None:
    with pytest.raises(DeliveryError, match="has no from or messaging_service_sid"):
        TwilioBackend(TwilioSettings())


def test_every_documented_code_has_a_verdict_of_its_own_kind() -> None:
    assert {verdict.name for verdict in ERRORS.values()} == {
        "DEAD",
        "UNSUBSCRIBED",
        "REFUSED",
        "LATER",
        "ACCOUNT",
    }
