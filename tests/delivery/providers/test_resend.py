"""Resend's two calls, on a local server that speaks them as documented, idempotency keys included."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import HEADERS, TOKEN, hand_over, mail, mangled

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.http import Reply
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.delivery.resend import ERRORS, ResendBackend, ResendSettings
from drumbeat.errors import DeliveryError


class Resend:
    """Answers as Resend does. `say` looks at each call first and may answer otherwise, once the mail is taken."""

    def __init__(self, say: Callable[[int], Response | None] = lambda number: None) -> None:
        self.say = say
        self.answered: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self.sent: list[str] = []
        self.calls = 0

    def __call__(self, call: Recorded) -> Response:
        self.calls += 1
        said = self.say(self.calls)
        if said is DROP_BEFORE or (said is not None and said.status // 100 == 4):
            return said
        if call.headers.get("authorization") != "Bearer re_1":
            return fault(403, "invalid_api_key")
        if call.path not in ("/emails", "/emails/batch"):
            return fault(404, "not_found")
        key = call.headers["idempotency-key"]
        if not 1 <= len(key) <= 256:
            return fault(400, "invalid_idempotency_key")
        if key in self.answered:
            body, before = self.answered[key]
            return said or (
                Response(200, json=before) if body == call.body else fault(409, "invalid_idempotent_request")
            )
        single = call.path == "/emails"
        messages = [call.json] if single else call.json
        faults = [
            {"index": index, "message": "Invalid `to` field."}
            for index, message in enumerate(messages)
            if "nowhere" in message["to"][0]
        ]
        if any("poison" in message["html"] for message in messages) or (single and faults):
            return fault(422, "validation_error")
        if len(messages) > 100 or (faults and call.headers.get("x-batch-validation") != "permissive"):
            return fault(422, "validation_error")
        refused = {entry["index"] for entry in faults}
        taken = [message["to"][0] for index, message in enumerate(messages) if index not in refused]
        self.sent += taken
        ids = [{"id": f"id-of-{address}"} for address in taken]
        answer: dict[str, Any] = ids[0] if single else {"data": ids}
        if faults:
            answer["errors"] = faults
        self.answered[key] = (call.body, answer)
        return said or Response(200, json=answer)


def fault(status: int, name: str, **headers: str) -> Response:
    content = {"statusCode": status, "name": name, "message": "As documented."}
    return Response(
        status, json=content, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEND_API_KEY", "re_1")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(Resend()) as running:
        yield running


def backend(url: str, **settings: Any) -> ResendBackend:
    made = ResendBackend(ResendSettings(base_url=url, timeout="2s", **settings))
    made._sleep = lambda seconds: None
    return made


def test_one_mail_arrives_with_its_parts_headers_and_tags(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail()])
    (call,) = server.requests
    assert (call.method, call.path) == ("POST", "/emails")
    assert call.headers["idempotency-key"] == "k1"
    assert call.json == {
        "from": '"Büro, Shop & Söhne" <shop@example.com>',
        "to": ['"Анна" <reader@example.com>'],
        "reply_to": "help@example.com",
        "subject": "Ваша корзина",
        "html": "<p>Grüße {{var:name}}</p>",
        "text": "Grüße",
        "headers": dict(HEADERS),
        "tags": [{"name": "drumbeat", "value": TOKEN}, {"name": "campaign", "value": "abandoned_cart"}],
    }
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id == 'id-of-"Анна" <reader@example.com>'


def test_a_hundred_mails_are_one_call_and_each_gets_its_own_id(server: ProviderServer) -> None:
    mails = [mail(f"r{number}@example.com", f"k{number}", to_name=None) for number in range(150)]
    handed = hand_over(backend(server.url), mails)
    assert sorted(len(call.json) for call in server.requests) == [50, 100]
    assert {call.path for call in server.requests} == {"/emails/batch"}
    for number in range(150):
        answer = handed.answers[f"k{number}"]
        assert (answer.outcome, answer.remote_id) == (Outcome.ACCEPTED, f"id-of-r{number}@example.com")


def test_of_a_batch_only_the_mails_at_fault_are_refused(server: ProviderServer) -> None:
    addresses = ["a@example.com", "nowhere1", "b@example.com", "nowhere2", "c@example.com"]
    handed = hand_over(backend(server.url), [mail(to, to, to_name=None) for to in addresses])
    (call,) = server.requests
    assert call.headers["x-batch-validation"] == "permissive"
    for to in addresses:
        answer = handed.answers[to]
        if to.startswith("nowhere"):
            assert (answer.outcome, answer.text) == (Outcome.REFUSED, "Invalid `to` field.")
        else:
            assert (answer.outcome, answer.remote_id) == (Outcome.ACCEPTED, f"id-of-{to}")


def test_a_batch_refused_as_a_whole_is_halved_until_the_mail_at_fault_stands_alone() -> None:
    resend = Resend()
    with provider_server(resend) as server:
        mails = [
            mail(f"r{n}@example.com", f"k{n}", to_name=None, html="poison" if n == 13 else "x")
            for n in range(40)
        ]
        handed = hand_over(backend(server.url, connections=1), mails)
    assert [key for key, answer in handed.answers.items() if answer.outcome is not Outcome.ACCEPTED] == [
        "k13"
    ]
    assert handed.answers["k13"].outcome is Outcome.REFUSED
    assert sorted(resend.sent) == sorted(f"r{n}@example.com" for n in range(40) if n != 13)


def test_a_batch_that_is_too_large_is_halved() -> None:
    resend = Resend()

    def answer(call: Recorded) -> Response:
        large = call.path == "/emails/batch" and len(call.json) > 2
        return Response(413, body="too large") if large else resend(call)

    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail(key=f"k{number}") for number in range(7)])
    assert {answer.outcome for answer in handed.answers.values()} == {Outcome.ACCEPTED}
    assert len(resend.sent) == 7


@pytest.mark.parametrize(
    "dropped", [DROP_AFTER, Response(500), Response(502, body="<html>"), Response(200, body="{", cut=0)]
)
def test_a_call_whose_answer_was_lost_is_made_again_with_its_key_and_sends_once(dropped: Response) -> None:
    resend = Resend(lambda number: dropped if number == 1 else None)
    with provider_server(resend) as server:
        handed = hand_over(backend(server.url), [mail("a@example.com", "a"), mail("b@example.com", "b")])
    keys = {call.headers["idempotency-key"] for call in server.requests}
    assert len(server.requests) == 2
    assert len(keys) == 1
    assert len(resend.sent) == 2
    assert {answer.outcome for answer in handed.answers.values()} == {Outcome.ACCEPTED}
    assert all(answer.remote_id for answer in handed.answers.values())


@pytest.mark.parametrize(
    "then", [fault(429, "rate_limit_exceeded"), fault(422, "validation_error"), fault(403, "invalid_api_key")]
)
def test_after_a_lost_answer_no_refusal_makes_the_mail_one_that_was_not_sent(then: Response) -> None:
    """The first call took the mail; a later one that is put off must not have it sent a second time."""
    resend = Resend(lambda number: DROP_AFTER if number == 1 else then)
    with provider_server(resend) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert len(resend.sent) == 1
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert handed.error is None


def test_a_mail_is_uncertain_when_no_try_is_answered() -> None:
    with provider_server(Resend(lambda number: DROP_AFTER)) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert len(server.requests) == 3


def test_the_key_of_a_batch_is_that_of_its_mails_in_their_order() -> None:
    with provider_server(Resend()) as server:
        for _ in range(2):
            hand_over(backend(server.url), [mail("a@example.com", "a"), mail("b@example.com", "b")])
        hand_over(backend(server.url), [mail("b@example.com", "b"), mail("a@example.com", "a")])
    first, second, other = (call.headers["idempotency-key"] for call in server.requests)
    assert first == second
    assert other != first
    assert len(first) <= 256


def test_a_key_used_before_for_another_text_leaves_the_mail_uncertain(server: ProviderServer) -> None:
    hand_over(backend(server.url), [mail()])
    handed = hand_over(backend(server.url), [mail(text="written anew")])
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert "invalid_idempotent_request" in handed.only.text


@pytest.mark.parametrize(
    ("status", "name", "outcome"),
    [
        (400, "validation_error", Outcome.REFUSED),
        (422, "missing_required_field", Outcome.REFUSED),
        (422, "invalid_parameter", Outcome.REFUSED),
        (422, "invalid_attachment", Outcome.REFUSED),
        (451, "security_error", Outcome.REFUSED),
        (422, "a_name_of_tomorrow", Outcome.REFUSED),
        (413, "payload_too_large", Outcome.REFUSED),
        (409, "concurrent_idempotent_requests", Outcome.UNCERTAIN),
        (409, "invalid_idempotent_request", Outcome.UNCERTAIN),
        (429, "rate_limit_exceeded", Outcome.DEFERRED),
        (429, "daily_quota_exceeded", Outcome.DEFERRED),
        (429, "a_name_of_tomorrow", Outcome.DEFERRED),
        (503, "service_unavailable", Outcome.DEFERRED),
        (500, "application_error", Outcome.UNCERTAIN),
        (500, "internal_server_error", Outcome.UNCERTAIN),
    ],
)
def test_each_documented_error_of_a_mail_ends_as_it_means(status: int, name: str, outcome: Outcome) -> None:
    with provider_server(fault(status, name)) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.error is None
    assert (handed.only.outcome, handed.only.code) == (outcome, status)
    assert not handed.only.dead_address
    if outcome is Outcome.DEFERRED:
        assert handed.only.scope is Scope.SERVER


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (401, "missing_api_key"),
        (401, "restricted_api_key"),
        (403, "invalid_api_key"),
        (403, "validation_error"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (422, "invalid_from_address"),
        (422, "invalid_access"),
        (422, "invalid_region"),
        (400, "invalid_idempotency_key"),
        (429, "monthly_quota_exceeded"),
    ],
)
def test_what_every_mail_would_be_told_stops_the_hand_over_and_refuses_no_mail(
    status: int, name: str
) -> None:
    with provider_server(fault(status, name)) as server:
        handed = hand_over(backend(server.url, connections=1), [mail(key=f"k{n}") for n in range(101)])
    assert len(server.requests) == 1
    assert name in str(handed.error)
    assert len(handed.begun) < 102
    assert {answer.outcome for answer in handed.answers.values()} == {Outcome.DEFERRED}


def test_every_error_name_of_the_table_is_tried_above() -> None:
    source = globals()
    marks = [
        source["test_each_documented_error_of_a_mail_ends_as_it_means"].pytestmark,
        source["test_what_every_mail_would_be_told_stops_the_hand_over_and_refuses_no_mail"].pytestmark,
    ]
    tried = {case[1] for (mark,) in marks for case in mark.args[1]}
    assert set(ERRORS) <= tried


def test_a_limit_says_how_long_to_wait_and_is_not_run_against_again() -> None:
    with provider_server(fault(429, "rate_limit_exceeded", retry_after="2")) as server:
        handed = hand_over(backend(server.url, connections=1), [mail(key=f"k{n}") for n in range(250)])
    assert len(server.requests) == 1
    assert {answer.retry_after for answer in handed.answers.values()} == {timedelta(seconds=2)}
    with provider_server(fault(429, "daily_quota_exceeded")) as server:
        assert hand_over(backend(server.url), [mail()]).only.retry_after == timedelta(hours=1)


def test_a_provider_that_cannot_be_reached_leaves_the_mail_unsent() -> None:
    with provider_server(Response(200)) as server:
        url = server.url
    answer = hand_over(backend(url), [mail()]).only
    assert (answer.outcome, answer.scope) == (Outcome.DEFERRED, Scope.SERVER)


def test_a_connection_cut_before_the_content_was_read_is_tried_again() -> None:
    resend = Resend(lambda number: DROP_BEFORE if number == 1 else None)
    with provider_server(resend) as server:
        assert hand_over(backend(server.url), [mail()]).only.outcome is Outcome.ACCEPTED


def test_no_answer_however_odd_is_a_crash_or_makes_a_taken_mail_one_to_send_again() -> None:
    made = backend("https://api.resend.com")
    mails = [mail("a@example.com", "a"), mail("b@example.com", "b")]
    documented = {"data": [{"id": "1"}], "errors": [{"index": 1, "message": "Invalid `to` field."}]}
    fine = 0
    for odd in mangled(documented):
        answers = made._read(Reply(200, {}, json.dumps(odd).encode()), mails)
        assert len(answers) == 2
        fine += [answer.outcome for answer in answers] == [Outcome.ACCEPTED, Outcome.REFUSED]
        for answer in answers:
            assert answer.outcome is not Outcome.DEFERRED
    assert fine
    for odd in mangled({"statusCode": 422, "name": "validation_error", "message": "m"}):
        reply = Reply(422, {}, json.dumps(odd).encode())
        with suppress(DeliveryError):
            made.refusal(reply, mails[:1])


def test_resend_is_made_by_its_name_and_says_which_variable_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert PROVIDERS["resend"](ResendSettings()).base_url == "https://api.resend.com"
    monkeypatch.delenv("RESEND_API_KEY")
    with pytest.raises(DeliveryError, match=r"RESEND_API_KEY is not set; delivery\.resend\.api_key_env"):
        PROVIDERS["resend"](ResendSettings())
