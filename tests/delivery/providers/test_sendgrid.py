"""SendGrid's Mail Send, on a local server that speaks it as documented."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import HEADERS, TOKEN, hand_over, mail

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.delivery.sendgrid import SendgridBackend, SendgridSettings
from drumbeat.errors import DeliveryError

RESERVED = {
    "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to",
    "from", "subject", "reply-to", "cc", "bcc",
}  # fmt: skip
"""Headers that SendGrid does not let a call set."""


def sendgrid(call: Recorded) -> Response:
    """Answer as SendGrid does."""
    if call.headers.get("authorization") != "Bearer SG.key":
        return errors(401, (None, "The provided authorization grant is invalid, expired, or revoked"))
    if (call.method, call.path) != ("POST", "/v3/mail/send"):
        return errors(404, (None, "Not found"))
    sent = call.json
    if [part["type"] for part in sent["content"]] not in (["text/plain", "text/html"], ["text/html"]):
        return errors(400, ("content", "If present, text/plain and text/html may only be provided in order."))
    if found := RESERVED & {name.lower() for name in sent["headers"]}:
        return errors(400, (f"headers.{found}", "The header is reserved and cannot be set"))
    if sum(len(name) + len(value) for name, value in sent["custom_args"].items()) > 10_000:
        return errors(400, ("custom_args", "The combined length may not exceed 10,000 bytes"))
    if "@" not in sent["personalizations"][0]["to"][0]["email"]:
        return errors(400, ("personalizations.0.to.0.email", "Does not contain a valid address."))
    if sent.get("mail_settings", {}).get("sandbox_mode", {}).get("enable") is True:
        return Response(200)
    return Response(202, headers={"X-Message-Id": "LRzXl_NHStOGhQ4kofSm_A"})


def errors(status: int, *faults: tuple[str | None, str], **headers: str) -> Response:
    listed = [{"field": field, "message": words, "help": None} for field, words in faults]
    return Response(
        status, json={"errors": listed}, headers={n.replace("_", "-"): v for n, v in headers.items()}
    )


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.key")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(sendgrid) as running:
        yield running


def backend(url: str, **settings: Any) -> SendgridBackend:
    made = SendgridSettings(base_url=url, timeout="2s", **settings)
    return SendgridBackend(made, sleep=lambda seconds: None)


def answered(answer: Response) -> Any:
    with provider_server(answer) as server:
        return hand_over(backend(server.url), [mail()])


def test_a_mail_arrives_with_all_its_parts(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id == "LRzXl_NHStOGhQ4kofSm_A"
    (call,) = server.requests
    assert call.json == {
        "personalizations": [{"to": [{"email": "reader@example.com", "name": "Анна"}]}],
        "from": {"email": "shop@example.com", "name": '"Büro, Shop & Söhne"'},
        "reply_to": {"email": "help@example.com"},
        "subject": "Ваша корзина",
        "content": [
            {"type": "text/plain", "value": "Grüße"},
            {"type": "text/html", "value": "<p>Grüße {{var:name}}</p>"},
        ],
        "headers": dict(HEADERS),
        "custom_args": {"drumbeat": TOKEN},
        "categories": ["abandoned_cart"],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
            "ganalytics": {"enable": False},
        },
    }


def test_a_mail_without_text_name_or_reply_address_is_sent_without(server: ProviderServer) -> None:
    assert hand_over(backend(server.url), [mail(text="", to_name=None, reply_to=None)]).error is None
    sent = server.requests[0].json
    assert sent["personalizations"] == [{"to": [{"email": "reader@example.com"}]}]
    assert [part["type"] for part in sent["content"]] == ["text/html"]
    assert "reply_to" not in sent


def test_names_and_addresses_are_kept_apart(server: ProviderServer) -> None:
    parts = {"to_name": 'A "B"; C\\D', "reply_to": "Help, Desk <help@example.com>"}
    hand_over(backend(server.url), [mail(**{**parts, "reply_to": '"Help, Desk" <help@example.com>'})])
    sent = server.requests[0].json
    assert sent["personalizations"][0]["to"] == [
        {"email": "reader@example.com", "name": '"A \\"B\\"; C\\\\D"'}
    ]
    assert sent["reply_to"] == {"email": "help@example.com", "name": '"Help, Desk"'}


def test_tracking_of_sendgrids_own_can_be_left_on(server: ProviderServer) -> None:
    hand_over(backend(server.url, tracking=True), [mail()])
    assert "tracking_settings" not in server.requests[0].json


def test_the_sandbox_takes_a_mail_without_a_name_for_it(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url, sandbox=True), [mail()])
    assert server.requests[0].json["mail_settings"] == {"sandbox_mode": {"enable": True}}
    assert (handed.only.outcome, handed.only.remote_id) == (Outcome.ACCEPTED, None)


def test_an_address_that_sendgrid_calls_invalid_is_dead() -> None:
    fault = ("personalizations.0.to.0.email", "Does not contain a valid address.")
    handed = answered(errors(400, fault))
    assert handed.only.outcome is Outcome.REFUSED
    assert handed.only.dead_address is True
    assert handed.only.text == "400 Does not contain a valid address."


@pytest.mark.parametrize(
    ("status", "field", "words"),
    [
        (400, "headers.List-Unsubscribe", "The header is not valid"),
        (400, "personalizations.0.to", "Each unique email address should only be included once."),
        (400, "personalizations.0.cc.0.email", "Does not contain a valid address."),
        (400, None, "Bad Request"),
        (406, "accept", "Missing Accept header"),
        (413, None, "Request Entity Too Large"),
    ],
)
def test_a_refused_mail_says_nothing_of_its_address(status: int, field: str | None, words: str) -> None:
    handed = answered(errors(status, (field, words)))
    assert handed.error is None
    assert handed.only.outcome is Outcome.REFUSED
    assert handed.only.dead_address is False
    assert words in handed.only.text


@pytest.mark.parametrize(
    ("status", "field", "words"),
    [
        (401, None, "The provided authorization grant is invalid, expired, or revoked"),
        (401, None, "Maximum credits exceeded"),
        (403, "from", "The from address does not match a verified Sender Identity."),
        (403, None, "access forbidden"),
        (400, "from.email", "The from email does not contain a valid address."),
        (404, None, "Not found"),
        (405, None, "Method not allowed"),
        (451, None, "Unavailable due to data residency restrictions"),
    ],
)
def test_what_holds_for_every_mail_stops_the_backend(status: int, field: str | None, words: str) -> None:
    handed = answered(errors(status, (field, words)))
    assert handed.only.outcome is Outcome.DEFERRED, "certainly not sent"
    assert words in str(handed.error)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"X_RateLimit_Reset": "1764000030", "Date": "Mon, 24 Nov 2025 16:00:00 GMT"}, timedelta(seconds=30)),
        ({"X_RateLimit_Reset": "1763999000", "Date": "Mon, 24 Nov 2025 16:00:00 GMT"}, timedelta()),
        ({"X_RateLimit_Reset": "9" * 30, "Date": "Mon, 24 Nov 2025 16:00:00 GMT"}, None),
        ({"X_RateLimit_Reset": "soon", "Date": "Mon, 24 Nov 2025 16:00:00 GMT"}, None),
        ({"X_RateLimit_Reset": "1764000030", "Date": "today"}, None),
        ({"Retry_After": "7"}, timedelta(seconds=7)),
        ({}, None),
    ],
)
def test_too_many_requests_wait_for_the_reset(headers: dict[str, str], wait: timedelta | None) -> None:
    handed = answered(errors(429, (None, "too many requests"), **headers))
    assert (handed.only.outcome, handed.only.scope) == (Outcome.DEFERRED, Scope.SERVER)
    assert handed.only.retry_after == wait


def test_a_service_that_is_away_is_asked_later() -> None:
    assert answered(errors(503, (None, "not available"))).only.outcome is Outcome.DEFERRED


@pytest.mark.parametrize(
    "answer", [DROP_AFTER, DROP_BEFORE, errors(500, (None, "internal error")), Response(502, body="<html>")]
)
def test_where_nobody_knows_the_mail_is_uncertain_and_not_sent_again(answer: Response) -> None:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [mail()])
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert len(server.requests) == 1


def test_an_error_may_have_any_form() -> None:
    for body in (b"", b"[]", b'{"errors": 5}', b'{"errors": [5, {"field": [], "message": {}}]}', b"\xff"):
        assert answered(Response(400, body=body)).only.outcome is Outcome.REFUSED


def test_the_region_says_where_sendgrid_is() -> None:
    assert PROVIDERS["sendgrid"](SendgridSettings()).base_url == "https://api.sendgrid.com"
    assert PROVIDERS["sendgrid"](SendgridSettings(region="eu")).base_url == "https://api.eu.sendgrid.com"


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENDGRID_API_KEY")
    with pytest.raises(DeliveryError, match=r"SENDGRID_API_KEY is not set; delivery\.sendgrid\.key_env"):
        PROVIDERS["sendgrid"](SendgridSettings())
