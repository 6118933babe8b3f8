"""Amazon SES's SendEmail, on a local server that speaks it as documented and checks the signature."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from servers.provider import DROP_AFTER, DROP_BEFORE, ProviderServer, Recorded, Response, provider_server
from support.handing import TOKEN, hand_over, mail

from drumbeat.clock import FixedClock
from drumbeat.delivery import Mail, Outcome, Scope
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.delivery.ses import ERRORS, QUOTA_WAIT, SesBackend, SesSettings, _Verdict
from drumbeat.delivery.sigv4 import Credentials, Place, signed_headers
from drumbeat.errors import DeliveryError

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CONTENT = b"From: Shop <shop@example.com>\r\nMessage-ID: <k1@shop.example.com>\r\n\r\nGr=C3=BC=C3=9Fe\r\n"


def ses(call: Recorded) -> Response:
    """Answer as SES does."""
    date = call.headers.get("x-amz-date", "")
    if date != f"{NOW:%Y%m%dT%H%M%SZ}":
        return error(403, "InvalidSignatureException", f"Signature expired: {date} is now earlier than ...")
    expected = signed_headers(
        Credentials("AKID", "SECRET", call.headers.get("x-amz-security-token")),
        Place("eu-west-1", "ses"),
        method=call.method,
        path=call.path,
        host=call.headers["host"],
        now=NOW,
        headers=[("Content-Type", call.headers["content-type"])],
        body=call.body,
    )
    if call.headers.get("authorization") != expected["Authorization"]:
        return error(403, "InvalidSignatureException", "The request signature we calculated does not match")
    if (call.method, call.path) != ("POST", "/v2/email/outbound-emails"):
        return error(404, "UnknownOperationException", "")
    return Response(200, json={"MessageId": "0102018c-0001-000000"})


def error(status: int, name: str, words: str, *, header: bool = True) -> Response:
    if header:
        return Response(status, json={"message": words}, headers={"x-amzn-ErrorType": name})
    return Response(status, json={"__type": f"com.amazonaws.ses#{name}", "Message": words})


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with provider_server(ses) as running:
        yield running


def backend(url: str, **settings: Any) -> SesBackend:
    made = SesSettings(base_url=url, timeout="2s", region="eu-west-1", **settings)
    return SesBackend(made, clock=FixedClock(NOW), sleep=lambda seconds: None)


def letter(**changes: Any) -> Mail:
    return replace(mail(), content=CONTENT, **changes)


def answered(answer: Response, one: Mail | None = None) -> Any:
    with provider_server(answer) as server:
        return hand_over(backend(server.url), [one or letter()])


def test_the_finished_mail_arrives_byte_for_byte_with_our_tags(server: ProviderServer) -> None:
    handed = hand_over(backend(server.url), [letter()])
    assert handed.only.outcome is Outcome.ACCEPTED
    assert handed.only.remote_id == "0102018c-0001-000000"
    (call,) = server.requests
    sent = call.json
    assert base64.b64decode(sent.pop("Content")["Raw"]["Data"]) == CONTENT
    assert sent == {
        "Destination": {"ToAddresses": ["reader@example.com"]},
        "EmailTags": [
            {"Name": "drumbeat", "Value": TOKEN},
            {"Name": "campaign", "Value": "abandoned_cart"},
        ],
    }


def test_settings_name_the_configuration_set_and_where_bounces_go(server: ProviderServer) -> None:
    made = backend(server.url, configuration_set="shop-events", bounces_to_return_path=True)
    assert hand_over(made, [letter()]).only.outcome is Outcome.ACCEPTED
    sent = server.requests[0].json
    assert sent["ConfigurationSetName"] == "shop-events"
    assert sent["FeedbackForwardingEmailAddress"] == "bounces@example.com"


def test_temporary_credentials_are_signed_with_their_token(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "FwoG+/==")
    made = backend(server.url, session_token_env="AWS_SESSION_TOKEN")
    assert hand_over(made, [letter()]).only.outcome is Outcome.ACCEPTED
    assert server.requests[0].headers["x-amz-security-token"] == "FwoG+/=="


def test_a_tag_that_ses_does_not_take_is_left_out(server: ProviderServer) -> None:
    hand_over(backend(server.url), [letter(token="", campaign="Весна")])
    assert server.requests[0].json["EmailTags"] == []


def test_mails_come_in_ascii_and_one_a_call(server: ProviderServer) -> None:
    assert SesBackend.eight_bit is False
    handed = hand_over(backend(server.url), [letter(key=f"k{n}") for n in range(5)])
    assert [one.outcome for one in handed.answers.values()] == [Outcome.ACCEPTED] * 5
    assert len(server.requests) == 5


def test_a_wrong_key_and_a_wrong_clock_stop_the_backend(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = backend(server.url)
    late._clock = FixedClock(NOW - timedelta(minutes=20))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "OTHER")
    for made, words in ((late, "Signature expired"), (backend(server.url), "does not match")):
        handed = hand_over(made, [letter()])
        assert handed.only.outcome is Outcome.DEFERRED
        assert words in str(handed.error)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", [name for name, verdict in ERRORS.items() if verdict is _Verdict.ACCOUNT])
def test_what_holds_for_every_mail_stops_the_backend(name: str, header: bool) -> None:
    handed = answered(error(400, name, "as documented", header=header))
    assert handed.only.outcome is Outcome.DEFERRED, "certainly not sent"
    assert handed.only.scope is Scope.SERVER
    assert f"Amazon SES refuses our account: 400 {name}: as documented" in str(handed.error)


@pytest.mark.parametrize(
    ("status", "name", "words", "wait"),
    [
        (429, "TooManyRequestsException", "Too many requests", None),
        (429, "TooManyRequestsException", "Maximum sending rate exceeded.", None),
        (400, "ThrottlingException", "Maximum sending rate exceeded.", None),
        (400, "Throttling", "Daily message quota exceeded.", QUOTA_WAIT),
        (400, "LimitExceededException", "", QUOTA_WAIT),
        (503, "ServiceUnavailable", "", None),
    ],
)
def test_limits_hold_for_a_while(status: int, name: str, words: str, wait: timedelta | None) -> None:
    handed = answered(error(status, name, words))
    assert handed.error is None
    assert (handed.only.outcome, handed.only.scope) == (Outcome.DEFERRED, Scope.SERVER)
    assert handed.only.retry_after == wait


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MessageRejected", "The message contains a virus."),
        ("BadRequestException", "Local address contains control or whitespace"),
        ("ValidationError", "1 validation error detected"),
        ("SomethingNew", "never heard of"),
    ],
)
def test_a_refused_mail_is_refused_alone(name: str, words: str) -> None:
    handed = answered(error(400, name, words))
    assert handed.error is None
    assert handed.only.outcome is Outcome.REFUSED
    assert words in handed.only.text
    assert handed.only.dead_address is False


UNVERIFIED = (
    "Email address is not verified. The following identities failed the check in region EU-WEST-1: {}"
)


def test_in_the_sandbox_a_reader_who_is_not_verified_is_refused_alone() -> None:
    handed = answered(error(400, "MessageRejected", UNVERIFIED.format("Reader@Example.com")))
    assert handed.error is None
    assert handed.only.outcome is Outcome.REFUSED


@pytest.mark.parametrize("who", ["shop@example.com", "reader@example.com, Shop <shop@example.com>"])
def test_a_sender_who_is_not_verified_stops_the_backend(who: str) -> None:
    handed = answered(error(400, "MessageRejected", UNVERIFIED.format(who)))
    assert "failed the check" in str(handed.error)
    assert handed.only.outcome is Outcome.DEFERRED


def test_a_configuration_set_that_does_not_exist_stops_the_backend() -> None:
    handed = answered(error(400, "BadRequestException", "Configuration set <x> does not exist."))
    assert "does not exist" in str(handed.error)


@pytest.mark.parametrize(
    "answer",
    [
        DROP_AFTER,
        DROP_BEFORE,
        error(500, "InternalFailure", ""),
        error(504, "GatewayTimeout", ""),
        Response(200, json={}),
        Response(200, json=["MessageId"]),
        Response(200, body="<html>"),
        Response(200, json={"MessageId": "1"}, cut=5),
    ],
)
def test_where_nobody_knows_the_mail_is_uncertain_and_not_sent_again(answer: Response) -> None:
    with provider_server(answer) as server:
        handed = hand_over(backend(server.url), [letter()])
    assert handed.only.outcome is Outcome.UNCERTAIN
    assert len(server.requests) == 1


def test_an_error_may_have_any_form() -> None:
    for body in (b"", b"[]", b"null", b'{"message": 5, "__type": []}', b"\xff", b'"x"'):
        assert answered(Response(400, body=body)).only.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://email.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "https://email.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://email.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_region_says_where_ses_is(region: str, url: str) -> None:
    assert PROVIDERS["ses"](SesSettings(region=region)).base_url == url


@pytest.mark.parametrize("region", ["", "eu-west-1.evil.example", "EU-WEST-1", "eu-west-1\n", "eu-west-١"])
def test_a_region_is_one_of_aws(region: str) -> None:
    with pytest.raises(ValidationError):
        SesSettings(region=region)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(
        DeliveryError, match=r"AWS_SECRET_ACCESS_KEY is not set; delivery\.ses\.secret_key_env"
    ):
        PROVIDERS["ses"](SesSettings())
