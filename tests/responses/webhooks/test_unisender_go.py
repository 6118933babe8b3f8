"""What Unisender Go tells, in the shapes of its documentation, signed for real."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

import pytest
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.unisender_go import UnisenderGoSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Forged, Stale, WebhookCall
from drumbeat.responses.webhooks.providers import WEBHOOKS
from drumbeat.responses.webhooks.unisender_go import DELIVERY_STATUSES, STATUSES, UnisenderGoWebhook

NOW = datetime(2026, 11, 30, 15, 10, tzinfo=UTC)
KEY = "5h7qw2m8x4kd9c1vb6zt3rp0yn5h7qw2m8x4kd9c"

STATUS = {
    "job_id": "1a3Q2V-0000OZ-S0",
    "metadata": {"drumbeat": TOKEN, "campaign_id": "1"},
    "email": "Recipient.email@example.com",
    "status": "sent",
    "event_time": "2026-11-30 15:09:42",
}
INFO = {
    "delivery_status": "err_user_unknown",
    "destination_response": "550 5.1.1 User unknown",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "ip": "111.111.111.111",
    "country_code": "DE",
    "city": "Berlin",
}
SPAM_BLOCK = {
    "event_name": "transactional_spam_block",
    "event_data": {
        "block_time": "2026-11-30 15:00:00",
        "block_type": "one_smtp",
        "domain": "example.com",
        "SMTP_blocks_count": 8,
        "domain_status": "blocked",
    },
}


def status(name: str = "sent", **more: Any) -> dict[str, Any]:
    return {"event_name": "transactional_email_status", "event_data": {**STATUS, "status": name, **more}}


def several(*events: Any, **more: Any) -> dict[str, Any]:
    user = {
        "user_id": 456,
        "project_id": "6432890213745872",
        "project_name": "MyProject",
        "events": list(events),
    }
    return {"auth": "", "events_by_user": [user], **more}


def sign(content: Any, key: str = KEY, **style: Any) -> bytes:
    """Write and sign as documented: the MD5 of the body in which the key stands for `auth`."""
    if not isinstance(content, dict):
        return json.dumps(content).encode()
    body = json.dumps({**content, "auth": "#AUTH#"}, **style).encode()
    return body.replace(b"#AUTH#", md5(body.replace(b"#AUTH#", key.encode())).hexdigest().encode())


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> UnisenderGoWebhook:
    monkeypatch.setenv("UNISENDER_GO_API_KEY", KEY)
    return UnisenderGoWebhook(UnisenderGoSettings())


def call(body: bytes, method: str = "POST") -> WebhookCall:
    return WebhookCall({}, body, NOW, method=method)


def read(webhook: UnisenderGoWebhook, event: dict[str, Any]) -> Event:
    body = sign(several(event))
    assert webhook.verify(call(body)).keep
    (found,) = webhook.events(call(body))
    assert found.raw == event
    return found


@pytest.mark.parametrize(
    "style", [{}, {"separators": (",", ":")}, {"indent": 4}, {"sort_keys": True}, {"ensure_ascii": False}]
)
def test_a_signed_call_is_genuine_however_its_json_is_written(
    webhook: UnisenderGoWebhook, style: Any
) -> None:
    body = sign(several(status(comment="Отписка")), **style)
    assert webhook.verify(call(body)).keep
    assert webhook.events(call(body))[0].text == "Отписка"


def test_a_call_that_was_altered_or_signed_with_another_key_is_refused(webhook: UnisenderGoWebhook) -> None:
    genuine = sign(several(status("hard_bounced")))
    for forged in (
        genuine.replace(b"hard_bounced", b"unsubscribed"),
        genuine + b" ",
        sign(several(status()), key="another"),
        sign(several(status()), key=""),
    ):
        with pytest.raises(Forged, match="`auth` is wrong"):
            webhook.verify(call(forged))


def test_nothing_can_be_appended_to_a_genuine_call(webhook: UnisenderGoWebhook) -> None:
    """MD5 lets a signature be carried on past the end of a text, with bytes that no JSON has."""
    genuine = sign(several(status()))
    for tail in (b"\x80" + b"\x00" * 8, b"{}", b"]", genuine):
        with pytest.raises(Forged):
            webhook.verify(call(genuine + tail))


@pytest.mark.parametrize("auth", [None, "", "0" * 31, "0" * 33, "G" * 32, 5, ["0" * 32], "ü" * 32, "\ud800"])
def test_a_call_without_a_proper_auth_is_refused(webhook: UnisenderGoWebhook, auth: Any) -> None:
    with pytest.raises(Forged, match="no `auth`"):
        webhook.verify(call(json.dumps(several(status()) | {"auth": auth}).encode()))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"[{},{}]", b"[" * 9999, b"\xff", b"\x1f\x8b\x08", b'"x"']
)
def test_a_body_that_is_no_json_object_is_refused(webhook: UnisenderGoWebhook, body: bytes) -> None:
    with pytest.raises(Forged, match="json_post"):
        webhook.verify(call(body))


def test_a_field_of_a_customer_named_auth_is_not_taken_for_the_signature(webhook: UnisenderGoWebhook) -> None:
    body = sign(several(status(metadata={"auth": "0" * 32, "drumbeat": TOKEN})))
    assert webhook.verify(call(body)).keep


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_visit_when_a_webhook_is_switched_on_is_answered_and_not_kept(
    webhook: UnisenderGoWebhook, method: str
) -> None:
    assert not webhook.verify(call(b"", method)).keep


def test_a_call_that_is_repeated_has_the_same_replay_key_though_its_body_differs(
    webhook: UnisenderGoWebhook,
) -> None:
    first = webhook.verify(call(sign(several(status())))).replay_key
    again = webhook.verify(call(sign(several(status(), retry_count=3), indent=1))).replay_key
    other = webhook.verify(call(sign(several(status("opened"))))).replay_key
    assert first == again != other


def test_a_call_with_old_events_alone_is_stale(webhook: UnisenderGoWebhook) -> None:
    old = status(event_time=f"{NOW - timedelta(days=8):%Y-%m-%d %H:%M:%S}")
    with pytest.raises(Stale, match="webhook_max_age"):
        webhook.verify(call(sign(several(old))))
    assert webhook.verify(call(sign(several(old, status())))).keep


KINDS = {
    "accepted": Kind.QUEUED,
    "sent": Kind.SENT,
    "delivered": Kind.DELIVERED,
    "opened": Kind.OPENED,
    "clicked": Kind.CLICKED,
    "unsubscribed": Kind.UNSUBSCRIBED,
    "subscribed": Kind.SUBSCRIBED,
    "soft_bounced": Kind.DEFERRED,
    "hard_bounced": Kind.BOUNCED,
    "spam": Kind.COMPLAINED,
    "of_tomorrow": Kind.UNKNOWN,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_documented_status_has_its_word(webhook: UnisenderGoWebhook, name: str) -> None:
    event = read(webhook, status(name))
    assert event.kind is KINDS[name]
    assert event.at == datetime(2026, 11, 30, 15, 9, 42, tzinfo=UTC)
    assert (event.token, event.remote_id) == (TOKEN, "1a3Q2V-0000OZ-S0")
    assert event.recipient == "Recipient.email@example.com"


def test_no_status_of_the_table_is_left_out_above() -> None:
    assert set(STATUSES) == set(KINDS) - {"of_tomorrow"}


def test_a_hard_bounce_has_the_servers_words_and_status(webhook: UnisenderGoWebhook) -> None:
    event = read(webhook, status("hard_bounced", delivery_info=INFO))
    assert (event.bounce, event.reason, event.status) == ("hard", BounceReason.USER_UNKNOWN, "5.1.1")
    assert event.text == "550 5.1.1 User unknown"


HARD, SOFT, REJECTED, FAILED = (
    (Kind.BOUNCED, "hard"),
    (Kind.BOUNCED, "soft"),
    (Kind.REJECTED, None),
    (Kind.FAILED, None),
)
EXPECTED: dict[str, tuple[Kind, str | None]] = {
    "err_user_unknown": HARD,
    "err_user_inactive": HARD,
    "err_mailbox_discarded": HARD,
    "err_dest_invalid": HARD,
    "err_unreachable": HARD,
    "skip_dup_unreachable": (Kind.REJECTED, "hard"),
    "err_domain_inactive": SOFT,
    "err_no_dns": SOFT,
    "err_no_smtp": SOFT,
    "err_destination_misconfigured": SOFT,
    "err_not_available": SOFT,
    "err_mailbox_full": SOFT,
    "err_too_large": SOFT,
    "err_spam_rejected": SOFT,
    "err_blacklisted": SOFT,
    "err_will_retry": SOFT,
    "err_retry_letter": SOFT,
    "err_resend": SOFT,
    "err_giveup": SOFT,
    "err_src_invalid": SOFT,
    "err_delivery_failed": SOFT,
    "err_unknown": SOFT,
    "err_of_tomorrow": SOFT,
    "skip_dup_mailbox_full": REJECTED,
    "skip_dup_temp_unreachable": REJECTED,
    "err_skip_letter": REJECTED,
    "err_spam_skipped": REJECTED,
    "err_spam_removed": REJECTED,
    "err_unsubscribed": REJECTED,
    "not_sent": REJECTED,
    "err_lost": FAILED,
    "err_internal": FAILED,
}


@pytest.mark.parametrize("detail", EXPECTED)
def test_every_documented_delivery_status_of_a_final_failure_is_what_it_means(
    webhook: UnisenderGoWebhook, detail: str
) -> None:
    event = read(webhook, status("hard_bounced", delivery_info={"delivery_status": detail}))
    assert (event.kind, event.bounce) == EXPECTED[detail]
    assert event.reason is not None
    assert event.text == detail


def test_no_delivery_status_of_the_table_is_left_out_above() -> None:
    assert set(DELIVERY_STATUSES) == set(EXPECTED) - {"err_of_tomorrow"}


def test_a_final_failure_without_further_words_does_not_make_the_address_dead(
    webhook: UnisenderGoWebhook,
) -> None:
    event = read(webhook, status("hard_bounced"))
    assert (event.kind, event.bounce, event.reason) == (Kind.BOUNCED, "soft", BounceReason.OTHER)


def test_a_mail_that_unisender_goes_on_trying_has_not_bounced(webhook: UnisenderGoWebhook) -> None:
    full = {"delivery_status": "err_mailbox_full", "destination_response": "452 4.2.2 full"}
    event = read(webhook, status("soft_bounced", delivery_info=full))
    assert (event.kind, event.bounce, event.reason) == (Kind.DEFERRED, None, BounceReason.MAILBOX_FULL)
    waiting = read(webhook, status("soft_bounced", delivery_info={"delivery_status": "err_will_retry"}))
    assert (waiting.kind, waiting.reason) == (Kind.DEFERRED, None)


def test_a_click_has_its_whole_link_agent_and_address(webhook: UnisenderGoWebhook) -> None:
    link = "https://shop.example.com/" + "a" * 900
    event = read(webhook, status("clicked", url=link, delivery_info=INFO))
    assert (event.url, event.agent, event.ip) == (link, INFO["user_agent"], INFO["ip"])


def test_a_block_of_a_domain_is_kept_as_unknown(webhook: UnisenderGoWebhook) -> None:
    event = read(webhook, SPAM_BLOCK)
    assert event.kind is Kind.UNKNOWN
    assert event.at == datetime(2026, 11, 30, 15, 0, tzinfo=UTC)


def test_several_events_of_a_call_are_told_each(webhook: UnisenderGoWebhook) -> None:
    body = sign(several(status("delivered"), SPAM_BLOCK, status("opened", email="other@example.com")))
    events = webhook.events(call(body))
    assert [event.kind for event in events] == [Kind.DELIVERED, Kind.UNKNOWN, Kind.OPENED]
    assert events[2].recipient == "other@example.com"


def test_a_webhook_that_was_set_up_for_single_events_is_read_too(webhook: UnisenderGoWebhook) -> None:
    single = {"event_name": "transactional_email_status", "user_id": 1, **STATUS, "status": "delivered"}
    body = sign(single)
    assert webhook.verify(call(body)).keep
    (event,) = webhook.events(call(body))
    assert (event.kind, event.token, event.remote_id) == (Kind.DELIVERED, TOKEN, "1a3Q2V-0000OZ-S0")


@pytest.mark.parametrize(
    "content", [{}, {"events_by_user": []}, {"events_by_user": [{"events": []}]}, {"events_by_user": 1}]
)
def test_a_signed_call_that_tells_of_nothing_is_one_line(webhook: UnisenderGoWebhook, content: Any) -> None:
    with pytest.raises(InputError, match="tells of nothing"):
        webhook.events(call(sign(content)))


def test_no_value_anywhere_is_a_crash(webhook: UnisenderGoWebhook) -> None:
    kept = 0
    for sample in (
        several(status("hard_bounced", delivery_info=INFO), SPAM_BLOCK),
        {**STATUS, "event_name": "x"},
    ):
        for odd in mangled(sample):
            body = sign(odd)
            line = told(webhook, call(body))
            kept += "`auth`" not in line
            assert "\x00" not in line
            assert "\ud800" not in line
    assert kept > 300


def test_a_giant_call_is_read(webhook: UnisenderGoWebhook) -> None:
    body = sign(several(*[status(comment="x" * 1000, email=f"r{n}@example.com") for n in range(3000)]))
    assert webhook.verify(call(body)).keep
    assert len(webhook.events(call(body))) == 3000


def test_a_missing_key_is_one_line_that_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNISENDER_GO_API_KEY", raising=False)
    with pytest.raises(DeliveryError, match="UNISENDER_GO_API_KEY is not set"):
        WEBHOOKS["unisender_go"](UnisenderGoSettings())
