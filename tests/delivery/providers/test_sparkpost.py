"""SparkPost's Transmissions API, on a local server that speaks it as documented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from email import message_from_string
from email.policy import default
from typing import Any

import pytest
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import HEADERS, TOKEN, hand_over, mangled
from support.handing import mail as parts_mail

from drumbeat.delivery import Mail, Outcome, Scope
from drumbeat.delivery.http import Reply
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.delivery.sparkpost import ERRORS, SparkPostBackend, SparkPostSettings, _Verdict
from drumbeat.errors import DeliveryError

OWN = "".join(f"{name}: {value}\r\n" for name, value in HEADERS)


def mail(to: str = "reader@example.com", key: str = "k1", *, head: str = OWN, body: str = "Hello") -> Mail:
    """A mail as a finished message; SparkPost is given nothing else."""
    content = f"From: shop@example.com\r\nTo: {to}\r\nSubject: Hi\r\n{head}\r\n{body}\r\n"
    return replace(parts_mail(to, key), content=content.encode(), parts=None)


def sparkpost(call: Recorded) -> Response:
    """Answer as SparkPost does; the template language works on headers, as documented."""
    if call.headers.get("authorization") != "key-1":
        return fault(401, None, "Unauthorized.")
    if call.path != "/api/v1/transmissions":
        return fault(404, "1101", "invalid URI")
    transmission = call.json
    (recipient,) = transmission["recipients"]
    if "@" not in recipient["address"]["email"]:
        return fault(400, "5002", "no valid recipients")
    rejected = recipient["address"]["email"].startswith("rejected")
    results = {"total_rejected_recipients": int(rejected), "total_accepted_recipients": int(not rejected)}
    answer: dict[str, Any] = {"results": {**results, "id": "11668787484950529"}}
    if rejected:
        answer["errors"] = [{"message": "transmission created, but with validation errors", "code": "2000"}]
    return Response(200, json=answer)


def fault(status: int, code: str | None, message: str = "As documented.", **headers: str) -> Response:
    error = {"message": message} | ({"code": code} if code else {})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, json={"errors": [error]}, headers=named)


def as_read(transmission: dict[str, Any]) -> Any:
    """Return the message as SparkPost makes it of the transmission: {{...}} in its headers is replaced."""
    head, gap, body = transmission["content"]["email_rfc822"].partition("\r\n\r\n")
    known = transmission.get("substitution_data", {})
    head = re.sub(r"\{\{(.*?)\}\}", lambda found: known.get(found.group(1).strip(), ""), head)
    return message_from_string(head + gap + body, policy=default)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARKPOST_API_KEY", "key-1")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(sparkpost) as running:
        yield running


def backend(url: str, **settings: Any) -> SparkPostBackend:
    made = SparkPostBackend(SparkPostSettings(base_url=f"{url}/api/v1", timeout="2s", **settings))
    made._sleep = lambda seconds: None
    return made


def test_a_mail_arrives_as_the_message_we_wrote_with_all_its_headers(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail()])
    (call,) = server.requests
    content = call.json
    assert content["content"]["email_rfc822"].encode() == mail().content
    message = as_read(content)
    assert {name: message[name] for name, _ in HEADERS} == dict(HEADERS)
    assert content["recipients"] == [{"address": {"email": "reader@example.com"}}]
    assert content["metadata"] == {"drumbeat": TOKEN}
    assert content["campaign_id"] == "abandoned_cart"
    assert "return_path" not in content
    assert (handed.only.outcome, handed.only.remote_id) == (Outcome.ACCEPTED, "11668787484950529")


def test_sparkposts_own_tracking_and_template_language_are_off(server: ProviderServer) -> None:
    hand_over(backend(server.url), [mail()])
    assert server.requests[0].json["options"] == {
        "open_tracking": False,
        "initial_open": False,
        "click_tracking": False,
        "transactional": False,
        "perform_substitutions": False,
    }


def test_only_mail_that_cannot_be_unsubscribed_is_transactional_unless_our_header_is_to_stay(
    server: ProviderServer,
) -> None:
    hand_over(backend(server.url), [mail(head="")])
    hand_over(backend(server.url), [mail(head="", body="List-Unsubscribe: no header")])
    hand_over(backend(server.url, own_unsubscribe=True), [mail()])
    assert [call.json["options"]["transactional"] for call in server.requests] == [True, True, True]


def test_two_braces_reach_the_reader_as_they_are(server: ProviderServer) -> None:
    odd = "X-Odd: {{name}} {{{three}}} {{{{ }} {{ 1 }}\r\n"
    hand_over(backend(server.url), [mail(head=odd, body="{{body}}")])
    content = server.requests[0].json
    message = as_read(content)
    assert message["X-Odd"] == "{{name}} {{{three}}} {{{{ }} {{ 1 }}"
    assert message.get_content().strip() == "{{body}}"
    assert content["options"]["perform_substitutions"] is False


def test_a_mail_with_letters_beyond_ascii_goes_in_its_seven_bit_form(server: ProviderServer) -> None:
    plain = mail(body="Gr=C3=BC=C3=9Fe").content
    eight = replace(mail(body="Grüße"), seven_bit=lambda: plain)
    made = backend(server.url)
    assert made.eight_bit is False
    hand_over(made, [eight])
    assert server.requests[0].json["content"]["email_rfc822"].encode() == plain


def test_settings_name_the_subaccount_the_pool_the_bounce_domain_and_the_region(
    server: ProviderServer,
) -> None:
    made = backend(server.url, subaccount=7, ip_pool="news", bounce_domain="b.example.com", track_opens=True)
    hand_over(made, [mail()])
    (call,) = server.requests
    assert call.headers["x-msys-subaccount"] == "7"
    assert call.json["return_path"] == "bounces@b.example.com"
    assert call.json["options"]["ip_pool"] == "news"
    assert call.json["options"]["open_tracking"] is True
    eu = SparkPostSettings(base_url="https://api.eu.sparkpost.com/api/v1")
    assert PROVIDERS["sparkpost"](eu).base_url == "https://api.eu.sparkpost.com/api/v1"


def test_a_recipient_rejected_inside_a_success_is_refused(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail("rejected@example.com", "a"), mail("b@example.com", "b")])
    assert handed.answers["a"].outcome is Outcome.REFUSED
    assert "validation errors" in handed.answers["a"].text
    assert handed.answers["b"].outcome is Outcome.ACCEPTED


def test_a_recipient_that_is_no_address_is_refused(server: ProviderServer) -> None:
    answer = hand_over(backend(server.url), [mail("nobody")]).only
    assert (answer.outcome, answer.code) == (Outcome.REFUSED, 400)


STATUS = {
    1100: 403,
    1101: 404,
    1102: 405,
    1303: 401,
    1304: 401,
    1601: 403,
    1602: 409,
    1900: 503,
    2006: 409,
} | dict.fromkeys((2101, 2102, 2103, 2105), 420)
"""The HTTP status under which SparkPost documents a code; 400 or 422 for the others."""


@pytest.mark.parametrize(
    "code", [code for code, verdict in ERRORS.items() if verdict is not _Verdict.ACCOUNT]
)
def test_each_documented_code_about_a_mail_ends_as_it_means(code: int) -> None:
    with provider_server(fault(STATUS.get(code, 422), str(code))) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.error is None
    expected = {
        _Verdict.REFUSED: (Outcome.REFUSED, Scope.MESSAGE),
        _Verdict.AGAIN: (Outcome.DEFERRED, Scope.MESSAGE),
        _Verdict.LATER: (Outcome.DEFERRED, Scope.SERVER),
    }
    assert (handed.only.outcome, handed.only.scope) == expected[ERRORS[code]]
    assert len(server.requests) == 1
    assert not handed.only.dead_address


@pytest.mark.parametrize("code", [code for code, verdict in ERRORS.items() if verdict is _Verdict.ACCOUNT])
def test_each_documented_code_about_the_account_stops_the_hand_over_and_refuses_no_mail(code: int) -> None:
    with provider_server(fault(STATUS.get(code, 400), str(code))) as server:
        handed = hand_over(backend(server.url, connections=1), [mail(key="a"), mail(key="b")])
    assert len(server.requests) == 1
    assert str(code) in str(handed.error)
    assert {answer.outcome for answer in handed.answers.values()} == {Outcome.DEFERRED}


@pytest.mark.parametrize(
    ("answer", "outcome", "scope"),
    [
        (fault(400, None), Outcome.REFUSED, Scope.MESSAGE),
        (fault(400, "4711"), Outcome.REFUSED, Scope.MESSAGE),
        (fault(409, None), Outcome.REFUSED, Scope.MESSAGE),
        (fault(413, None), Outcome.REFUSED, Scope.MESSAGE),
        (fault(422, None), Outcome.REFUSED, Scope.MESSAGE),
        (fault(420, None), Outcome.DEFERRED, Scope.SERVER),
        (fault(429, None, "Too many requests"), Outcome.DEFERRED, Scope.SERVER),
        (fault(503, "1900"), Outcome.DEFERRED, Scope.SERVER),
        (Response(429, body="slow down"), Outcome.DEFERRED, Scope.SERVER),
        (fault(500, "1500"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (fault(500, "1501"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(502, body="<html>"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, body="<html>"), Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json={"results": {}}), Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_AFTER, Outcome.UNCERTAIN, Scope.MESSAGE),
        (DROP_BEFORE, Outcome.UNCERTAIN, Scope.MESSAGE),
        (Response(200, json={"results": {}}, cut=3), Outcome.UNCERTAIN, Scope.MESSAGE),
    ],
)
def test_every_other_end_of_a_call_is_told_as_it_is_and_nothing_is_sent_twice(
    answer: Response, outcome: Outcome, scope: Scope
) -> None:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert (handed.only.outcome, handed.only.scope) == (outcome, scope)
    assert len(server.requests) == 1


def test_sending_limits_say_how_long_to_wait() -> None:
    def pause(answer: Response) -> timedelta | None:
        with provider_server(answer) as server:
            return hand_over(backend(server.url), [mail()]).only.retry_after

    assert pause(fault(420, "2101")) == timedelta(hours=1)
    assert pause(fault(420, "2102")) == timedelta(hours=1)
    assert pause(fault(429, None)) == timedelta(seconds=5)
    assert pause(fault(429, None, retry_after="30")) == timedelta(seconds=30)


def test_of_several_mails_each_gets_its_own_answer_and_a_limit_stops_the_rest() -> None:
    said = iter([sparkpost, lambda call: fault(422, "3002"), sparkpost, lambda call: fault(420, "2102")])
    with provider_server(lambda call: next(said)(call)) as server:
        handed = hand_over(backend(server.url, connections=1), [mail(key=f"k{n}") for n in range(6)])
    assert [answer.outcome for answer in handed.answers.values()] == [
        Outcome.ACCEPTED,
        Outcome.REFUSED,
        Outcome.ACCEPTED,
        *[Outcome.DEFERRED] * 3,
    ]
    assert len(server.requests) == 4


def test_no_answer_however_odd_is_a_crash_or_makes_a_taken_mail_one_to_send_again() -> None:
    made = backend("https://api.sparkpost.com")
    documented = {"results": {"total_rejected_recipients": 0, "total_accepted_recipients": 1, "id": "1"}}
    for odd in mangled(documented):
        (answer,) = made._read(Reply(200, {}, json.dumps(odd).encode()), [mail()])
        assert answer.remote_id is None or isinstance(answer.remote_id, str)
        assert answer.outcome in (Outcome.ACCEPTED, Outcome.UNCERTAIN, Outcome.REFUSED)
        if answer.outcome is Outcome.REFUSED:
            assert odd["results"]["total_rejected_recipients"] == 1
    for odd in mangled({"errors": [{"message": "m", "code": "1902"}]}):
        with suppress(DeliveryError):
            made.refusal(Reply(400, {}, json.dumps(odd).encode()), [mail()])


def test_a_missing_key_is_one_line_that_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARKPOST_API_KEY")
    with pytest.raises(
        DeliveryError, match=r"SPARKPOST_API_KEY is not set; delivery\.sparkpost\.api_key_env"
    ):
        PROVIDERS["sparkpost"](SparkPostSettings())
