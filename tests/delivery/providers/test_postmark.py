"""Postmark's batch call, on a local server that speaks it as documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import HEADERS, TOKEN, hand_over, mail, mangled

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.http import Reply
from drumbeat.delivery.postmark import ERRORS, PostmarkBackend, PostmarkSettings, _Verdict
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.errors import DeliveryError


def postmark(call: Recorded) -> Response:
    """Answer as Postmark does. A recipient `code406@...` gets that ErrorCode; `badto@...` is no address."""
    if call.headers.get("x-postmark-server-token") not in ("server-token", "POSTMARK_API_TEST"):
        return Response(
            401, json={"ErrorCode": 10, "Message": "Request does not contain a valid Server token."}
        )
    if call.method != "POST" or call.path != "/email/batch":
        return Response(404, json={"ErrorCode": 0, "Message": "Not found"})
    messages = call.json
    if len(messages) > 500:
        return Response(422, json={"ErrorCode": 410, "Message": "You may only send up to 500 messages"})
    if any("malformed" in message["HtmlBody"] for message in messages):
        return Response(422, json={"ErrorCode": 402, "Message": "Received invalid JSON input."})
    return Response(200, json=[result(message, number) for number, message in enumerate(messages)])


def result(message: dict[str, Any], number: int) -> dict[str, Any]:
    address = message["To"].rpartition("<")[2].rstrip(">")
    name = address.partition("@")[0]
    if name == "badto":
        return {
            "ErrorCode": 300,
            "Message": f"Error parsing 'To': Illegal email domain in address '{address}'.",
        }
    if name.startswith("code"):
        return {"ErrorCode": int(name[4:]), "Message": "As documented."}
    return {
        "To": address,
        "SubmittedAt": "2026-11-24T12:00:00.0000000-05:00",
        "MessageID": f"0000-{number}-{address}",
        "ErrorCode": 0,
        "Message": "OK",
    }


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTMARK_SERVER_TOKEN", "server-token")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(postmark) as running:
        yield running


def backend(url: str, **settings: Any) -> PostmarkBackend:
    made = PostmarkBackend(PostmarkSettings(base_url=url, timeout="2s", **settings))
    made._sleep = lambda seconds: None
    return made


def test_a_mail_arrives_with_all_its_parts(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id == "0000-0-reader@example.com"
    (call,) = server.requests
    assert call.json == [
        {
            "From": '"Büro, Shop & Söhne" <shop@example.com>',
            "To": '"Анна" <reader@example.com>',
            "ReplyTo": "help@example.com",
            "Subject": "Ваша корзина",
            "HtmlBody": "<p>Grüße {{var:name}}</p>",
            "TextBody": "Grüße",
            "Headers": [{"Name": name, "Value": value} for name, value in HEADERS]
            + [{"Name": "X-PM-KeepID", "Value": "true"}],
            "MessageStream": "broadcast",
            "Tag": "abandoned_cart",
            "Metadata": {"drumbeat": TOKEN},
            "TrackOpens": False,
            "TrackLinks": "None",
        }
    ]
    assert "корзина".encode() in call.body, "letters are sent as UTF-8, not as escapes"


def test_service_mail_goes_out_in_its_own_stream(server: ProviderServer) -> None:
    hand_over(backend(server.url), [mail(headers=(("Auto-Submitted", "auto-generated"),))])
    (message,) = server.requests[0].json
    assert message["MessageStream"] == "outbound"
    assert message["Headers"] == [{"Name": "Auto-Submitted", "Value": "auto-generated"}]


def test_streams_and_tracking_are_settings(server: ProviderServer) -> None:
    hand_over(backend(server.url, stream="news", track_opens=True, track_links=True), [mail(reply_to=None)])
    (message,) = server.requests[0].json
    assert (message["MessageStream"], message["TrackOpens"], message["TrackLinks"]) == (
        "news",
        True,
        "HtmlAndText",
    )
    assert "ReplyTo" not in message


def test_the_sandbox_needs_no_token_and_uses_the_documented_one(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POSTMARK_SERVER_TOKEN")
    assert hand_over(backend(server.url, sandbox=True), [mail()]).only.outcome is Outcome.ACCEPTED
    assert server.requests[0].headers["x-postmark-server-token"] == "POSTMARK_API_TEST"
    with pytest.raises(DeliveryError, match="POSTMARK_SERVER_TOKEN is not set"):
        PROVIDERS["postmark"](PostmarkSettings())


WHAT = {
    _Verdict.REFUSED: (Outcome.REFUSED, False, Scope.MESSAGE),
    _Verdict.DEAD: (Outcome.REFUSED, True, Scope.MESSAGE),
    _Verdict.LATER: (Outcome.DEFERRED, False, Scope.SERVER),
    _Verdict.ACCOUNT: (Outcome.DEFERRED, False, Scope.SERVER),
}


@pytest.mark.parametrize("code", [*ERRORS, 999, 701])
def test_every_error_code_of_one_mail_among_others_means_what_is_documented(
    server: ProviderServer, code: int
) -> None:
    mails = [mail("a@example.com", "k1"), mail(f"code{code}@example.com", "k2"), mail("c@example.com", "k3")]
    handed = hand_over(backend(server.url), mails)
    assert handed.error is None
    assert [handed.answers[key].outcome for key in ("k1", "k3")] == [Outcome.ACCEPTED] * 2
    answer = handed.answers["k2"]
    assert (answer.outcome, answer.dead_address, answer.scope) == WHAT[ERRORS.get(code, _Verdict.REFUSED)]
    assert answer.text == f"ErrorCode {code}: As documented."


def test_the_codes_that_matter_most_are_not_merely_those_of_the_table(server: ProviderServer) -> None:
    handed = hand_over(
        backend(server.url),
        [mail("code406@e.com", "k1"), mail("code300@e.com", "k2"), mail("code412@e.com", "k3")],
    )
    assert handed.answers["k1"].outcome is Outcome.REFUSED
    assert handed.answers["k1"].dead_address
    assert handed.answers["k2"].outcome is Outcome.REFUSED
    assert not handed.answers["k2"].dead_address
    assert handed.answers["k3"].outcome is Outcome.DEFERRED


def test_an_address_that_is_none_is_dead_another_faulty_field_is_not(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail("badto@example", "k1"), mail("code300@example.com", "k2")])
    assert [handed.answers[key].dead_address for key in ("k1", "k2")] == [True, False]


def test_withdrawn_mails_are_not_in_the_call(server: ProviderServer) -> None:
    mails = [mail("a@example.com", "k1"), mail("b@example.com", "k2")]
    handed = hand_over(backend(server.url), mails, lambda one: one.key == "k1")
    assert handed.answers["k1"].outcome is Outcome.WITHDRAWN
    assert [message["To"] for message in server.requests[0].json] == ['"Анна" <b@example.com>']


def test_a_call_has_at_most_500_mails(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail(f"r{n}@example.com", f"k{n}") for n in range(1_001)])
    assert {answer.outcome for answer in handed.answers.values()} == {Outcome.ACCEPTED}
    assert sorted(len(call.json) for call in server.requests) == [1, 500, 500]
    assert handed.answers["k777"].remote_id == "0000-277-r777@example.com"


def test_a_call_has_at_most_50_megabytes() -> None:
    settings = PostmarkSettings()
    made = PostmarkBackend(settings)
    large = [mail(key=f"k{n}", html="ж" * 4_000_000) for n in range(7)]
    batches = list(made.batches(large))
    assert [one.key for batch in batches for one in batch] == [one.key for one in large]
    assert max(len(made.call(batch).body or b"") for batch in batches) <= 50_000_000
    assert len(batches) > 1


def test_one_mail_that_the_call_as_a_whole_is_refused_for_does_not_cost_the_others(
    server: ProviderServer,
) -> None:
    mails = [mail(f"r{n}@example.com", f"k{n}") for n in range(100)]
    mails[37] = mail("r37@example.com", "k37", html="malformed")
    handed = hand_over(backend(server.url), mails)
    assert handed.answers["k37"].outcome is Outcome.REFUSED
    others = {answer.outcome for key, answer in handed.answers.items() if key != "k37"}
    assert others == {Outcome.ACCEPTED}
    sent = [
        message["To"] for call in server.requests if postmark(call).status == 200 for message in call.json
    ]
    assert len(sent) == len(set(sent)) == 99, "none is sent twice"
    assert len(server.requests) <= 2 * 7 + 1


def test_too_large_a_call_is_halved() -> None:
    def answer(call: Recorded) -> Response:
        return (
            postmark(call)
            if len(call.json) < 3
            else Response(413, json={"ErrorCode": 0, "Message": "too large"})
        )

    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail(f"r{n}@example.com", f"k{n}") for n in range(5)])
    assert {one.outcome for one in handed.answers.values()} == {Outcome.ACCEPTED}


def test_nothing_more_is_tried_where_a_half_is_deferred_or_the_account_refused() -> None:
    for status, said in ((429, {}), (401, {"ErrorCode": 10, "Message": "no"})):
        calls: list[int] = []

        def answer(
            call: Recorded, status: int = status, said: Any = said, calls: list[int] = calls
        ) -> Response:
            calls.append(len(call.json))
            if len(calls) == 1:
                return Response(413, json={"ErrorCode": 0, "Message": "too large"})
            return Response(status, json=said)

        with provider_server(answer) as server:
            handed = hand_over(backend(server.url), [mail(f"r{n}@example.com", f"k{n}") for n in range(4)])
        assert calls == [4, 2]
        assert {one.outcome for one in handed.answers.values()} == {Outcome.DEFERRED}
        assert (handed.error is not None) == (status == 401)


def test_what_the_first_half_got_is_kept_where_the_account_is_refused_at_the_second() -> None:
    calls: list[int] = []

    def answer(call: Recorded) -> Response:
        calls.append(len(call.json))
        if len(calls) == 1:
            return Response(413, json={})
        return postmark(call) if len(calls) == 2 else Response(401, json={"ErrorCode": 10, "Message": "no"})

    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail(f"r{n}@example.com", f"k{n}") for n in range(4)])
    outcomes = [handed.answers[f"k{n}"].outcome for n in range(4)]
    assert outcomes == [Outcome.ACCEPTED] * 2 + [Outcome.DEFERRED] * 2


@pytest.mark.parametrize("code", [400, 401, 405, 412, 413, 1235])
def test_a_refused_account_ends_the_hand_over_and_nothing_is_uncertain(code: int) -> None:
    with provider_server(Response(422, json={"ErrorCode": code, "Message": "Pending."})) as server:
        handed = hand_over(backend(server.url), [mail(key=f"k{n}") for n in range(3)])
    assert f"ErrorCode {code}: Pending." in str(handed.error)
    assert {one.outcome for one in handed.answers.values()} == {Outcome.DEFERRED}
    assert len(server.requests) == 1


def test_a_wrong_token_is_one_line_of_what_to_do(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTMARK_SERVER_TOKEN", "other")
    handed = hand_over(backend(server.url), [mail()])
    assert "postmark refuses our account" in str(handed.error)
    assert "\n" not in str(handed.error)
    assert handed.only.outcome is Outcome.DEFERRED


@pytest.mark.parametrize(
    ("answer", "outcome", "scope"),
    [
        (Response(422, json={"ErrorCode": 100, "Message": "Maintenance"}), Outcome.DEFERRED, Scope.SERVER),
        (Response(422, json={"ErrorCode": 300, "Message": "Invalid"}), Outcome.REFUSED, Scope.MESSAGE),
        (Response(422, body="<html>"), Outcome.REFUSED, Scope.MESSAGE),
        (Response(429, json={"ErrorCode": 429, "Message": "Slow down"}), Outcome.DEFERRED, Scope.SERVER),
        (Response(500, json={}), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(503, json={"ErrorCode": 100, "Message": "Maintenance"}), Outcome.DEFERRED, Scope.SERVER),
        (Response(200, body="<html>"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json=[]), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json=[{}]), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json=[{"ErrorCode": "0"}]), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json=[{"ErrorCode": False}]), Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_BEFORE, Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_AFTER, Outcome.UNCERTAIN, Scope.MESSAGE),
    ],
)
def test_every_end_of_the_call_is_told_exactly(answer: Response, outcome: Outcome, scope: Scope) -> None:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.error is None
    assert (handed.only.outcome, handed.only.scope) == (outcome, scope)
    assert len(server.requests) == 1, "a call that cannot be repeated is made once"


def test_no_server_is_certainly_not_sent() -> None:
    with provider_server(postmark) as server:
        gone = server.url
    assert hand_over(backend(gone), [mail()]).only.outcome is Outcome.DEFERRED


def test_no_answer_of_any_form_crashes_or_is_taken_for_sent() -> None:
    made = backend("http://127.0.0.1:1")
    for odd in mangled([result({"To": "a@example.com"}, 1)]):
        body = json.dumps(odd).encode()
        for status in (200, 422):
            made._reply = lambda call, status=status, body=body: Reply(status, {}, body)  # type: ignore[method-assign, misc]
            (answer,), _ = made._answers([mail()])
            if answer.outcome is Outcome.ACCEPTED:
                assert status == 200
                assert json.dumps(odd[0]["ErrorCode"]) == "0"
