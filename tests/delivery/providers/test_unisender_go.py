"""Unisender Go's email/send, on a local server that speaks it as documented, its template language included."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import HEADERS, TOKEN, hand_over, mail, mangled

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.http import Reply
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.delivery.unisender_go import (
    ERRORS,
    FAILED_EMAILS,
    UnisenderGoBackend,
    UnisenderGoSettings,
    _Verdict,
)
from drumbeat.errors import DeliveryError


class Unisender:
    """Answers as Unisender Go does. `say` looks at each call and may answer otherwise, once the key is kept.

    An address `<status>@...` of FAILED_EMAILS fails with that status. A key is declined when it comes again.
    """

    def __init__(self, say: Callable[[int], Response | None] = lambda number: None) -> None:
        self.say = say
        self.keys: set[str] = set()
        self.sent: list[dict[str, Any]] = []
        self.calls = 0

    def __call__(self, call: Recorded) -> Response:
        self.calls += 1
        said = self.say(self.calls)
        if said is DROP_BEFORE or (said is not None and said.status // 100 == 4):
            return said
        if call.headers.get("x-api-key") != "key1":
            return fault(401, 102)
        if call.path != "/ru/transactional/api/v1/email/send.json":
            return fault(404, 0)
        message = call.json["message"]
        if message["idempotence_key"] in self.keys:
            return fault(400, 1573)
        if message.get("skip_unsubscribe") and not call.json["message"]["from_email"].startswith("granted"):
            return fault(400, 1588)
        (recipient,) = message["recipients"]
        address = recipient["email"]
        status = address.partition("@")[0]
        if status in FAILED_EMAILS:
            return fault(400, 204, failed_emails={address.upper(): status})
        self.keys.add(message["idempotence_key"])
        self.sent.append(message)
        return said or Response(
            200, json={"status": "success", "job_id": "1ZymBc-00041N-9X", "emails": [address]}
        )


def fault(status: int, code: int, **more: Any) -> Response:
    return Response(status, json={"status": "error", "code": code, "message": "As documented.", **more})


def as_read(message: dict[str, Any], words: str) -> str:
    """Return a text as the simple template language leaves it: a field that is unknown becomes nothing."""
    fields = message["recipients"][0].get("substitutions", {})
    return re.sub(r"\{\{(\w+)\}\}", lambda found: str(fields.get(found.group(1), "")), words)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNISENDER_GO_API_KEY", "key1")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(Unisender()) as running:
        yield running


def backend(url: str, **settings: Any) -> UnisenderGoBackend:
    base = f"{url}/ru/transactional/api/v1"
    made = UnisenderGoBackend(UnisenderGoSettings(base_url=base, timeout="2s", **settings))
    made._sleep = lambda seconds: None
    return made


def test_a_mail_arrives_with_its_parts_and_what_unisender_gives_back(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail(html="<p>Grüße</p>")])
    (call,) = server.requests
    assert call.json == {
        "message": {
            "recipients": [
                {
                    "email": "reader@example.com",
                    "metadata": {"drumbeat": TOKEN},
                    "substitutions": {"to_name": "Анна"},
                }
            ],
            "from_email": "shop@example.com",
            "from_name": "Büro, Shop & Söhne",
            "reply_to": "help@example.com",
            "subject": "Ваша корзина",
            "body": {"html": "<p>Grüße</p>", "plaintext": "Grüße"},
            "track_links": 0,
            "track_read": 0,
            "idempotence_key": "k1",
            "headers": {},
            "tags": ["abandoned_cart"],
        }
    }
    assert (handed.only.outcome, handed.only.remote_id) == (Outcome.ACCEPTED, "1ZymBc-00041N-9X")


def test_our_unsubscribe_headers_go_along_once_unisenders_block_may_be_left_out(
    server: ProviderServer,
) -> None:
    own = dict(HEADERS)
    made = backend(server.url, own_unsubscribe=True)
    handed = hand_over(made, [mail(from_address="granted@example.com", headers=(*HEADERS, ("X-Shop", "1")))])
    message = server.requests[0].json["message"]
    assert message["headers"] == {
        "List-Unsubscribe": own["List-Unsubscribe"],
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "X-Shop": "1",
    }
    assert (message["skip_unsubscribe"], message["template_engine"]) == (1, "none")
    assert message["body"]["html"] == "<p>Grüße {{var:name}}</p>"
    assert handed.only.outcome is Outcome.ACCEPTED


def test_without_that_right_the_hand_over_stops_and_says_what_to_do(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url, own_unsubscribe=True), [mail()])
    assert "or set own_unsubscribe to false" in str(handed.error)
    assert handed.only.outcome is Outcome.DEFERRED


def test_two_braces_reach_the_reader_as_they_are(server: ProviderServer) -> None:
    hand_over(backend(server.url), [mail(subject="{{a}} {{{b}}}", text="{{}} {{{{", html="<p>{{c}}</p>")])
    message = server.requests[0].json["message"]
    assert as_read(message, message["subject"]) == "{{a}} {{{b}}}"
    assert as_read(message, message["body"]["plaintext"]) == "{{}} {{{{"
    assert as_read(message, message["body"]["html"]) == "<p>{{c}}</p>"


def test_long_names_tags_and_keys_are_cut_to_what_unisender_takes(server: ProviderServer) -> None:
    long = mail(key="k" * 65, to_name="Ж" * 100, reply_to="Help <help@example.com>")
    hand_over(backend(server.url), [long])
    hand_over(backend(server.url), [mail(key="k" * 66)])
    first, second = (call.json["message"] for call in server.requests)
    assert first["recipients"][0]["substitutions"]["to_name"] == "Ж" * 78
    assert (first["reply_to"], first["reply_to_name"]) == ("help@example.com", "Help")
    assert len(first["idempotence_key"]) == 64
    assert first["idempotence_key"] != second["idempotence_key"]


@pytest.mark.parametrize("status", FAILED_EMAILS)
@pytest.mark.parametrize("inside", [True, False])
def test_a_failed_address_says_what_becomes_of_its_mail(status: str, inside: bool) -> None:
    """As error 204, and as `failed_emails` of a success, in whatever case the address is written."""
    failed = Response(
        200, json={"status": "success", "job_id": "1", "failed_emails": {"R@EXAMPLE.com": status}}
    )
    with provider_server(failed if inside else Unisender()) as server:
        answer = hand_over(
            backend(server.url), [mail("r@example.com" if inside else f"{status}@example.com")]
        ).only
    verdict = FAILED_EMAILS[status]
    if verdict is _Verdict.AWAY:
        assert (answer.outcome, answer.scope) == (Outcome.DEFERRED, Scope.MESSAGE)
        assert answer.retry_after == timedelta(days=3)
    elif verdict is _Verdict.KNOWN:
        assert answer.outcome is Outcome.UNCERTAIN
    else:
        assert answer.outcome is Outcome.REFUSED
        assert answer.dead_address is (status in ("invalid", "permanent_unavailable"))
    assert status in answer.text


def test_a_status_of_tomorrow_refuses_the_mail_alone() -> None:
    failed = {
        "status": "success",
        "job_id": "1",
        "emails": [],
        "failed_emails": {"reader@example.com": "asleep"},
    }
    with provider_server(Response(200, json=failed)) as server:
        answer = hand_over(backend(server.url), [mail()]).only
    assert (answer.outcome, answer.dead_address) == (Outcome.REFUSED, False)


@pytest.mark.parametrize("lost", [DROP_AFTER, Response(500), fault(500, 150), Response(200, body="x", cut=0)])
def test_a_call_whose_answer_was_lost_is_made_again_and_never_sends_twice(lost: Response) -> None:
    unisender = Unisender(lambda number: lost if number == 1 else None)
    with provider_server(unisender) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert len(server.requests) == 2
    assert len(unisender.sent) == 1
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert "1573" in handed.only.text


def test_a_call_that_never_arrived_is_made_again_and_sends_once() -> None:
    unisender = Unisender(lambda number: DROP_BEFORE if number == 1 else None)
    with provider_server(unisender) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert len(unisender.sent) == 1
    assert handed.only.outcome is Outcome.ACCEPTED


def test_all_tries_fit_into_the_minute_for_which_a_key_is_kept() -> None:
    longest = UnisenderGoSettings().timeout
    with pytest.raises(ValidationError):
        UnisenderGoSettings(timeout="16s")
    # Two answers waited for, the pauses between, and the ten seconds that each connection may take.
    assert 2 * longest + timedelta(seconds=0.5 + 2 + 2 * 10) < timedelta(minutes=1)


STATUS = {101: 401, 102: 401, 114: 401} | dict.fromkeys(
    (105, 106, 215, 901, 902, 903, 904, 905, 1598, 1599), 403
)
"""The HTTP status under which Unisender documents a code; 400 for the others."""


@pytest.mark.parametrize("code", [code for code, verdict in ERRORS.items() if verdict is _Verdict.ACCOUNT])
def test_each_documented_code_about_the_account_stops_the_hand_over_and_refuses_no_mail(code: int) -> None:
    with provider_server(fault(STATUS.get(code, 400), code)) as server:
        handed = hand_over(backend(server.url, connections=1), [mail(key="a"), mail(key="b")])
    assert len(server.requests) == 1
    assert str(code) in str(handed.error)
    assert {answer.outcome for answer in handed.answers.values()} == {Outcome.DEFERRED}


def test_an_account_on_the_other_host_is_told_so() -> None:
    with provider_server(fault(401, 114)) as server:
        assert "go1 or go2" in str(hand_over(backend(server.url), [mail()]).error)


@pytest.mark.parametrize(
    ("answer", "outcome", "scope"),
    [
        (fault(403, 901), Outcome.DEFERRED, Scope.SERVER),
        (fault(403, 1599), Outcome.DEFERRED, Scope.SERVER),
        (fault(429, 0), Outcome.DEFERRED, Scope.SERVER),
        (Response(429, body="slow down"), Outcome.DEFERRED, Scope.SERVER),
        (Response(503, body="<html>"), Outcome.DEFERRED, Scope.SERVER),
        (fault(400, 1573), Outcome.UNCERTAIN, Scope.MESSAGE),
        (fault(400, 111), Outcome.REFUSED, Scope.MESSAGE),
        (fault(400, 203), Outcome.REFUSED, Scope.MESSAGE),
        (fault(400, 204), Outcome.REFUSED, Scope.MESSAGE),
        (fault(400, 221), Outcome.REFUSED, Scope.MESSAGE),
        (fault(400, 1516), Outcome.REFUSED, Scope.MESSAGE),
        (fault(400, 1578), Outcome.REFUSED, Scope.MESSAGE),
        (fault(400, 9999), Outcome.REFUSED, Scope.MESSAGE),
        (fault(413, 199), Outcome.REFUSED, Scope.MESSAGE),
        (fault(500, 150), Outcome.UNCERTAIN, Scope.MESSAGE),
        (fault(500, 908), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(502, body="<html>"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, body="<html>"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json={"status": "success", "job_id": "1"}), Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_AFTER, Outcome.UNCERTAIN, Scope.MESSAGE),
    ],
)
def test_every_other_end_of_a_call_is_told_as_it_is(answer: Response, outcome: Outcome, scope: Scope) -> None:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.error is None
    assert (handed.only.outcome, handed.only.scope) == (outcome, scope)


def test_of_several_mails_each_gets_its_own_answer() -> None:
    with provider_server(Unisender()) as server:
        addresses = ["a@example.com", "unsubscribed@example.com", "b@example.com", "invalid@example.com"]
        handed = hand_over(backend(server.url), [mail(to, to) for to in addresses])
    assert [handed.answers[to].outcome for to in addresses] == [
        Outcome.ACCEPTED,
        Outcome.REFUSED,
        Outcome.ACCEPTED,
        Outcome.REFUSED,
    ]


def test_no_answer_however_odd_is_a_crash_or_makes_a_taken_mail_one_to_send_again() -> None:
    made = backend("https://go1.unisender.ru")
    documented = {"status": "success", "job_id": "1", "emails": ["reader@example.com"], "failed_emails": {}}
    for odd in mangled(documented):
        (answer,) = made._read(Reply(200, {}, json.dumps(odd).encode()), [mail()])
        assert answer.remote_id is None or isinstance(answer.remote_id, str)
        assert answer.outcome in (Outcome.ACCEPTED, Outcome.UNCERTAIN)
    failed = {
        "status": "error",
        "code": 204,
        "message": "m",
        "failed_emails": {"reader@example.com": "invalid"},
    }
    for odd in mangled(failed):
        with suppress(DeliveryError):
            made.refusal(Reply(400, {}, json.dumps(odd).encode()), [mail()])


def test_a_missing_key_is_one_line_that_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "go1" in PROVIDERS["unisender_go"](UnisenderGoSettings()).base_url
    monkeypatch.delenv("UNISENDER_GO_API_KEY")
    with pytest.raises(
        DeliveryError, match=r"UNISENDER_GO_API_KEY is not set; delivery\.unisender_go\.api_key"
    ):
        PROVIDERS["unisender_go"](UnisenderGoSettings())
