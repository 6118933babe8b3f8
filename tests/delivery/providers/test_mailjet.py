"""Mailjet's Send API v3.1, on a local server that speaks it as documented."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import TOKEN, hand_over, mail, mangled

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.http import Reply
from drumbeat.delivery.mailjet import ERRORS, MailjetBackend, MailjetSettings, _Verdict
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.errors import DeliveryError

AUTH = "Basic " + b64encode(b"public:private").decode()
FORBIDDEN = {"from", "sender", "subject", "to", "return-path", "received", "list-id", "date", "message-id"}
STATUS = {"send-0006": 403, "send-0007": 403, "send-0008": 403, "mj-0001": 401, "mj-0015": 401}


def error(code: str, about: str = "Subject", status: int | None = None) -> dict[str, Any]:
    return {
        "ErrorIdentifier": "88b5ca9f-5f1f-42e7-a45e-9ecbad0c285e",
        "ErrorCode": code,
        "StatusCode": status or STATUS.get(code, 400),
        "ErrorMessage": "As documented.",
        "ErrorRelatedTo": [about],
    }


def mailjet(call: Recorded) -> Response:
    """Answer as Mailjet does. A recipient `send-0003@...` gets that error; with any error the status is its."""
    if call.headers.get("authorization") != AUTH:
        return Response(401, json={**error("mj-0015"), "ErrorMessage": "API key authentication failure."})
    if call.method != "POST" or call.path != "/v3.1/send":
        return Response(404, json={"ErrorMessage": "Object not found", "StatusCode": 404})
    messages = call.json["Messages"]
    if len(messages) > 50:
        return Response(400, json=error("mj-0008", "Messages"))
    if any("malformed" in message["HTMLPart"] for message in messages):
        return Response(400, json=error("mj-0002"))
    sandbox = call.json.get("SandboxMode", False)
    results = [result(message, number, sandbox) for number, message in enumerate(messages)]
    failed = [entry["Errors"][0]["StatusCode"] for entry in results if entry["Status"] == "error"]
    return Response(failed[0] if failed else 200, json={"Messages": results})


def result(message: dict[str, Any], number: int, sandbox: bool = False) -> dict[str, Any]:
    address = message["To"][0]["Email"]
    if FORBIDDEN & {name.lower() for name in message["Headers"]}:
        return {"Status": "error", "Errors": [error("send-0011", "Headers")]}
    if "@" not in address:
        return {"Status": "error", "Errors": [error("mj-0013", "To[0].Email")]}
    name = address.partition("@")[0]
    if name.startswith(("mj-", "send-")):
        return {"Status": "error", "Errors": [error(name)]}
    sent = (
        {"MessageUUID": "", "MessageID": 0}
        if sandbox
        else {"MessageUUID": f"u{number}", "MessageID": 10**16 + number}
    )
    return {
        "Status": "success",
        "CustomID": message.get("CustomID", ""),
        "To": [{"Email": address, **sent, "MessageHref": "https://api.mailjet.com/v3/REST/message/1"}],
        "Cc": [],
        "Bcc": [],
    }


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILJET_API_KEY", "public")
    monkeypatch.setenv("MAILJET_SECRET_KEY", "private")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(mailjet) as running:
        yield running


def backend(url: str, **settings: Any) -> MailjetBackend:
    made = MailjetBackend(MailjetSettings(base_url=url, timeout="2s", **settings))
    made._sleep = lambda seconds: None
    return made


def test_a_mail_arrives_with_its_parts_and_the_headers_that_mailjet_takes(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id == "10000000000000000"
    assert server.requests[0].json == {
        "Messages": [
            {
                "From": {"Email": "shop@example.com", "Name": "Büro, Shop & Söhne"},
                "To": [{"Email": "reader@example.com", "Name": "Анна"}],
                "ReplyTo": {"Email": "help@example.com"},
                "Subject": "Ваша корзина",
                "HTMLPart": "<p>Grüße {{var:name}}</p>",
                "TextPart": "Grüße",
                "Headers": {
                    "List-Unsubscribe": "<https://shop.example.com/u/" + "x" * 300 + ">",
                    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
                    "Feedback-ID": "cart:offers:de:shop1",
                },
                "CustomCampaign": "abandoned_cart",
                "CustomID": TOKEN,
                "TrackOpens": "disabled",
                "TrackClicks": "disabled",
                "TemplateLanguage": False,
            }
        ]
    }


def test_tracking_is_a_setting(server: ProviderServer) -> None:
    hand_over(backend(server.url, track_opens=True, track_links=True), [mail(reply_to=None, to_name=None)])
    (message,) = server.requests[0].json["Messages"]
    assert (message["TrackOpens"], message["TrackClicks"]) == ("enabled", "enabled")
    assert message["To"] == [{"Email": "reader@example.com"}]
    assert "ReplyTo" not in message


def test_the_sandbox_gives_no_name_of_a_message(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url, sandbox=True), [mail()])
    assert (handed.only.outcome, handed.only.remote_id) == (Outcome.ACCEPTED, None)
    assert server.requests[0].json["SandboxMode"] is True


WHAT = {
    _Verdict.REFUSED: (Outcome.REFUSED, Scope.MESSAGE),
    _Verdict.ACCOUNT: (Outcome.DEFERRED, Scope.SERVER),
}


@pytest.mark.parametrize("code", list(ERRORS))
def test_good_mails_are_sent_beside_one_with_an_error_whatever_the_status_of_the_call(
    server: ProviderServer, code: str
) -> None:
    mails = [mail("a@example.com", "k1"), mail(f"{code}@example.com", "k2"), mail("c@example.com", "k3")]
    handed = hand_over(backend(server.url), mails)
    assert handed.error is None
    assert [handed.answers[key].outcome for key in ("k1", "k3")] == [Outcome.ACCEPTED] * 2
    answer = handed.answers["k2"]
    assert (answer.outcome, answer.scope) == WHAT[ERRORS[code]]
    assert not answer.dead_address
    assert answer.text == f"{code}: As documented."
    assert len(server.requests) == 1


def test_an_address_that_is_none_is_dead_the_senders_is_not(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail("nowhere", "k1"), mail("mj-0013@example.com", "k2")])
    assert [handed.answers[key].outcome for key in ("k1", "k2")] == [Outcome.REFUSED] * 2
    assert [handed.answers[key].dead_address for key in ("k1", "k2")] == [True, False]


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ([error("mj-0003"), error("new-1", status=429)], Outcome.DEFERRED),
        ([error("mj-0013", "To[0].Email"), error("new-1", status=500)], Outcome.UNCERTAIN),
        ([error("new-1", status=400)], Outcome.REFUSED),
        ([error("new-1", status=429)], Outcome.DEFERRED),
        ([error("new-1", status=500)], Outcome.UNCERTAIN),
        ([{"ErrorCode": "new-1"}], Outcome.REFUSED),
        ([], Outcome.UNCERTAIN),
        (None, Outcome.UNCERTAIN),
        ("x", Outcome.UNCERTAIN),
    ],
)
def test_of_several_errors_the_weightiest_counts_and_new_ones_are_read_by_their_status(
    errors: Any, outcome: Outcome
) -> None:
    answer = Response(400, json={"Messages": [{"Status": "error", "Errors": errors}]})
    with provider_server(answer) as server:
        assert hand_over(backend(server.url), [mail()]).only.outcome is outcome


@pytest.mark.parametrize("code", ["send-0006", "send-0007", "send-0008", "mj-0001", "mj-0015"])
def test_where_every_mail_of_a_call_is_refused_for_the_account_the_hand_over_ends(
    server: ProviderServer, code: str
) -> None:
    handed = hand_over(backend(server.url), [mail(f"{code}@example.com", f"k{n}") for n in range(3)])
    assert f"{code}: As documented." in str(handed.error)
    assert {one.outcome for one in handed.answers.values()} == {Outcome.DEFERRED}


def test_a_call_has_at_most_50_mails(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail(f"r{n}@example.com", f"k{n}") for n in range(101)])
    assert {answer.outcome for answer in handed.answers.values()} == {Outcome.ACCEPTED}
    assert sorted(len(call.json["Messages"]) for call in server.requests) == [1, 50, 50]
    assert handed.answers["k77"].remote_id == str(10**16 + 27)


def test_one_mail_that_the_call_as_a_whole_is_refused_for_does_not_cost_the_others(
    server: ProviderServer,
) -> None:
    mails = [mail(f"r{n}@example.com", f"k{n}") for n in range(50)]
    mails[37] = mail("r37@example.com", "k37", html="malformed")
    handed = hand_over(backend(server.url), mails)
    assert handed.answers["k37"].outcome is Outcome.REFUSED
    assert {one.outcome for key, one in handed.answers.items() if key != "k37"} == {Outcome.ACCEPTED}
    sent = [
        message["To"][0]["Email"]
        for call in server.requests
        if mailjet(call).status == 200
        for message in call.json["Messages"]
    ]
    assert len(sent) == len(set(sent)) == 49, "none is sent twice"


def test_wrong_keys_end_the_hand_over_and_nothing_is_uncertain(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILJET_SECRET_KEY", "other")
    handed = hand_over(backend(server.url), [mail(key="k1"), mail(key="k2")])
    assert "mj-0015" in str(handed.error)
    assert {one.outcome for one in handed.answers.values()} == {Outcome.DEFERRED}


@pytest.mark.parametrize(
    "answer",
    [
        Response(401, json=error("mj-0001")),
        Response(
            401, json={"ErrorMessage": "API key authentication/authorization failure.", "StatusCode": 401}
        ),
        Response(403, body="forbidden"),
    ],
)
def test_a_refused_account_ends_the_hand_over(answer: Response) -> None:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.error is not None
    assert handed.only.outcome is Outcome.DEFERRED


@pytest.mark.parametrize(
    ("answer", "outcome", "scope"),
    [
        (Response(400, json=error("mj-0011")), Outcome.REFUSED, Scope.MESSAGE),
        (Response(413, body="too large"), Outcome.REFUSED, Scope.MESSAGE),
        (Response(400, body="<html>"), Outcome.REFUSED, Scope.MESSAGE),
        (Response(429, json={"ErrorMessage": "Too many"}), Outcome.DEFERRED, Scope.SERVER),
        (
            Response(500, json={"ErrorIdentifier": "D4DF574C", "StatusCode": 500}),
            Outcome.UNCERTAIN,
            Scope.MESSAGE,
        ),
        (Response(503), Outcome.DEFERRED, Scope.SERVER),
        (Response(200, body="<html>"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json={"Messages": []}), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(400, json={"Messages": []}), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json={"Messages": [{"Status": "odd"}]}), Outcome.UNCERTAIN, Scope.MESSAGE),
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


def test_a_missing_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILJET_SECRET_KEY")
    with pytest.raises(DeliveryError, match=r"MAILJET_SECRET_KEY is not set; delivery\.mailjet\.secret_env"):
        PROVIDERS["mailjet"](MailjetSettings())


def test_no_answer_of_any_form_crashes_or_is_taken_for_sent() -> None:
    made = backend("http://127.0.0.1:1")
    good = {"Messages": [result({"To": [{"Email": "a@example.com"}], "Headers": {}}, 1)]}
    bad = {"Messages": [{"Status": "error", "Errors": [error("mj-0013", "To[0].Email")]}]}
    for payload in (good, bad):
        for odd in mangled(payload):
            body = json.dumps(odd).encode()
            for status in (200, 400):
                made._reply = lambda call, status=status, body=body: Reply(status, {}, body)  # type: ignore[method-assign, misc]
                answers, _ = made._answers([mail()])
                assert len(answers) == 1
                if answers[0].outcome is Outcome.ACCEPTED:
                    assert odd["Messages"][0]["Status"] == "success"
