"""Mailgun's webhooks, in the shapes of its documentation."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.mailgun import MailgunSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Forged, Stale, WebhookCall
from drumbeat.responses.webhooks.mailgun import BOTS, CODES, KINDS, REASONS, MailgunWebhook
from drumbeat.responses.webhooks.providers import WEBHOOKS

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NONCE = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0"
SETTINGS = MailgunSettings(webhook_key_env="MAILGUN_WEBHOOK_KEY")
MESSAGE = {
    "headers": {
        "to": "Reader <reader@example.com>",
        "message-id": f"k1.{TOKEN}@shop.example.com",
        "from": "shop@example.com",
        "subject": "Your cart",
    },
    "attachments": [],
    "size": 867,
}


def entry(event: str, **more: Any) -> dict[str, Any]:
    return {
        "event": event,
        "id": "pl271FzxTTmGRW8Uj3dUWw",
        "timestamp": 1795521540.818328,
        "log-level": "info",
        "recipient": "reader@example.com",
        "recipient-domain": "example.com",
        "tags": ["abandoned_cart"],
        "campaigns": [],
        "user-variables": {"drumbeat": TOKEN},
        "flags": {"is-test-mode": False},
        "message": MESSAGE,
        **more,
    }


READER = {
    "ip": "203.0.113.7",
    "geolocation": {"country": "US", "region": "Texas", "city": "Austin"},
    "client-info": {
        "client-type": "mobile browser",
        "client-os": "iOS",
        "device-type": "mobile",
        "client-name": "Mobile Safari",
        "user-agent": "Mozilla/5.0 (iPhone)",
        "bot": "",
    },
}
TAKEN = {"code": 250, "message": "OK", "tls": True, "mx-host": "mx.example.com"}
DELIVERED = entry("delivered", **{"delivery-status": TAKEN})


def failed(
    severity: str = "permanent", reason: str = "generic", code: Any = 550, message: str = "", **more: Any
) -> dict[str, Any]:
    delivery = {"code": code, "message": message, "description": "", "attempt-no": 1, **more}
    return entry("failed", severity=severity, reason=reason, **{"delivery-status": delivery})


def signed(event: Any, *, at: datetime | str = NOW, key: str = "sign-key", **changes: Any) -> WebhookCall:
    stamp = at if isinstance(at, str) else str(int(at.timestamp()))
    signature = hmac.new(key.encode(), f"{stamp}{NONCE}".encode(), "sha256").hexdigest()
    whole = {"signature": {"timestamp": stamp, "token": NONCE, "signature": signature}, "event-data": event}
    return WebhookCall(**{"headers": {}, "body": json.dumps(whole).encode(), "received_at": NOW, **changes})


def resigned(call: WebhookCall, **signature: Any) -> WebhookCall:
    """Return the call with parts of its signature changed."""
    whole = json.loads(call.body)
    whole["signature"].update(signature)
    return WebhookCall({}, json.dumps(whole).encode(), NOW)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> MailgunWebhook:
    monkeypatch.setenv("MAILGUN_WEBHOOK_KEY", "sign-key")
    made = WEBHOOKS["mailgun"](SETTINGS)
    assert isinstance(made, MailgunWebhook)
    return made


def only(webhook: MailgunWebhook, found: Any) -> Event:
    (event,) = webhook.events(signed(found))
    return event


@pytest.mark.parametrize("name", [name for name in KINDS if name != "failed"])
def test_every_documented_event_has_its_kind_and_whose_it_is(webhook: MailgunWebhook, name: str) -> None:
    call = signed(entry(name))
    assert webhook.verify(call).replay_key == NONCE
    event = only(webhook, entry(name))
    assert event.kind is KINDS[name]
    assert (event.token, event.recipient) == (TOKEN, "reader@example.com")
    assert event.message_id == event.remote_id == f"k1.{TOKEN}@shop.example.com"
    assert event.at == datetime(2026, 11, 24, 11, 59, 0, 818328, tzinfo=UTC)
    assert event.raw == entry(name)


def test_an_id_that_is_unique_within_a_day_is_kept_with_the_day(webhook: MailgunWebhook) -> None:
    assert only(webhook, DELIVERED).event_id == "20261124-pl271FzxTTmGRW8Uj3dUWw"
    next_day = entry("delivered", timestamp=1795521540.818328 + 86_400)
    assert only(webhook, next_day).event_id == "20261125-pl271FzxTTmGRW8Uj3dUWw"


def test_what_a_reader_did_says_where_and_with_what(webhook: MailgunWebhook) -> None:
    click = only(webhook, entry("clicked", url="https://shop.example.com/?a=1", **READER))
    assert (click.url, click.agent, click.ip, click.machine) == (
        "https://shop.example.com/?a=1",
        "Mozilla/5.0 (iPhone)",
        "203.0.113.7",
        None,
    )


@pytest.mark.parametrize(("bot", "machine"), [*BOTS.items(), ("new", "new"), ("", None)])
def test_a_bot_is_told(webhook: MailgunWebhook, bot: str, machine: str | None) -> None:
    client = {**READER["client-info"], "bot": bot}  # type: ignore[dict-item]
    assert only(webhook, entry("opened", **{"client-info": client})).machine == machine


@pytest.mark.parametrize(
    ("event", "kind", "bounce", "reason"),
    [
        (failed(reason="bounce", message="550 5.1.1 no such user"), "bounced", "hard", "user_unknown"),
        (failed(reason="bounce"), "bounced", "hard", "other"),
        (failed(reason="generic", **{"enhanced-code": "5.1.2"}), "bounced", "hard", "host_unknown"),
        (failed(reason="generic", **{"bounce-code": "5.1.1"}), "bounced", "hard", "user_unknown"),
        (failed(reason="bounce", message="554 5.7.1 spam"), "bounced", "soft", "policy"),
        (failed(reason="generic"), "bounced", "soft", "other"),
        (failed(reason="generic", code=498, message="No MX for [x]"), "bounced", "hard", "host_unknown"),
        (failed(reason="old", code=602, message="Too old"), "bounced", "soft", "expired"),
        (failed(reason="espblock"), "bounced", "soft", "blocked"),
        (failed(reason="suppress-bounce", code=605), "rejected", "hard", "unsubscribed"),
        (failed(reason="generic", code=605), "rejected", "hard", "unsubscribed"),
        (failed(reason="suppress-complaint", code=607), "rejected", None, "unsubscribed"),
        (failed(reason="suppress-unsubscribe", code=606), "rejected", None, "unsubscribed"),
        (failed("temporary", code=451, **{"enhanced-code": "4.7.652"}), "deferred", None, "policy"),
        (failed("temporary", "espblock", 421), "deferred", None, "blocked"),
        (failed("temporary", code=452, message="4.2.2 over quota"), "deferred", None, "mailbox_full"),
        (failed("temporary"), "deferred", None, None),
    ],
)
def test_a_failure_is_told_by_severity_reason_and_status(
    webhook: MailgunWebhook, event: dict[str, Any], kind: str, bounce: str | None, reason: str | None
) -> None:
    found = only(webhook, event)
    assert (found.kind, found.bounce, found.reason) == (kind, bounce, reason)


def test_reasons_of_tables_are_of_the_vocabulary() -> None:
    for kind, _, reason in (*REASONS.values(), *CODES.values()):
        assert kind in (Kind.BOUNCED, Kind.REJECTED)
        assert isinstance(reason, BounceReason)


def test_a_rejected_mail_says_why_and_to_whom(webhook: MailgunWebhook) -> None:
    event = entry("rejected", reject={"reason": "Sandbox subdomains are for tests", "description": ""})
    del event["recipient"]
    found = only(webhook, event)
    assert (found.kind, found.reason, found.recipient, found.text) == (
        Kind.REJECTED,
        "other",
        "reader@example.com",
        "Sandbox subdomains are for tests",
    )


@pytest.mark.parametrize("name", ["stored", "list_member_uploaded", "something_new"])
def test_what_no_table_knows_is_kept(webhook: MailgunWebhook, name: str) -> None:
    event = only(webhook, entry(name))
    assert (event.kind, event.raw["event"]) == (Kind.UNKNOWN, name)


def test_a_call_that_is_not_signed_rightly_is_forged(webhook: MailgunWebhook) -> None:
    call = signed(DELIVERED)
    good = json.loads(call.body)["signature"]["signature"]
    for altered in (
        signed(DELIVERED, key="other-key"),
        resigned(call, timestamp=str(int(NOW.timestamp()) + 1)),
        resigned(call, token=NONCE[:-1] + "1"),
        resigned(call, signature=good[:-1] + ("0" if good[-1] != "0" else "1")),
        resigned(call, signature=good.upper()),
        resigned(call, signature="ü" * 64),
    ):
        with pytest.raises(Forged, match="signature is wrong"):
            webhook.verify(altered)


@pytest.mark.parametrize("part", ["timestamp", "token", "signature"])
def test_a_call_without_a_part_of_the_signature_is_forged(webhook: MailgunWebhook, part: str) -> None:
    for odd in (None, "", [], {}, 1.5, True):
        with pytest.raises(Forged, match="not signed"):
            webhook.verify(resigned(signed(DELIVERED), **{part: odd}))


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{", b"5", b"[]", b"{}", b"[{}, {}]", b'{"signature": 5}', b"[" * 100_000]
)
def test_what_is_no_call_of_mailgun_is_forged(webhook: MailgunWebhook, body: bytes) -> None:
    with pytest.raises(Forged, match="not signed"):
        webhook.verify(WebhookCall({}, body, NOW))


@pytest.mark.parametrize("minutes", [-6, 6, -60 * 24 * 365])
def test_a_call_of_another_time_is_stale(webhook: MailgunWebhook, minutes: int) -> None:
    with pytest.raises(Stale, match="at most 0:05:00 may lie between"):
        webhook.verify(signed(DELIVERED, at=NOW + timedelta(minutes=minutes)))


def test_digits_moved_between_time_and_token_do_not_make_an_old_call_new(webhook: MailgunWebhook) -> None:
    """Nothing parts the two under the signature, so every split of them has the same one."""
    digits = "1" * 40
    together = f"{int((NOW - timedelta(days=9)).timestamp())}{digits}"
    signature = hmac.new(b"sign-key", together.encode(), "sha256").hexdigest()
    for cut in range(1, len(together)):
        moved = resigned(
            signed(DELIVERED), timestamp=together[:cut], token=together[cut:], signature=signature
        )
        with pytest.raises(Stale):
            webhook.verify(moved)


def test_the_time_may_be_a_number(webhook: MailgunWebhook) -> None:
    assert webhook.verify(resigned(signed(DELIVERED), timestamp=int(NOW.timestamp()))).keep


def test_the_event_is_not_covered_by_the_signature_so_the_token_tells_a_replay(
    webhook: MailgunWebhook,
) -> None:
    """Another body under the same token has the same replay key, and is refused by it."""
    forged = resigned(signed(entry("complained")))
    assert webhook.verify(forged).replay_key == webhook.verify(signed(DELIVERED)).replay_key
    spaced = resigned(signed(DELIVERED), token=f" {NONCE}\n")
    assert webhook.verify(spaced).replay_key == NONCE


def test_a_call_of_the_older_form_cannot_be_read(webhook: MailgunWebhook) -> None:
    for odd in (None, 5, [], "event"):
        with pytest.raises(InputError, match="no event-data"):
            webhook.events(signed(odd))


def test_nothing_that_json_can_hold_crashes_it(webhook: MailgunWebhook) -> None:
    tried = 0
    for event in (failed(message="550 5.1.1"), entry("clicked", url="https://a.b", **READER)):
        for payload in mangled(event):
            told(webhook, signed(payload))
            tried += 1
    for whole in mangled(json.loads(signed(DELIVERED).body)):
        told(webhook, WebhookCall({}, json.dumps(whole).encode(), NOW))
    assert tried > 500


def test_without_a_key_nothing_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeliveryError, match="anybody's calls would be believed"):
        MailgunWebhook(MailgunSettings())
    monkeypatch.delenv("MAILGUN_WEBHOOK_KEY", raising=False)
    with pytest.raises(DeliveryError, match="MAILGUN_WEBHOOK_KEY is not set"):
        MailgunWebhook(SETTINGS)
