"""Mailgun's messages.mime, on a local server that speaks it as documented."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import TOKEN, hand_over, mail

from drumbeat.delivery import Mail, Outcome, Scope
from drumbeat.delivery.mailgun import MailgunBackend, MailgunSettings
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.errors import DeliveryError

CONTENT = (
    b"From: Shop <shop@example.com>\r\nMessage-ID: <k1@shop.example.com>\r\nDKIM-Signature: v=1; b=\r\n\r\n"
    b"--=_x\r\nGr=C3=BC=C3=9Fe\r\n\r\n"
)


def mailgun(call: Recorded) -> Response:
    """Answer as Mailgun does."""
    if call.headers.get("authorization") != f"Basic {base64.b64encode(b'api:key-1').decode()}":
        return Response(401, body="Forbidden", headers={"Content-Type": "text/plain"})
    if call.path != "/v3/mg.example.com/messages.mime":
        return said(404, "Domain not found: other.example.com")
    if not call.headers["content-type"].startswith("multipart/form-data"):
        return said(400, "Invalid request content type. Expecting 'multipart/form-data'")
    if b'name="message"; filename=' not in call.body:
        return said(400, "'message' parameter is not a file")
    if "@" not in call.form["to"][0]:
        return said(400, "to parameter is not a valid address. please check documentation")
    return Response(
        json={"id": "<k1.abcdefghijklmnopqrstuvwx27@shop.example.com>", "message": "Queued. Thank you."}
    )


def said(status: int, words: str, **headers: str) -> Response:
    return Response(status, json={"message": words}, headers=headers)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILGUN_API_KEY", "key-1")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(mailgun) as running:
        yield running


def backend(url: str, **settings: Any) -> MailgunBackend:
    made = MailgunSettings(**{"base_url": url, "timeout": "2s", "domain": "mg.example.com", **settings})
    return MailgunBackend(made, sleep=lambda seconds: None)


def letter(to: str = "reader@example.com", **changes: Any) -> Mail:
    return replace(mail(to), content=CONTENT, **changes)


def answered(answer: Response) -> Any:
    with provider_server(answer) as server:
        return hand_over(backend(server.url), [letter()])


def test_the_finished_mail_arrives_byte_for_byte_with_our_token(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [letter()])
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id == "k1.abcdefghijklmnopqrstuvwx27@shop.example.com"
    (call,) = server.requests
    assert call.files["message"] == CONTENT
    fields = {name: values for name, values in call.form.items() if name != "message"}
    assert fields == {
        "to": ["reader@example.com"],
        "v:drumbeat": [TOKEN],
        "o:tag": ["abandoned_cart"],
        "o:tracking": ["no"],
        "o:tracking-clicks": ["no"],
        "o:tracking-opens": ["no"],
    }


def test_settings_switch_tracking_signing_and_test_mode(server: ProviderServer) -> None:
    made = backend(server.url, tracking=True, sign=False, sandbox=True)
    hand_over(made, [letter(campaign="")])
    sent = server.requests[0].form
    assert sorted(sent) == ["message", "o:dkim", "o:testmode", "to", "v:drumbeat"]
    assert (sent["o:dkim"], sent["o:testmode"]) == (["no"], ["yes"])


def test_mails_come_in_ascii_and_one_a_call(server: ProviderServer) -> None:
    assert MailgunBackend.eight_bit is False
    handed = hand_over(backend(server.url), [letter(key=f"k{n}") for n in range(3)])
    assert [one.outcome for one in handed.answers.values()] == [Outcome.ACCEPTED] * 3
    assert len(server.requests) == 3


def test_an_address_that_mailgun_calls_invalid_is_dead(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [letter("no-address")])
    assert handed.only.outcome is Outcome.REFUSED
    assert handed.only.dead_address is True


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "from parameter is not a valid address. please check documentation"),
        (400, "message parameter is missing"),
        (400, "Send options (parameters starting with o:, h:, or v:) are limited to 16 kB total"),
        (413, "request size exceeds 52.4MiB limit"),
    ],
)
def test_a_refused_mail_says_nothing_of_its_address(status: int, words: str) -> None:
    handed = answered(said(status, words))
    assert handed.error is None
    assert handed.only.outcome is Outcome.REFUSED
    assert handed.only.dead_address is False
    assert words in handed.only.text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "Domain example.com is not allowed to send: The domain is unverified and requires DNS"),
        (400, "Domain example.com is not allowed to send: Sandbox subdomains are for test purposes only."),
        (400, "is not a valid secondary dkim domain name"),
        (401, "Forbidden"),
        (402, "Payment required"),
        (403, "Domain example is not allowed to send large batches yet"),
        (403, "Rejected: IP 1.2.3.4 can't be used to send the message"),
        (404, "Domain not found: example.com"),
    ],
)
def test_what_holds_for_every_mail_stops_the_backend(status: int, words: str) -> None:
    handed = answered(said(status, words))
    assert handed.only.outcome is Outcome.DEFERRED, "certainly not sent"
    assert f"Mailgun refuses our account: {status} {words}" in str(handed.error)


def test_a_wrong_key_or_domain_is_told(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = hand_over(backend(server.url, domain="other.example.com"), [letter()])
    assert "404 Domain not found: other.example.com; check delivery.mailgun" in str(handed.error)
    monkeypatch.setenv("MAILGUN_API_KEY", "key-2")
    assert "401 Forbidden; check delivery.mailgun" in str(hand_over(backend(server.url), [letter()]).error)


AGAIN = "Domain example.com is not allowed to send: recipient limit exceeded, try again after {}"


@pytest.mark.parametrize(
    ("words", "wait"),
    [
        (AGAIN.format("Mon, 20 Dec 2021 20:33:21 UTC"), timedelta(seconds=21)),
        (AGAIN.format("Mon, 20 Dec 2021 20:30:00 UTC"), timedelta()),
        (AGAIN.format("Fri, 31 Dec 9999 20:30:00 UTC"), timedelta(hours=6)),
        (AGAIN.format("a while"), None),
        ("Too many requests", None),
    ],
)
def test_a_limit_names_the_time_when_it_ends(words: str, wait: timedelta | None) -> None:
    handed = answered(said(429, words, Date="Mon, 20 Dec 2021 20:33:00 GMT"))
    assert (handed.only.outcome, handed.only.scope) == (Outcome.DEFERRED, Scope.SERVER)
    assert handed.only.retry_after == wait


@pytest.mark.parametrize(
    "answer",
    [
        DROP_AFTER,
        DROP_BEFORE,
        said(500, "Internal Server Error"),
        Response(200, json={"message": "Queued. Thank you."}),
        Response(200, json={"id": 5}),
        Response(200, body="Queued"),
    ],
)
def test_where_nobody_knows_the_mail_is_uncertain_and_not_sent_again(answer: Response) -> None:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [letter()])
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert len(server.requests) == 1


def test_an_error_may_have_any_form() -> None:
    for body in (b"", b"[]", b'{"message": 5}', b"null", b"\xff", b"plain words"):
        assert answered(Response(400, body=body)).only.outcome is Outcome.REFUSED


def test_the_region_says_where_mailgun_is() -> None:
    made = PROVIDERS["mailgun"](MailgunSettings(domain="a.b", region="eu"))
    assert made.base_url == "https://api.eu.mailgun.net"
    assert PROVIDERS["mailgun"](MailgunSettings(domain="a.b")).base_url == "https://api.mailgun.net"


def test_a_domain_is_needed_and_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeliveryError, match=r"delivery\.mailgun\.domain in project\.yaml is not set"):
        PROVIDERS["mailgun"](MailgunSettings())
    for domain in ("../v1", "a.b/c", "a b", "a.b?x"):
        with pytest.raises(ValidationError):
            MailgunSettings(domain=domain)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILGUN_API_KEY")
    with pytest.raises(DeliveryError, match=r"MAILGUN_API_KEY is not set; delivery\.mailgun\.key_env"):
        PROVIDERS["mailgun"](MailgunSettings(domain="a.b"))
