"""Messages of Amazon SNS: believed only as SNS signs them, of topics of ours, and in time."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from servers.provider import Response, provider_server
from servers.sns import (
    CERTIFICATE,
    HOST,
    NOW,
    TOPIC,
    Sns,
    call,
    certificate,
    key,
    message,
    signature,
    subscription,
)

from drumbeat.delivery.ses import SesSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.webhooks import Forged, Stale, WebhookCall
from drumbeat.responses.webhooks.ses import GREETING, SesWebhook
from drumbeat.responses.webhooks.sns import FAILED_FOR, KEPT, fetch, subscribe_url

SETTINGS = SesSettings(topics=(TOPIC,))
SENT = message({"eventType": "Send", "mail": {}})


@pytest.fixture
def sns() -> Sns:
    return Sns()


@pytest.fixture
def webhook(sns: Sns) -> SesWebhook:
    return SesWebhook(SETTINGS, get=sns.get)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "found",
    [SENT, message({}, Subject="Amazon SES"), subscription(), subscription("UnsubscribeConfirmation")],
)
def test_every_type_of_message_is_believed_as_sns_signs_it(
    webhook: SesWebhook, found: dict[str, Any], version: str
) -> None:
    verified = webhook.verify(call({**found, "SignatureVersion": version}))
    assert (verified.replay_key, verified.keep) == (found["MessageId"], True)


def test_the_certificate_is_fetched_once(webhook: SesWebhook, sns: Sns) -> None:
    for _ in range(3):
        webhook.verify(call(SENT))
    assert sns.asked == [CERTIFICATE]


def test_a_message_is_checked_in_milliseconds(webhook: SesWebhook) -> None:
    arrived = call(message({"mail": {"headers": [{"name": "X", "value": "y" * 900}] * 10}}))
    webhook.verify(arrived)
    began = time.thread_time()
    for _ in range(20):
        webhook.verify(arrived)
    assert (time.thread_time() - began) / 20 < 0.01, "0.2 ms when this was written"


@pytest.mark.parametrize(
    "field", ["Message", "MessageId", "Timestamp", "TopicArn", "Type", "Subject", "Token", "SubscribeURL"]
)
def test_no_signed_field_can_be_altered(webhook: SesWebhook, field: str) -> None:
    found = subscription() if field in ("Token", "SubscribeURL") else message({}, Subject="Amazon SES")
    odd = {
        "Timestamp": "2026-11-24T11:59:31.000Z",
        "Type": "Notification" if "Token" in found else "SubscriptionConfirmation",
    }
    with pytest.raises(Forged):
        webhook.verify(call(found, **{field: odd.get(field, f"{found[field]}x")}))


@pytest.mark.parametrize(
    "field",
    [
        "Message",
        "MessageId",
        "Timestamp",
        "TopicArn",
        "Signature",
        "SigningCertURL",
        "SignatureVersion",
        "Type",
    ],
)
@pytest.mark.parametrize("odd", [None, 5, [], {}, "", "x", True, " Notification", "\ud800\x00"])
def test_a_message_without_a_field_it_needs_is_refused(webhook: SesWebhook, field: str, odd: Any) -> None:
    with pytest.raises((Forged, Stale)):
        webhook.verify(call(SENT, **{field: odd}))


def test_a_message_signed_by_another_key_is_forged(webhook: SesWebhook) -> None:
    with pytest.raises(Forged, match="signature of the SNS message is wrong"):
        webhook.verify(call(SENT, Signature=signature(SENT, key(number=1))))


def test_a_signature_made_with_the_other_hash_is_forged(webhook: SesWebhook) -> None:
    with pytest.raises(Forged, match="signature of the SNS message is wrong"):
        webhook.verify(call({**SENT, "SignatureVersion": "1"}, SignatureVersion="2"))


def test_only_topics_of_ours_are_believed_and_nothing_is_fetched_for_others(sns: Sns) -> None:
    """Anybody with an account can have SNS sign a message to our address."""
    other = message({}, TopicArn="arn:aws:sns:eu-west-1:999999999999:theirs")
    for settings in (SETTINGS, SesSettings()):
        with pytest.raises(Forged, match=r"is none of ours; delivery\.ses\.topics"):
            SesWebhook(settings, get=sns.get).verify(call(other))
    assert sns.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0a.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0a.pem",
        "https://user@sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0a.pem",
        "https://s3.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://xsns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com/my-bucket/mine.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem?x=.pem",
        "https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-0a.pem",
        "https://sns.eu-west-١.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1\\.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://[sns/SimpleNotificationService-0a.pem",
        "file:///etc/passwd",
    ],
)
def test_a_certificate_from_elsewhere_is_not_fetched(webhook: SesWebhook, sns: Sns, url: str) -> None:
    with pytest.raises(Forged, match="SigningCertURL"):
        webhook.verify(call(SENT, SigningCertURL=url))
    assert sns.asked == []


@pytest.mark.parametrize(
    "pem",
    [
        certificate(common="evil.example"),
        certificate(common="sns.evil.amazonaws.com.evil.example"),
        certificate(common="other", names=("email.eu-west-1.amazonaws.com",)),
        certificate(ec.generate_private_key(ec.SECP256R1())),
        certificate(key(1024)),
        certificate(days=(-30, -1)),
        certificate(days=(1, 30)),
    ],
    ids=["name", "longer name", "other service", "other kind of key", "short key", "ended", "not begun"],
)
def test_a_certificate_that_sns_would_not_sign_with_is_refused(sns: Sns, pem: bytes) -> None:
    sns.pages[CERTIFICATE] = pem
    with pytest.raises(Forged, match="certificate of the SNS message"):
        SesWebhook(SETTINGS, get=sns.get).verify(call(SENT))


def test_a_certificate_may_name_sns_of_the_region(sns: Sns) -> None:
    sns.pages[CERTIFICATE] = certificate(common="amazonaws.com", names=("sns.eu-west-1.amazonaws.com",))
    SesWebhook(SETTINGS, get=sns.get).verify(call(SENT))


def test_while_the_certificate_cannot_be_had_sns_is_to_call_again(webhook: SesWebhook, sns: Sns) -> None:
    """Not Forged: SNS does not repeat a call that was answered with 403."""
    page = sns.pages.pop(CERTIFICATE)
    for _ in range(3):
        with pytest.raises(DeliveryError, match="cannot get the certificate"):
            webhook.verify(call(SENT))
    assert len(sns.asked) == 1, "a failure is remembered for a while"
    sns.pages[CERTIFICATE] = page
    webhook.verify(call(SENT, at=NOW + FAILED_FOR + timedelta(seconds=1)))


def test_what_is_no_certificate_is_not_kept_as_one(webhook: SesWebhook, sns: Sns) -> None:
    for page in (b"", b"<html>", b"\xff"):
        sns.pages[CERTIFICATE] = page
        with pytest.raises(DeliveryError, match="cannot get the certificate"):
            SesWebhook(SETTINGS, get=sns.get).verify(call(SENT))


def test_certificates_do_not_pile_up(webhook: SesWebhook, sns: Sns) -> None:
    for number in range(3 * KEPT):
        url = f"{HOST}/SimpleNotificationService-{number:032x}.pem"
        sns.pages[url] = sns.pages[CERTIFICATE]
        webhook.verify(call(SENT, SigningCertURL=url))
    assert len(webhook._signatures._known) == KEPT


@pytest.mark.parametrize("late", [timedelta(minutes=66), timedelta(days=30), -timedelta(minutes=6)])
def test_a_message_of_another_time_is_stale(webhook: SesWebhook, late: timedelta) -> None:
    with pytest.raises(Stale, match="at most 1:05:00 may lie between"):
        webhook.verify(call(SENT, at=NOW + late))


@pytest.mark.parametrize("late", [timedelta(minutes=60), -timedelta(minutes=4)])
def test_what_sns_repeats_for_an_hour_is_not_lost(webhook: SesWebhook, late: timedelta) -> None:
    assert webhook.verify(call(SENT, at=NOW + late)).replay_key == webhook.verify(call(SENT)).replay_key


@pytest.mark.parametrize("stamp", ["yesterday", "", "9999-12-31T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_time_that_cannot_be_read_is_stale(webhook: SesWebhook, stamp: str) -> None:
    with pytest.raises(Stale):
        webhook.verify(call({**SENT, "Timestamp": stamp}))


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{", b"5", b"[]", b"{}", b'{"eventType": "Send"}', b"[" * 100_000]
)
def test_what_is_no_message_of_sns_is_forged(webhook: SesWebhook, body: bytes) -> None:
    with pytest.raises(Forged):
        webhook.verify(WebhookCall({}, body, NOW))


def test_the_greeting_is_answered_and_not_kept(webhook: SesWebhook) -> None:
    hello = call(message(GREETING))
    assert webhook.verify(hello).keep is False
    assert webhook.events(hello) == []


def test_a_subscription_is_confirmed_at_sns(webhook: SesWebhook, sns: Sns) -> None:
    asking = subscription()
    sns.pages[asking["SubscribeURL"]] = b"<ConfirmSubscriptionResponse/>"
    arrived = call(asking)
    webhook.verify(arrived)
    assert webhook.events(arrived) == []
    webhook.follow_up(arrived)
    assert sns.asked[-1] == asking["SubscribeURL"]


def test_nothing_else_is_followed_up(webhook: SesWebhook, sns: Sns) -> None:
    for found in (SENT, subscription("UnsubscribeConfirmation")):
        webhook.follow_up(call(found))
    assert webhook.events(call(subscription("UnsubscribeConfirmation"))) == []
    assert sns.asked == []


def test_a_confirmation_that_fails_is_told(webhook: SesWebhook) -> None:
    with pytest.raises(DeliveryError, match="cannot reach"):
        webhook.follow_up(call(subscription()))


@pytest.mark.parametrize(
    "url",
    [
        None,
        5,
        "",
        f"http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"https://evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"https://sns.eu-west-1.amazonaws.com@evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"{HOST}/?Action=DeleteTopic&TopicArn={TOPIC}",
        f"{HOST}/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:999999999999:theirs",
        f"{HOST}/?Action=ConfirmSubscription",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_a_url_that_leads_elsewhere_is_not_followed(webhook: SesWebhook, sns: Sns, url: Any) -> None:
    with pytest.raises(InputError, match="not one of SNS"):
        webhook.follow_up(call(subscription(), SubscribeURL=url))
    assert sns.asked == []


def test_a_url_is_followed_as_it_was_checked() -> None:
    url = subscribe_url(
        {**subscription(), "SubscribeURL": f"{HOST}\n/?Action=ConfirmSubscription&TopicArn={TOPIC}"}
    )
    assert url == f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}"


def test_fetching_follows_no_redirect_and_tells_what_came() -> None:
    pages = {
        "/ok": Response(200, body="here"),
        "/moved": Response(302, headers={"Location": "/ok"}),
        "/gone": Response(404),
    }
    with provider_server(pages) as server:
        assert fetch(f"{server.url}/ok") == b"here"
        for path, status in (("/moved", 302), ("/gone", 404)):
            with pytest.raises(DeliveryError, match=f"answers {status}; expected 200"):
                fetch(f"{server.url}{path}")
        url = server.url
    with pytest.raises(DeliveryError, match=r"cannot reach 127\.0\.0\.1"):
        fetch(f"{url}/ok")
