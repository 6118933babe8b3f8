"""Amazon SES's events and notifications, in the shapes of its documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from servers.sns import NOW, TOPIC, Sns, call, message
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.ses import SesSettings
from drumbeat.errors import InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Verified, WebhookCall
from drumbeat.responses.webhooks.providers import WEBHOOKS
from drumbeat.responses.webhooks.ses import BOUNCES, DELAYS, KINDS, SesWebhook

MAIL = {
    "timestamp": "2026-11-24T11:50:00.000Z",
    "source": "Shop <shop@example.com>",
    "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/shop@example.com",
    "sendingAccountId": "123456789012",
    "messageId": "0102018c-0001-000000",
    "destination": ["reader@example.com"],
    "headersTruncated": False,
    "headers": [
        {"name": "From", "value": "Shop <shop@example.com>"},
        {"name": "Message-ID", "value": f"<k1.{TOKEN}@shop.example.com>"},
    ],
    "commonHeaders": {"from": ["Shop <shop@example.com>"], "messageId": "0102018c-0001-000000"},
    "tags": {
        "ses:configuration-set": ["shop-events"],
        "drumbeat": [TOKEN],
        "campaign": ["abandoned_cart"],
    },
}
AT = "2026-11-24T11:58:00.250Z"
READER = {"ipAddress": "203.0.113.7", "timestamp": AT, "userAgent": "Mozilla/5.0"}


def bounced(kind: str, subtype: str, *addresses: str, **recipient: str) -> dict[str, Any]:
    return {
        "eventType": "Bounce",
        "bounce": {
            "bounceType": kind,
            "bounceSubType": subtype,
            "bouncedRecipients": [
                {"emailAddress": one, "action": "failed", **recipient}
                for one in addresses or ["reader@example.com"]
            ],
            "timestamp": AT,
            "feedbackId": "0102018c-feedback",
            "reportingMTA": "dsn; mx.example.com",
        },
        "mail": MAIL,
    }


def complained(**more: Any) -> dict[str, Any]:
    complaint = {
        "complainedRecipients": [{"emailAddress": "reader@example.com"}],
        "timestamp": AT,
        "feedbackId": "0102018c-complaint",
        "complaintSubType": None,
        **more,
    }
    return {"eventType": "Complaint", "complaint": complaint, "mail": MAIL}


def delayed(kind: str, **recipient: str) -> dict[str, Any]:
    delay = {
        "timestamp": AT,
        "delayType": kind,
        "expirationTime": "2026-11-25T11:58:00.000Z",
        "delayedRecipients": [{"emailAddress": "reader@example.com", **recipient}],
    }
    return {"eventType": "DeliveryDelay", "deliveryDelay": delay, "mail": MAIL}


BOUNCE = bounced("Permanent", "General", status="5.1.1", diagnosticCode="smtp; 550 5.1.1 user unknown")
DELIVERY = {
    "eventType": "Delivery",
    "delivery": {
        "timestamp": AT,
        "processingTimeMillis": 3976,
        "recipients": ["reader@example.com"],
        "smtpResponse": "250 2.6.0 Message received",
        "reportingMTA": "mta.example.com",
    },
    "mail": MAIL,
}
CLICK = {
    "eventType": "Click",
    "click": {**READER, "link": "https://shop.example.com/?a=1", "linkTags": {"x": ["y"]}},
    "mail": MAIL,
}
PREFERENCES = {"unsubscribeAll": False, "topicSubscriptionStatus": []}
EVERY: dict[str, Mapping[str, Any]] = {
    "Send": {"eventType": "Send", "send": {}, "mail": MAIL},
    "Delivery": DELIVERY,
    "DeliveryDelay": delayed("MailboxFull", status="4.2.2"),
    "Bounce": BOUNCE,
    "Complaint": complained(complaintFeedbackType="abuse", userAgent="AnyCompany Feedback Loop (V0.01)"),
    "Reject": {"eventType": "Reject", "reject": {"reason": "Bad content"}, "mail": MAIL},
    "Rendering Failure": {
        "eventType": "Rendering Failure",
        "failure": {"templateName": "t", "errorMessage": "Attribute 'x' is not present"},
        "mail": MAIL,
    },
    "Open": {"eventType": "Open", "open": READER, "mail": MAIL},
    "Click": CLICK,
    "Subscription": {
        "eventType": "Subscription",
        "subscription": {
            "contactList": "readers",
            "timestamp": AT,
            "source": "shop@example.com",
            "newTopicPreferences": {**PREFERENCES, "unsubscribeAll": True},
            "oldTopicPreferences": PREFERENCES,
        },
        "mail": MAIL,
    },
}
EXPECTED = {**{name: kind for name, (kind, _, _) in KINDS.items()}, "Subscription": Kind.UNSUBSCRIBED}


@pytest.fixture(scope="module")
def webhook() -> SesWebhook:
    return SesWebhook(SesSettings(topics=(TOPIC,)), get=Sns().get)


def events(webhook: SesWebhook, inner: Any, **changes: Any) -> list[Event]:
    arrived = call(message(inner, **changes))
    webhook.verify(arrived)
    return list(webhook.events(arrived))


def only(webhook: SesWebhook, inner: Any) -> Event:
    (event,) = events(webhook, inner)
    return event


def test_every_documented_event_is_in_the_test() -> None:
    assert set(EVERY) == set(KINDS)


@pytest.mark.parametrize("name", EVERY)
def test_every_documented_event_has_its_kind_and_whose_it_is(webhook: SesWebhook, name: str) -> None:
    event = only(webhook, EVERY[name])
    assert event.kind is EXPECTED[name]
    assert (event.token, event.recipient) == (TOKEN, "reader@example.com")
    assert event.message_id == f"<k1.{TOKEN}@shop.example.com>"
    assert event.remote_id == "0102018c-0001-000000"
    assert event.event_id
    assert event.raw == EVERY[name]
    timed = any(
        isinstance(part, dict) and "timestamp" in part for key, part in EVERY[name].items() if key != "mail"
    )
    assert event.at == (
        datetime(2026, 11, 24, 11, 58, 0, 250_000, tzinfo=UTC)
        if timed
        else datetime(2026, 11, 24, 11, 50, tzinfo=UTC)
    )


def test_a_notification_differs_in_a_name_and_has_no_tags(webhook: SesWebhook) -> None:
    mail = {name: value for name, value in MAIL.items() if name != "tags"}
    notice = {"notificationType": "Bounce", "bounce": BOUNCE["bounce"], "mail": mail}
    event = only(webhook, notice)
    assert (event.kind, event.token, event.message_id) == (
        Kind.BOUNCED,
        None,
        f"<k1.{TOKEN}@shop.example.com>",
    )
    assert event.event_id == only(webhook, BOUNCE).event_id, "told twice, one fact"


def test_a_bounce_of_several_is_an_event_for_each(webhook: SesWebhook) -> None:
    found = events(
        webhook, bounced("Permanent", "NoEmail", "a@example.com", "b@example.com", "c@example.com")
    )
    assert [(one.recipient, one.bounce) for one in found] == [
        ("a@example.com", "hard"),
        ("b@example.com", "hard"),
        ("c@example.com", "hard"),
    ]
    assert len({one.event_id for one in found}) == 3
    assert {one.token for one in found} == {TOKEN}


def test_what_a_reader_did_says_where_and_with_what(webhook: SesWebhook) -> None:
    click, opened = only(webhook, CLICK), only(webhook, EVERY["Open"])
    assert (click.url, click.agent, click.ip) == (
        "https://shop.example.com/?a=1",
        "Mozilla/5.0",
        "203.0.113.7",
    )
    assert (opened.url, opened.agent, opened.ip) == (None, "Mozilla/5.0", "203.0.113.7")
    assert only(webhook, EVERY["Complaint"]).agent is None, "the report's program is not the reader's"


@pytest.mark.parametrize(
    ("event", "kind", "bounce", "reason"),
    [
        (BOUNCE, "bounced", "hard", "user_unknown"),
        (bounced("Permanent", "General"), "bounced", "hard", "other"),
        (bounced("Permanent", "General", status="5.1.2"), "bounced", "hard", "host_unknown"),
        (bounced("Permanent", "General", diagnosticCode="smtp; 554 5.7.1 spam"), "bounced", "soft", "policy"),
        (bounced("Permanent", "NoEmail"), "bounced", "hard", "user_unknown"),
        (bounced("Permanent", "Suppressed"), "rejected", "hard", "unsubscribed"),
        (bounced("Permanent", "OnAccountSuppressionList"), "rejected", None, "unsubscribed"),
        (bounced("Transient", "MailboxFull", status="5.2.2"), "bounced", "soft", "mailbox_full"),
        (bounced("Transient", "General", status="4.4.7"), "bounced", "soft", "expired"),
        (bounced("Transient", "General", status="5.1.1"), "bounced", "soft", "user_unknown"),
        (bounced("Undetermined", "Undetermined"), "bounced", "soft", "other"),
        (bounced("New", "Newer"), "bounced", "soft", "other"),
        (complained(), "complained", None, None),
        (complained(complaintFeedbackType="fraud"), "complained", None, None),
        (complained(complaintFeedbackType="not-spam"), "unknown", None, None),
        (complained(complaintFeedbackType="auth-failure"), "unknown", None, "authentication"),
        (complained(complaintSubType="OnAccountSuppressionList"), "rejected", None, "unsubscribed"),
        (delayed("IPFailure"), "deferred", None, "blocked"),
        (delayed("General", status="4.2.2"), "deferred", None, "mailbox_full"),
        (delayed("New"), "deferred", None, "other"),
        (EVERY["Reject"], "rejected", None, "virus"),
        ({"eventType": "Reject", "reject": {"reason": "New"}, "mail": MAIL}, "rejected", None, "other"),
        (EVERY["Rendering Failure"], "failed", None, "content"),
    ],
)  # fmt: skip
def test_types_and_subtypes_say_why(
    webhook: SesWebhook, event: Any, kind: str, bounce: str | None, reason: str | None
) -> None:
    found = only(webhook, event)
    assert (found.kind, found.bounce, found.reason) == (kind, bounce, reason)


def test_reasons_of_tables_are_of_the_vocabulary() -> None:
    assert all(isinstance(reason, BounceReason) for reason in DELAYS.values())
    assert all(reason is None or isinstance(reason, BounceReason) for _, _, reason in BOUNCES.values())


def test_the_servers_words_and_status_are_kept(webhook: SesWebhook) -> None:
    bounce, delivery = only(webhook, BOUNCE), only(webhook, DELIVERY)
    assert (bounce.status, bounce.text) == ("5.1.1", "smtp; 550 5.1.1 user unknown")
    assert (delivery.status, delivery.text) == ("2.6.0", "250 2.6.0 Message received")


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ({"news": "OptIn"}, {"news": "OptOut"}, Kind.UNSUBSCRIBED),
        ({"news": "OptOut"}, {"news": "OptIn"}, Kind.SUBSCRIBED),
        ({"news": "OptIn"}, {"news": "OptIn"}, Kind.UNKNOWN),
        ({"news": "OptOut", "tips": "OptIn"}, {"news": "OptIn", "tips": "OptOut"}, Kind.UNSUBSCRIBED),
    ],
)
def test_a_change_of_topics_is_read_from_before_and_after(
    webhook: SesWebhook, old: dict[str, str], new: dict[str, str], kind: Kind
) -> None:
    def preferences(found: dict[str, str]) -> dict[str, Any]:
        listed = [{"topicName": name, "subscriptionStatus": status} for name, status in found.items()]
        return {"unsubscribeAll": False, "topicSubscriptionStatus": listed}

    change = {
        "eventType": "Subscription",
        "subscription": {
            "newTopicPreferences": preferences(new),
            "oldTopicPreferences": preferences(old),
            "timestamp": AT,
        },
        "mail": MAIL,
    }
    assert only(webhook, change).kind is kind


def test_a_reader_who_comes_back_to_everything_is_subscribed(webhook: SesWebhook) -> None:
    change = json.loads(json.dumps(EVERY["Subscription"]))
    both = change["subscription"]
    both["newTopicPreferences"], both["oldTopicPreferences"] = (
        both["oldTopicPreferences"],
        both["newTopicPreferences"],
    )
    assert only(webhook, change).kind is Kind.SUBSCRIBED


def test_what_no_table_knows_is_kept(webhook: SesWebhook) -> None:
    new = {"eventType": "Teleported", "teleported": {"timestamp": AT}, "mail": MAIL}
    event = only(webhook, new)
    assert (event.kind, event.token, event.raw) == (Kind.UNKNOWN, TOKEN, new)


@pytest.mark.parametrize("inner", ["no JSON", "5", "[]", "[{}, {}]", "", "[" * 100_000])
def test_a_message_that_is_no_event_cannot_be_read(webhook: SesWebhook, inner: str) -> None:
    arrived = call(message(inner))
    webhook.verify(arrived)
    with pytest.raises(InputError):
        webhook.events(arrived)


def test_nothing_that_json_can_hold_crashes_it(webhook: SesWebhook) -> None:
    tried = 0
    for name in ("Bounce", "Click", "Subscription", "DeliveryDelay"):
        for inner in mangled(EVERY[name]):
            body = json.dumps({**message(), "Message": json.dumps(inner)}).encode()
            told(_Believes(webhook), WebhookCall({}, body, NOW))
            tried += 1
    for whole in mangled(json.loads(call(message(BOUNCE)).body)):
        told(webhook, WebhookCall({}, json.dumps(whole).encode(), NOW))
    assert tried > 1_000


class _Believes:
    """Reads events without asking for a signature, which costs a millisecond each."""

    name = "ses"

    def __init__(self, webhook: SesWebhook) -> None:
        self.events = webhook.events
        self.follow_up = webhook.follow_up

    def verify(self, call: WebhookCall) -> Verified:
        return Verified(str(len(call.body)))


def test_the_registry_makes_it_with_the_real_fetch() -> None:
    assert isinstance(WEBHOOKS["ses"](SesSettings(topics=(TOPIC,))), SesWebhook)
