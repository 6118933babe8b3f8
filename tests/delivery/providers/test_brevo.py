"""Brevo's call for one mail, on a local server that speaks it as documented, its refusal of used keys included."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.header import decode_header, make_header
from typing import Any

import pytest
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import TOKEN, hand_over, mail, mangled

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.brevo import BrevoBackend, BrevoSettings
from drumbeat.delivery.http import Reply
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.errors import DeliveryError

UNIQUE = Response(400, json={"code": "duplicate_parameter", "message": "idempotencyKey was used"})


class Brevo:
    """Answers as Brevo does. `say` looks at each call first and may answer otherwise.

    What `say` answers with a drop after the call was taken, or with a 5xx, uses the key up as a 201 does.
    """

    def __init__(self, say: Callable[[int], Response | None] = lambda number: None) -> None:
        self.say = say
        self.taken: list[str] = []
        self.calls = 0

    def __call__(self, call: Recorded) -> Response:
        self.calls += 1
        said = self.say(self.calls)
        if said is DROP_BEFORE:
            return said
        if call.headers.get("api-key") != "xkeysib-1":
            return Response(401, json={"code": "unauthorized", "message": "Key not found"})
        if call.path != "/v3/smtp/email":
            return Response(404, json={"code": "document_not_found", "message": "Route does not exist"})
        content = call.json
        missing = {"sender", "to", "subject", "htmlContent"} - set(content)
        if missing:
            return Response(400, json={"code": "missing_parameter", "message": f"{min(missing)} is missing"})
        if "@" not in content["to"][0]["email"]:
            return Response(400, json={"code": "invalid_parameter", "message": "email is not valid in to"})
        key = content["headers"].get("idempotencyKey", "")
        if str(uuid.UUID(key)) in self.taken:
            return UNIQUE
        if said is not None and said.status // 100 == 4:
            return said
        self.taken.append(key)
        return said or Response(201, json={"messageId": f"<{key}@smtp-relay.mailin.fr>"})


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREVO_API_KEY", "xkeysib-1")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(Brevo()) as running:
        yield running


def backend(url: str, **settings: Any) -> BrevoBackend:
    made = BrevoBackend(BrevoSettings(base_url=f"{url}/v3", timeout="2s", **settings))
    made._sleep = lambda seconds: None
    return made


def test_a_mail_arrives_with_its_parts_and_the_headers_that_brevo_takes(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail()])
    (call,) = server.requests
    content = call.json
    key = content["headers"].pop("idempotencyKey")
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id == f"{key}@smtp-relay.mailin.fr", "without brackets, as in every event"
    name = content["sender"].pop("name")
    assert name.isascii(), "Brevo loses a name with both an umlaut and a comma, unless it is encoded"
    assert str(make_header(decode_header(name))) == "Büro, Shop & Söhne"
    assert content == {
        "sender": {"email": "shop@example.com"},
        "to": [{"email": "reader@example.com", "name": "Анна"}],
        "replyTo": {"email": "help@example.com"},
        "subject": "Ваша корзина",
        "htmlContent": "<p>Grüße {{var:name}}</p>",
        "textContent": "Grüße",
        "headers": {
            "List-Id": "<offers.shop.example.com>",
            "List-Unsubscribe": "<https://shop.example.com/u/" + "x" * 300 + ">",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "Feedback-ID": "cart:offers:de:shop1",
            "X-Mailin-custom": f'{{"drumbeat":"{TOKEN}"}}',
        },
        "tags": ["abandoned_cart"],
    }


def test_long_names_are_encoded_without_line_ends(server: ProviderServer) -> None:
    hand_over(backend(server.url), [mail(from_name="Ü, " * 60, to_name="Tab\tand\r\nline")])
    content = server.requests[0].json
    assert "\n" not in content["sender"]["name"]
    assert str(make_header(decode_header(content["sender"]["name"]))).strip() == ("Ü, " * 60).strip()
    assert content["to"][0]["name"] == "Tabandline"


def test_headers_beyond_ascii_are_left_out(server: ProviderServer) -> None:
    hand_over(
        backend(server.url),
        [mail(headers=(("X-Shop", "Büro"), ("X-Else", "b")), to_name=None, reply_to=None)],
    )
    content = server.requests[0].json
    assert "X-Shop" not in content["headers"]
    assert content["headers"]["X-Else"] == "b"
    assert content["to"] == [{"email": "reader@example.com"}]
    assert "replyTo" not in content


def test_the_sandbox_is_asked_for_by_header(server: ProviderServer) -> None:
    hand_over(backend(server.url, sandbox=True), [mail()])
    assert server.requests[0].json["headers"]["X-Sib-Sandbox"] == "drop"


def test_each_mail_has_a_call_and_a_key_of_its_own_that_stays_the_same(server: ProviderServer) -> None:
    hand_over(backend(server.url), [mail(key="k1"), mail(key="k2")])
    keys = {call.json["headers"]["idempotencyKey"] for call in server.requests}
    assert len(keys) == 2
    again = backend(server.url).call([mail(key="k1")])
    assert json.loads(again.body or b"")["headers"]["idempotencyKey"] in keys


def test_a_call_that_did_not_arrive_is_made_again_and_sent_once() -> None:
    brevo = Brevo(lambda number: DROP_BEFORE if number == 1 else None)
    with provider_server(brevo) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id
    assert (brevo.calls, len(brevo.taken)) == (2, 1)


def test_a_call_whose_answer_was_lost_is_known_to_be_taken_when_its_key_is_refused() -> None:
    brevo = Brevo(lambda number: DROP_AFTER if number == 1 else None)
    with provider_server(brevo) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id is None
    assert (brevo.calls, len(brevo.taken)) == (2, 1), "sent once"


def test_after_a_fault_of_the_server_a_refused_key_proves_nothing() -> None:
    brevo = Brevo(lambda number: Response(500, json={}) if number == 1 else None)
    with provider_server(brevo) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert len(brevo.taken) == 1


@pytest.mark.parametrize(
    "second",
    [
        Response(429, json={"code": "too_many_requests", "message": "slow"}),
        Response(401, json={"code": "unauthorized", "message": "key was withdrawn"}),
        Response(403, json={}),
    ],
)
def test_a_second_call_that_is_not_let_in_leaves_the_first_uncertain(second: Response) -> None:
    """Deferred, it would be sent again when Brevo has forgotten the key."""
    calls = []

    def answer(call: Recorded) -> Response:
        calls.append(call.body)
        return DROP_AFTER if len(calls) == 1 else second

    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert handed.error is None
    assert len(set(calls)) == 1


def test_a_key_that_is_refused_at_once_is_uncertain() -> None:
    with provider_server(UNIQUE) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert len(server.requests) == 1


def test_an_address_that_is_none_is_dead(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail("nowhere")])
    assert handed.only.outcome is Outcome.REFUSED
    assert handed.only.dead_address


def refusal(status: int, code: str) -> Response:
    return Response(status, json={"code": code, "message": "As documented"})


REFUSING = ["invalid_parameter", "missing_parameter", "out_of_range", "bad_request", "unprocessable_entity"]


@pytest.mark.parametrize(
    ("answer", "outcome", "scope"),
    [
        *((refusal(400, code), Outcome.REFUSED, Scope.MESSAGE) for code in REFUSING),
        (refusal(406, "not_acceptable"), Outcome.REFUSED, Scope.MESSAGE),
        (refusal(422, "unprocessable_entity"), Outcome.REFUSED, Scope.MESSAGE),
        (refusal(400, "duplicate_request"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (refusal(429, "too_many_requests"), Outcome.DEFERRED, Scope.SERVER),
        (refusal(503, "x"), Outcome.DEFERRED, Scope.SERVER),
        (refusal(500, "internal"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(400, body="<html>"), Outcome.REFUSED, Scope.MESSAGE),
        (Response(201, body="<html>"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(201, json={"messageId": 5}), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(201, json={}), Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_BEFORE, Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_AFTER, Outcome.UNCERTAIN, Scope.MESSAGE),
    ],
)
def test_every_end_of_the_call_is_told_exactly(answer: Response, outcome: Outcome, scope: Scope) -> None:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.error is None
    assert (handed.only.outcome, handed.only.scope) == (outcome, scope)
    assert not handed.only.dead_address


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (402, "not_enough_credits"),
        (400, "not_enough_credits"),
        (403, "permission_denied"),
        (403, "account_under_validation"),
        (400, "account_under_validation"),
        (401, "something_new"),
    ],
)
def test_a_refused_account_ends_the_hand_over_and_nothing_is_uncertain(status: int, code: str) -> None:
    with provider_server(refusal(status, code)) as server:
        handed = hand_over(backend(server.url, connections=1), [mail(key=f"k{n}") for n in range(3)])
    assert code in str(handed.error)
    assert {one.outcome for one in handed.answers.values()} == {Outcome.DEFERRED}
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reset", "wait"),
    [("30", timedelta(seconds=30)), ("999999999", timedelta(hours=6)), ("soon", None), ("", None)],
)
def test_the_wait_is_read_from_brevos_own_header(reset: str, wait: timedelta | None) -> None:
    answer = Response(429, json={"code": "too_many_requests"}, headers={"x-sib-ratelimit-reset": reset})
    with provider_server(answer) as server:
        assert hand_over(backend(server.url), [mail()]).only.retry_after == wait


def test_a_missing_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BREVO_API_KEY")
    with pytest.raises(DeliveryError, match=r"BREVO_API_KEY is not set; delivery\.brevo\.key_env"):
        PROVIDERS["brevo"](BrevoSettings())


def test_no_answer_of_any_form_crashes_or_is_taken_for_sent() -> None:
    made = backend("http://127.0.0.1:1")
    for odd in mangled({"messageId": "<a@b>"}):
        body = json.dumps(odd).encode()
        made._reply = lambda call, body=body: Reply(201, {}, body)  # type: ignore[method-assign, misc]
        (answer,), _ = made._answers([mail()])
        given = odd.get("messageId") if isinstance(odd, dict) else None
        assert (answer.outcome is Outcome.ACCEPTED) == isinstance(given, str)
    for odd in mangled({"code": "invalid_parameter", "message": "x"}):
        body = json.dumps(odd).encode()
        made._reply = lambda call, body=body: Reply(400, {}, body)  # type: ignore[method-assign, misc]
        (answer,), _ = made._answers([mail()])
        assert answer.outcome is Outcome.REFUSED
