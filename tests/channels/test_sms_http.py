"""SMS by a provider that project.yaml describes: what is sent, and what its answers mean."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from servers.provider import DROP_AFTER, Response, provider_server
from support.handing import Handed, hand_over
from support.notes import TOKEN, WAITS, note

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.endpoint import filled, parted
from drumbeat.delivery.sms_http import SmsHttpBackend, SmsHttpSettings, at
from drumbeat.errors import DeliveryError


def sent(answer: Any, **settings: Any) -> tuple[Handed, list[Any]]:
    body = {} if "form" in settings else {"json": {"to": "{to}", "text": "{text}"}}
    with provider_server(answer) as server:
        given = {"url": f"{server.url}/v1/send/?a=1", "timeout": "2s", **body, **settings}
        handed = hand_over(
            SmsHttpBackend(SmsHttpSettings.model_validate(given)), [note(text='5% off "now" {x}')]
        )
        return handed, server.requests


def test_json_is_filled_in_at_any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_KEY", "s3cret")
    body = {
        "messages": [{"to": ["{digits}"], "body": "{text}", "ref": "{key}/{token}", "n": 1}],
        "auth": "{SMS_KEY}",
        "tag": "{{{campaign}}}",
    }
    headers = {"Authorization": "Bearer {SMS_KEY}"}
    handed, (call,) = sent(
        Response(202, json={"data": [{"id": 77}]}), json=body, headers=headers, id="data.0.id"
    )
    assert call.json == {
        "messages": [
            {"to": ["447700900123"], "body": '5% off "now" {x}', "ref": f"k1/{TOKEN}", "n": 1},
        ],
        "auth": "s3cret",
        "tag": "{sale}",
    }
    assert call.target == "/v1/send/?a=1"
    assert call.headers["authorization"] == "Bearer s3cret"
    assert (handed.only.outcome, handed.only.remote_id) == (Outcome.ACCEPTED, "77")


def test_a_form_is_sent_as_a_form() -> None:
    handed, (call,) = sent(Response(200, body="OK"), form={"phone": "{to}", "msg": "{text}"}, method="PUT")
    assert call.form == {"phone": ["+447700900123"], "msg": ['5% off "now" {x}']}
    assert call.method == "PUT"
    assert (handed.only.outcome, handed.only.remote_id) == (Outcome.ACCEPTED, None)


CODES = {"error": "error.code", "dead": [21], "unsubscribed": ["22"], "later": [23]}


@pytest.mark.parametrize(
    ("status", "code", "outcome", "dead", "unsubscribed"),
    [
        (400, 21, Outcome.REFUSED, True, False),
        (400, "21", Outcome.REFUSED, True, False),
        (403, 22, Outcome.REFUSED, False, True),
        (400, 23, Outcome.DEFERRED, False, False),
        (400, 99, Outcome.REFUSED, False, False),
        (422, None, Outcome.REFUSED, False, False),
        (429, 99, Outcome.DEFERRED, False, False),
        (500, 21, Outcome.UNCERTAIN, False, False),
    ],
)
def test_error_codes_say_what_a_refusal_is_about(
    status: int, code: object, outcome: Outcome, dead: bool, unsubscribed: bool
) -> None:
    answer = sent(Response(status, json={"error": {"code": code}}), **CODES)[0].only
    assert (answer.outcome, answer.dead_address, answer.unsubscribed) == (outcome, dead, unsubscribed)


def test_a_provider_that_answers_200_to_everything_says_in_the_body_how_it_went() -> None:
    rule = {"accepted_if": {"path": "status", "one_of": ["queued", 0]}, **CODES}
    assert sent(Response(200, json={"status": "queued"}), **rule)[0].only.outcome is Outcome.ACCEPTED
    assert sent(Response(200, json={"status": 0}), **rule)[0].only.outcome is Outcome.ACCEPTED
    no = sent(Response(200, json={"status": "error", "error": {"code": 21}}), **rule)[0].only
    assert (no.outcome, no.dead_address) == (Outcome.REFUSED, True)
    later = sent(Response(200, json={"status": "busy", "error": {"code": 23}}), **rule)[0].only
    assert (later.outcome, later.scope) == (Outcome.DEFERRED, Scope.SERVER)
    assert sent(Response(200, body="<html>"), **rule)[0].only.outcome is Outcome.UNCERTAIN


def test_a_lost_answer_is_uncertain_unless_the_provider_takes_a_key_once() -> None:
    handed, calls = sent(lambda call: DROP_AFTER)
    assert (handed.only.outcome, len(calls)) == (Outcome.UNCERTAIN, 1)
    answers = iter([DROP_AFTER, Response(200, json={})])
    keyed = {"json": {"to": "{to}", "text": "{text}", "id": "{key}"}, "idempotent": True}
    handed, calls = sent(lambda call: next(answers), **keyed)
    assert handed.only.outcome is Outcome.ACCEPTED
    assert [call.json["id"] for call in calls] == ["k1", "k1"]


def test_a_key_that_is_wrong_stops_the_hand_over() -> None:
    handed, _ = sent(Response(401))
    assert isinstance(handed.error, DeliveryError)
    assert handed.only.outcome in WAITS


def test_a_variable_that_is_not_set_is_named() -> None:
    settings = SmsHttpSettings.model_validate(
        {"url": "https://a.example/x", "json": {}, "headers": {"X-Key": "{NO_SUCH_KEY}"}}
    )
    with pytest.raises(DeliveryError, match="NO_SUCH_KEY is not set"):
        SmsHttpBackend(settings)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"url": "http://sms.example/x"}, "url"),
    ({"url": "https://user:pw@sms.example/x"}, "url"),
    ({"json": {"to": "{too}"}}, "unknown placeholder {too}; known: {to}, {digits}, {text}"),
    ({"json": {"to": "{to"}}, "a lone {"),
    ({"form": {"a": "}"}}, "a lone }"),
    ({"json": {}, "form": {}}, "one body"),
    ({"headers": {"X Y": "1"}}, "expected a header's name"),
    ({"headers": {"X": "{to}"}}, "unknown placeholder {to}"),
    ({"dead": [1]}, "need error"),
    ({"json": {"to": "{to}"}, "idempotent": True}, "needs {key}"),
    ({"method": "GET"}, "method"),
]


@pytest.mark.parametrize(("settings", "words"), FAULTS)
def test_settings_that_cannot_work_are_faults(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as error:
        SmsHttpSettings.model_validate({"url": "https://sms.example/x", **settings})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("path", "found"),
    [("a.0.b", 1), ("a.1.b", None), ("a.b", None), ("x", None), ("a.0", {"b": 1}), ("a.-1", None)],
)
def test_a_path_that_leads_nowhere_finds_nothing(path: str, found: object) -> None:
    assert at({"a": [{"b": 1}]}, path) == found


def test_what_a_message_says_is_never_taken_for_a_placeholder() -> None:
    assert filled("{text} {{x}}", {"text": "{KEY} {to}"}, lambda name: f"<{name}>") == "{KEY} {to} {x}"


def test_a_url_keeps_its_slashes_and_query() -> None:
    assert parted("https://a.example:8443/x/?y=1") == ("https://a.example:8443", "/x/?y=1")
    assert parted("https://a.example") == ("https://a.example", "")
