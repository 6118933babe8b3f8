"""SendGrid's signed event webhook, in the shapes of its documentation, signed by a real key."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.handing import TOKEN, mangled, told

from drumbeat.delivery.sendgrid import SendgridSettings
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event, Forged, Stale, WebhookCall
from drumbeat.responses.webhooks.providers import WEBHOOKS
from drumbeat.responses.webhooks.sendgrid import CLASSES, DROPS, KINDS, SIGNATURE, TIMESTAMP, SendgridWebhook

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HAPPENED = int((NOW - timedelta(minutes=2)).timestamp())
KEY = ec.generate_private_key(ec.SECP256R1())
SETTINGS = SendgridSettings(webhook_key_env="SENDGRID_WEBHOOK_KEY")

Sign = Callable[..., WebhookCall]


def entry(event: str, **more: Any) -> dict[str, Any]:
    return {
        "email": "reader@example.com",
        "timestamp": HAPPENED,
        "smtp-id": f"<k1.{TOKEN}@shop.example.com>",
        "event": event,
        "category": ["abandoned_cart"],
        "sg_event_id": f"event-{event}",
        "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.recvd-5f54b5d587-pczjm-1-67BADEEA-6.0",
        "drumbeat": TOKEN,
        **more,
    }


READER = {"useragent": "Mozilla/5.0 (Macintosh)", "ip": "203.0.113.7"}
EVENTS = [
    entry("processed"),
    entry("deferred", response="452 4.2.2 over quota", attempt="5"),
    entry("delivered", response="250 2.0.0 OK", tls=1),
    entry("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 no such user", bounce_classification="Invalid Address"),
    entry("dropped", reason="Bounced Address", status="5.0.0"),
    entry("open", sg_machine_open=False, sg_content_type="html", **READER),
    entry("click", url="https://shop.example.com/?a=1", url_offset={"index": 0, "type": "html"}, **READER),
    entry("spamreport"),
    entry("unsubscribe"),
    entry("group_unsubscribe", asm_group_id=10, **READER),
    entry("group_resubscribe", asm_group_id=10, **READER),
]  # fmt: skip


def public(key: ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def signed(
    payload: Any, *, at: datetime | str = NOW, key: ec.EllipticCurvePrivateKey = KEY, **changes: Any
) -> WebhookCall:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    stamp = at if isinstance(at, str) else str(int(at.timestamp()))
    signature = key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    headers = {SIGNATURE: base64.b64encode(signature).decode(), TIMESTAMP: stamp}
    return WebhookCall(**{"headers": headers, "body": body, "received_at": NOW, **changes})


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> SendgridWebhook:
    monkeypatch.setenv("SENDGRID_WEBHOOK_KEY", public(KEY))
    made = WEBHOOKS["sendgrid"](SETTINGS)
    assert isinstance(made, SendgridWebhook)
    return made


def only(webhook: SendgridWebhook, found: Mapping[str, Any]) -> Event:
    (event,) = webhook.events(signed([found]))
    return event


def test_every_documented_event_has_its_kind_and_whose_it_is(webhook: SendgridWebhook) -> None:
    call = signed(EVENTS)
    assert webhook.verify(call).keep
    events = webhook.events(call)
    assert [(one["event"], event.kind) for one, event in zip(EVENTS, events, strict=True)] == [
        (one["event"], KINDS[one["event"]]) for one in EVENTS
    ]
    for one, event in zip(EVENTS, events, strict=True):
        assert (event.token, event.recipient, event.event_id) == (
            TOKEN,
            "reader@example.com",
            one["sg_event_id"],
        )
        assert event.remote_id == "LRzXl_NHStOGhQ4kofSm_A"
        assert event.message_id == f"<k1.{TOKEN}@shop.example.com>"
        assert event.at == NOW - timedelta(minutes=2)
        assert event.raw == one


def test_what_a_reader_did_says_where_and_with_what(webhook: SendgridWebhook) -> None:
    click, opened = only(webhook, EVENTS[6]), only(webhook, EVENTS[5])
    assert (click.url, click.agent, click.ip) == (
        "https://shop.example.com/?a=1",
        "Mozilla/5.0 (Macintosh)",
        "203.0.113.7",
    )
    assert (opened.url, opened.machine) == (None, None)
    by_apple = entry("open", sg_machine_open=True, **READER)
    assert only(webhook, by_apple).machine == "apple_privacy"


@pytest.mark.parametrize(
    ("more", "bounce", "reason"),
    [
        ({"type": "bounce", "bounce_classification": "Invalid Address", "status": "5.0.0"}, "hard", "user_unknown"),
        ({"type": "bounce", "reason": "550 5.1.2 no such host"}, "hard", "host_unknown"),
        ({"type": "bounce", "reason": "500 unknown recipient", "status": "5.0.0"}, "hard", "other"),
        ({"type": "bounce", "bounce_classification": "Unclassified"}, "hard", "other"),
        ({"type": "bounce", "bounce_classification": "Reputation", "status": "5.7.1"}, "soft", "blocked"),
        ({"type": "bounce", "bounce_classification": "Content"}, "soft", "content"),
        ({"type": "bounce", "bounce_classification": "Technical"}, "soft", "system"),
        ({"type": "bounce", "status": "5.7.1"}, "soft", "policy"),
        ({"type": "blocked", "bounce_classification": "Frequency or Volume Too High"}, "soft", "rate_limited"),
        ({"type": "blocked", "bounce_classification": "Mailbox Unavailable", "status": "5.2.2"}, "soft", "mailbox_full"),
        ({"type": "blocked", "bounce_classification": "Mailbox Unavailable"}, "soft", "suspended"),
        ({"type": "blocked", "reason": "unable to get mx info"}, "soft", "other"),
        ({"type": "blocked", "bounce_classification": "Invalid Address"}, "soft", "user_unknown"),
    ],
)  # fmt: skip
def test_a_bounce_is_hard_where_the_address_is_dead(
    webhook: SendgridWebhook, more: dict[str, str], bounce: str, reason: str
) -> None:
    event = only(webhook, entry("bounce", **more))
    assert (event.kind, event.bounce, event.reason) == (Kind.BOUNCED, bounce, reason)


def test_a_bounce_keeps_the_servers_words_and_status(webhook: SendgridWebhook) -> None:
    event = only(webhook, EVENTS[3])
    assert (event.status, event.text) == ("5.1.1", "550 5.1.1 no such user")
    deferred = only(webhook, EVENTS[1])
    assert (deferred.status, deferred.bounce, deferred.reason) == ("4.2.2", None, "mailbox_full")


@pytest.mark.parametrize("cause", DROPS)
def test_a_dropped_mail_says_why_it_was_not_sent_on(webhook: SendgridWebhook, cause: str) -> None:
    event = only(webhook, entry("dropped", reason=cause.title()))
    assert event.kind is Kind.REJECTED
    assert (event.reason, event.bounce) == DROPS[cause]
    assert only(webhook, entry("dropped", reason="new")).reason is BounceReason.OTHER


def test_tables_are_in_small_letters() -> None:
    assert all(word == word.lower() for word in (*CLASSES, *DROPS))


def test_what_no_table_knows_is_kept(webhook: SendgridWebhook) -> None:
    change = {
        "event": "account_status_change",
        "sg_event_id": "e9",
        "timestamp": HAPPENED,
        "type": "compliance_suspend",
    }
    event = only(webhook, change)
    assert (event.kind, event.token, event.event_id, event.raw) == (Kind.UNKNOWN, None, "e9", change)


def test_older_names_of_a_message_are_cut_where_the_server_begins(webhook: SendgridWebhook) -> None:
    older = entry("open", sg_message_id="14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0")
    assert only(webhook, older).remote_id == "14c5d75ce93.dfd.64b469"


def test_a_call_that_was_altered_is_forged(webhook: SendgridWebhook) -> None:
    call = signed(EVENTS)
    stamp = call.headers[TIMESTAMP]
    later = {**call.headers, TIMESTAMP: str(int(stamp) + 1)}
    for altered in (
        signed(EVENTS, body=call.body.replace(b"reader", b"victim")),
        signed(EVENTS, body=call.body + b" "),
        signed(EVENTS, headers=later),
        signed(EVENTS, key=ec.generate_private_key(ec.SECP256R1())),
        signed(EVENTS, headers={**call.headers, SIGNATURE: "AAAA"}),
        signed(EVENTS, headers={**call.headers, SIGNATURE: "not base64!"}),
        signed(EVENTS, headers={**call.headers, SIGNATURE: "ü"}),
    ):
        with pytest.raises(Forged, match="signature is wrong"):
            webhook.verify(altered)


def test_a_call_that_is_not_signed_is_forged(webhook: SendgridWebhook) -> None:
    headers = signed(EVENTS).headers
    for missing in (SIGNATURE, TIMESTAMP):
        rest = {name: value for name, value in headers.items() if name != missing}
        with pytest.raises(Forged, match="not signed"):
            webhook.verify(signed(EVENTS, headers=rest))


@pytest.mark.parametrize("minutes", [-6, 6, -60 * 24, 60 * 24 * 365])
def test_a_call_of_another_time_is_stale(webhook: SendgridWebhook, minutes: int) -> None:
    with pytest.raises(Stale, match="at most 0:05:00 may lie between"):
        webhook.verify(signed(EVENTS, at=NOW + timedelta(minutes=minutes)))


@pytest.mark.parametrize("stamp", ["soon", "1.5e9", "-5", "١٧٦٣", "9" * 40])
def test_a_time_that_cannot_be_read_is_stale(webhook: SendgridWebhook, stamp: str) -> None:
    with pytest.raises(Stale, match="cannot be read"):
        webhook.verify(signed(EVENTS, at=stamp))


@pytest.mark.parametrize("seconds", [-290, 0, 290])
def test_clocks_may_differ_a_little(webhook: SendgridWebhook, seconds: int) -> None:
    webhook.verify(signed(EVENTS, at=NOW + timedelta(seconds=seconds)))


def test_a_replay_is_known_even_under_a_signature_made_over_from_the_first(webhook: SendgridWebhook) -> None:
    """Of an ECDSA signature (r, s) anybody can make (r, n - s), which is valid too."""
    call = signed(EVENTS)
    r, s = decode_dss_signature(base64.b64decode(call.headers[SIGNATURE]))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = base64.b64encode(encode_dss_signature(r, order - s)).decode()
    twin = signed(EVENTS, headers={**call.headers, SIGNATURE: other}, body=call.body)
    assert webhook.verify(twin).replay_key == webhook.verify(call).replay_key
    assert webhook.verify(signed(EVENTS[:1])).replay_key != webhook.verify(call).replay_key


def test_a_call_without_events_is_answered_and_not_kept(webhook: SendgridWebhook) -> None:
    assert webhook.verify(signed([])).keep is False


def test_several_thousand_events_are_checked_in_milliseconds(webhook: SendgridWebhook) -> None:
    many = [entry("delivered", sg_event_id=f"e{n}", response="250 OK") for n in range(5_000)]
    call = signed(many)
    began = time.thread_time()
    webhook.verify(call)
    assert time.thread_time() - began < 0.1, "2 MB took 4 ms when this was written"
    assert len(webhook.events(call)) == 5_000


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"{", b"5", b'"x"', b"NaN", b"[" * 100_000, b"[" + b"1" * 5_000]
)
def test_what_is_no_list_of_events_cannot_be_read(webhook: SendgridWebhook, body: bytes) -> None:
    call = signed(body)
    webhook.verify(call)
    with pytest.raises(InputError, match="the call's body"):
        webhook.events(call)


def test_a_strange_element_does_not_cost_the_rest(webhook: SendgridWebhook) -> None:
    kinds = [event.kind for event in webhook.events(signed([None, 5, [], "x", EVENTS[2]]))]
    assert kinds == [Kind.UNKNOWN] * 4 + [Kind.DELIVERED]


def test_nothing_that_json_can_hold_crashes_it(webhook: SendgridWebhook) -> None:
    tried = 0
    for one in EVENTS:
        for payload in mangled([one]):
            told(webhook, signed(payload))
            tried += 1
    assert tried > 1_000


def test_the_key_may_stand_in_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    monkeypatch.setenv("SENDGRID_WEBHOOK_KEY", pem)
    SendgridWebhook(SETTINGS).verify(signed(EVENTS))


def test_without_a_key_nothing_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeliveryError, match="anybody's calls would be believed"):
        SendgridWebhook(SendgridSettings())
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    der = rsa_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    p384 = public(ec.generate_private_key(ec.SECP384R1()))
    for wrong in ("no key", "AAAA", base64.b64encode(der).decode(), p384):
        monkeypatch.setenv("SENDGRID_WEBHOOK_KEY", wrong)
        with pytest.raises(DeliveryError, match=r"SENDGRID_WEBHOOK_KEY .* holds no verification key"):
            SendgridWebhook(SETTINGS)
