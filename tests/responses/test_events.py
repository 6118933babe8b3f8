"""What must hold when events of providers and mail servers become facts, and for what follows from them."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import event as sql_event

from drumbeat.rendering.identity import message_id
from drumbeat.rendering.links import Links
from drumbeat.responses.events import Telling, apply, refused
from drumbeat.responses.kinds import Kind
from drumbeat.responses.reasons import BounceReason
from drumbeat.responses.webhooks import Event
from drumbeat.store.engine import writing
from drumbeat.store.tables import messages

KEY = b"a key for tests, long enough"
LINKS = Links("https://mail.example.com", KEY)


def tell(scene, *events, teller="sendgrid", **options):
    with writing(scene.engine) as connection:
        tellings = [Telling(teller, event) for event in events]
        return apply(connection, LINKS, tellings, **{"at": scene.at(9), "soft_bounces": 3, **options})


def sent(scene, address="a@example.com", **values):
    """A customer who was sent a message; its id."""
    return scene.message(scene.customer(address), **{"address_key": address.lower(), **values})


def event(message, kind, at, recipient="a@example.com", **values):
    return Event(kind, at, recipient, token=LINKS.mail_token(message), **values)


def suppressions(scene):
    return {row.email_key: (row.topic, row.reason, row.source) for row in scene.rows("suppressions")}


def test_a_fact_is_stored_with_its_kind_its_time_who_told_it_and_when_we_learned_of_it(scene):
    message = sent(scene)
    applied = tell(scene, event(message, Kind.DELIVERED, scene.at(1), event_id="e1", text="250 OK"))
    assert (applied.stored, dict(applied.kinds), applied.suppressed) == (1, {"delivered": 1}, 0)
    (row,) = scene.rows("responses")
    assert (row.message_id, row.kind, row.at, row.loaded_at) == (
        message,
        "delivered",
        scene.at(1),
        scene.at(9),
    )
    assert (row.source, row.email_key, row.raw) == ("webhook:sendgrid", None, {"text": "250 OK"})


def test_the_same_fact_told_again_changes_nothing_and_another_providers_is_another(scene):
    message = sent(scene)
    one = event(message, Kind.OPENED, scene.at(1), event_id="e1")
    unnamed = event(message, Kind.OPENED, scene.at(2))
    assert tell(scene, one, unnamed, one).stored == 2
    assert tell(scene, unnamed, one).stored == 0
    assert tell(scene, event(message, Kind.OPENED, scene.at(3))).stored == 1
    assert tell(scene, one, teller="ses").stored == 1


def test_one_id_for_several_recipients_is_a_fact_each(scene):
    one, other = sent(scene), sent(scene, "b@example.com")
    applied = tell(
        scene,
        event(one, Kind.DELIVERED, scene.at(1), event_id="e1"),
        event(other, Kind.DELIVERED, scene.at(1), "b@example.com", event_id="e1"),
    )
    assert applied.stored == 2


@pytest.mark.parametrize("how", ["token", "small", "message_id", "remote_id"])
def test_the_message_is_found(scene, how):
    message = sent(scene, remote_id="r-1")
    named = {
        "token": {"token": LINKS.mail_token(message)},
        "small": {"token": f" {LINKS.mail_token(message).upper()} "},
        "message_id": {"message_id": message_id(KEY, "example.com", 1, token=LINKS.mail_token(message))},
        "remote_id": {"remote_id": "r-1"},
    }[how]
    tell(scene, Event(Kind.DELIVERED, scene.at(1), "A@Example.com", **named))
    assert [row.message_id for row in scene.rows("responses")] == [message]


def test_of_messages_with_one_remote_id_the_recipients_is_meant_and_without_one_none(scene):
    one, other = sent(scene, remote_id="batch"), sent(scene, "b@example.com", remote_id="batch")
    for recipient in ("B@example.com", "a@example.com", "c@example.com", None):
        tell(scene, Event(Kind.DELIVERED, scene.at(1), recipient, remote_id="batch"))
    found = [(row.message_id, row.email_key) for row in scene.rows("responses")]
    assert sorted(found, key=str) == sorted(
        [(other, None), (one, None), (None, "c@example.com"), (None, None)], key=str
    )


def test_a_token_of_a_stranger_finds_nothing(scene):
    message = sent(scene)
    forged = Links("https://x.example", b"another key, just as long").mail_token(message)
    tell(scene, Event(Kind.BOUNCED, scene.at(1), "a@example.com", token=forged, bounce="hard"), teller="mail")
    assert [(row.message_id, row.email_key) for row in scene.rows("responses")] == [(None, "a@example.com")]
    assert suppressions(scene) == {}


def test_a_hard_bounce_suppresses_at_once_the_address_that_the_mail_went_to(scene):
    message = sent(scene)
    told = {"bounce": "hard", "reason": "user_unknown", "status": "5.1.1", "text": "no such user"}
    bounced = event(message, Kind.BOUNCED, scene.at(1), "forwarded@elsewhere.example", **told)
    assert tell(scene, bounced).suppressed == 1
    assert suppressions(scene) == {"a@example.com": ("", "bounced", "webhook:sendgrid")}
    (row,) = scene.rows("responses")
    assert (row.bounce, row.reason, row.email_key) == ("hard", "user_unknown", "a@example.com")
    assert row.raw == {"status": "5.1.1", "text": "no such user"}
    assert [row.at for row in scene.rows("suppressions")] == [scene.at(1)]


def test_an_address_given_up_for_another_one_since_does_not_take_the_new_one_along(scene):
    reader = scene.customer("new@example.com")
    message = scene.message(reader, address_key="old@example.com")
    tell(scene, event(message, Kind.BOUNCED, scene.at(1), None, bounce="hard"))
    assert list(suppressions(scene)) == ["old@example.com"]


def test_of_a_message_whose_reader_was_erased_no_address_comes_back(scene):
    message = scene.message(scene.customer(email=None, email_key=None))
    tell(scene, event(message, Kind.BOUNCED, scene.at(1), "gone@example.com", bounce="hard"))
    assert suppressions(scene) == {}
    assert [row.email_key for row in scene.rows("responses")] == [None]


def test_a_checked_webhook_about_an_unknown_message_counts_for_its_recipient_a_mail_does_not(scene):
    lost = Event(Kind.BOUNCED, scene.at(1), "A@example.com", bounce="hard")
    tell(scene, lost, teller="mail")
    assert suppressions(scene) == {}
    tell(scene, lost)
    assert suppressions(scene) == {"a@example.com": ("", "bounced", "webhook:sendgrid")}


def test_a_mail_that_bears_our_token_counts(scene):
    message = sent(scene)
    tell(scene, event(message, Kind.COMPLAINED, scene.at(1), None), teller="mail")
    assert suppressions(scene) == {"a@example.com": ("", "complained", "mail")}
    assert [row.source for row in scene.rows("responses")] == ["mail"]


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        (Kind.COMPLAINED, {}, "complained"),
        (Kind.BOUNCED, {"bounce": "soft", "reason": "mailbox_full"}, None),
        (Kind.BOUNCED, {"reason": "user_unknown"}, "bounced"),
        (Kind.BOUNCED, {}, None),
        (Kind.REJECTED, {"reason": "spam"}, None),
        (Kind.REJECTED, {"reason": "unsubscribed"}, "unsubscribed"),
        (Kind.REJECTED, {"reason": "unsubscribed", "bounce": "hard"}, "bounced"),
        (Kind.FAILED, {"reason": "host_unknown"}, "bounced"),
        (Kind.FAILED, {}, None),
        (Kind.AUTORESPONDED, {}, None),
        (Kind.DEFERRED, {"reason": "rate_limited"}, None),
        (Kind.SUBSCRIBED, {}, None),
        (Kind.UNKNOWN, {"raw": {"event": "strange"}}, None),
    ],
)
def test_what_follows_from_a_kind(scene, kind, values, reason):
    message = sent(scene)
    tell(scene, event(message, kind, scene.at(1), **values))
    assert [found for _, found, _ in suppressions(scene).values()] == ([] if reason is None else [reason])
    assert [row.kind for row in scene.rows("responses")] == [str(kind)]


def test_an_unsubscribe_told_by_a_provider_is_one_as_by_our_own_link(scene):
    reader = scene.customer("a@example.com")
    scene.consent(reader)
    message = scene.message(reader, address_key="a@example.com")
    applied = tell(scene, event(message, Kind.UNSUBSCRIBED, scene.at(1), event_id="e1"))
    assert applied.stored == 1
    assert suppressions(scene) == {"a@example.com": ("", "unsubscribed", "webhook:sendgrid")}
    assert [row.granted for row in scene.rows("consents")] == [False]
    assert tell(scene, event(message, Kind.UNSUBSCRIBED, scene.at(1), event_id="e1")).stored == 0


def test_an_unsubscribe_of_an_unknown_message_suppresses_its_recipient(scene):
    tell(scene, Event(Kind.UNSUBSCRIBED, scene.at(1), "a@example.com"))
    assert suppressions(scene) == {"a@example.com": ("", "unsubscribed", "webhook:sendgrid")}


@pytest.mark.parametrize("address", ["+442079460000", "tg:-100123"])
def test_a_phone_or_chat_that_says_stop_is_left_alone_until_it_says_start_again(scene, address):
    key = f"tel:{address}" if address.startswith("+") else address
    stop, start = (
        Event(kind, scene.at(hour), address, event_id=str(hour))
        for kind, hour in ((Kind.UNSUBSCRIBED, 1), (Kind.SUBSCRIBED, 2))
    )
    tell(scene, stop, teller="twilio")
    assert suppressions(scene) == {key: ("", "unsubscribed", "webhook:twilio")}
    tell(scene, start, teller="twilio")
    assert suppressions(scene) == {}
    tell(scene, Event(Kind.UNSUBSCRIBED, scene.at(3), address, event_id="3"), teller="twilio")
    tell(scene, start, teller="twilio")
    assert list(suppressions(scene)) == [key], "an earlier yes that is told again changes nothing"


def test_a_yes_takes_back_no_bounce_and_by_mail_no_unsubscribe(scene):
    tell(scene, Event(Kind.BOUNCED, scene.at(1), "+442079460000", bounce="hard"), teller="twilio")
    tell(scene, Event(Kind.SUBSCRIBED, scene.at(2), "+442079460000"), teller="twilio")
    tell(scene, Event(Kind.UNSUBSCRIBED, scene.at(1), "a@example.com"))
    tell(scene, Event(Kind.SUBSCRIBED, scene.at(2), "a@example.com"))
    assert {key: reason for key, (_, reason, _) in suppressions(scene).items()} == {
        "tel:+442079460000": "bounced",
        "a@example.com": "unsubscribed",
    }


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (Kind.DELIVERED, "sent"),
        (Kind.QUEUED, "sent"),
        (Kind.BOUNCED, "sent"),
        (Kind.OPENED, "sent"),
        (Kind.REJECTED, "uncertain"),
        (Kind.UNKNOWN, "uncertain"),
    ],
)
def test_what_can_only_have_happened_to_a_sent_mail_resolves_its_uncertain_end(scene, kind, state):
    message = sent(scene, state="uncertain")
    other = sent(scene, "b@example.com", state="uncertain")
    tell(scene, event(message, kind, scene.at(1)))
    assert {row.id: row.state for row in scene.rows("messages")} == {message: state, other: "uncertain"}


def test_the_provider_says_that_a_machine_did_it_and_else_our_rules_do(scene):
    message = sent(scene)
    tell(
        scene,
        event(message, Kind.OPENED, scene.at(1), machine="apple_privacy", agent="Mozilla/5.0 (X11)"),
        event(message, Kind.OPENED, scene.at(2), agent="Mozilla/5.0"),
        event(message, Kind.OPENED, scene.at(3), agent="Mozilla/5.0 (X11) Firefox/140.0", ip="192.0.2.1"),
        event(message, Kind.CLICKED, scene.at(4), url="https://a.example/", ip="40.107.1.1"),
        event(message, Kind.OPENED, scene.at(5)),
    )
    rows = sorted(scene.rows("responses"), key=lambda row: row.at)
    assert [(row._mapping["class"], row.raw.get("rule", "") if row.raw else "") for row in rows] == [
        ("machine", "apple_privacy"),
        ("machine", "apple_privacy_proxy"),
        ("unknown", ""),
        ("machine", "microsoft_365_protection"),
        ("unknown", ""),
    ]
    assert not any("192.0.2.1" in str(row.raw) for row in rows), "addresses of readers are not kept"


def test_an_ip_address_in_a_providers_words_is_not_kept_with_the_response(scene):
    raw = {"ip": "192.0.2.1", "client-info": {"Client-IP": "192.0.2.1", "os": "x"}, "event": "unsubscribe"}
    tell(scene, Event(Kind.UNSUBSCRIBED, scene.at(1), "a@example.com", raw=raw))
    (row,) = scene.rows("responses")
    assert row.raw == {"told": {"client-info": {"os": "x"}, "event": "unsubscribe"}}


def test_clicks_that_a_provider_tells_of_are_judged_together_too(scene):
    message = sent(scene)
    at = scene.at(2)
    clicks = [
        event(
            message,
            Kind.CLICKED,
            at + timedelta(milliseconds=n),
            url=f"https://a.example/{n}",
            agent="Chrome",
        )
        for n in range(3)
    ]
    tell(scene, event(message, Kind.OPENED, scene.at(1), agent="Chrome"), *clicks)
    classes = [row._mapping["class"] for row in scene.rows("responses")]
    assert sorted(classes) == ["machine", "machine", "machine", "unknown"]


def test_an_id_that_is_not_known_yet_can_wait_and_is_stored_without_a_message_at_last(scene):
    early = Event(Kind.SENT, scene.at(1), "a@example.com", remote_id="r-1")
    known = event(sent(scene), Kind.DELIVERED, scene.at(1))
    applied = tell(scene, early, known, patient=[0, 1])
    assert (applied.stored, applied.unmatched) == (1, [0])
    with writing(scene.engine) as connection:
        connection.execute(messages.update().values(remote_id="r-1"))
    assert tell(scene, early, known, patient=[0, 1]).unmatched == []
    assert scene.count("responses") == 2
    assert tell(scene, Event(Kind.SENT, scene.at(1), remote_id="r-2")).stored == 1


@pytest.mark.parametrize(
    "strange",
    [
        {"text": "a\0b\ud800", "raw": {"a\0": ["\ud800", float("nan"), 10**400, {"x": {"y": {"z": {}}}}]}},
        {"recipient": "no address at all", "token": "\N{SNOWMAN}" * 26, "message_id": "<@>", "remote_id": "\0"},
        {"recipient": "x" * 10_000, "event_id": "\ud800" * 300, "url": "https://a.example/\0" + "x" * 10_000},
        {"reason": "made up", "status": "9" * 5_000, "machine": "\0", "agent": "\ud800" * 500},
    ],
)  # fmt: skip
def test_no_foreign_text_stops_the_others(scene, strange):
    message = sent(scene)
    odd = Event(**{"kind": Kind.CLICKED, "at": scene.at(1), "recipient": "z@example.com", **strange})
    tell(scene, odd, event(message, Kind.DELIVERED, scene.at(1)))
    assert scene.count("responses") == 2


def test_a_mail_servers_refusal_at_hand_over_is_a_hard_bounce(scene):
    message = sent(scene, state="refused")
    for _ in range(2):
        with writing(scene.engine) as connection:
            told = (message, "a@example.com", 550, "5.1.1", "550 5.1.1 no such user", scene.at(1))
            refused(connection, [told])
    (row,) = scene.rows("responses")
    assert (row.kind, row.bounce, row.reason, row.source) == ("bounced", "hard", "user_unknown", "smtp")
    assert row.raw == {"code": 550, "status": "5.1.1", "text": "550 5.1.1 no such user"}
    assert suppressions(scene) == {"a@example.com": ("", "bounced", "smtp")}


@pytest.mark.parametrize(
    ("status", "reason"),
    [("5.1.2", "host_unknown"), ("5.1.6", "has_moved"), ("5.1.10", "not_accepting"), (None, "user_unknown")],
)
def test_the_status_says_why_an_address_is_dead(scene, status, reason):
    message = sent(scene, state="refused")
    with writing(scene.engine) as connection:
        refused(connection, [(message, "a@example.com", 550, status, "", scene.at(1))])
    assert [row.reason for row in scene.rows("responses")] == [reason]
    assert reason in set(BounceReason)


def test_a_thousand_events_are_a_handful_of_statements(scene):
    """The number of statements for 1,000 events is that for 10."""
    reader = scene.customer("a@example.com")
    sent_ids = [scene.message(reader, address_key="a@example.com") for _ in range(40)]
    counted = []

    def count(events):
        statements = []
        listen = lambda *arguments: statements.append(arguments[2])  # noqa: E731
        sql_event.listen(scene.engine, "before_cursor_execute", listen)
        try:
            started = time.perf_counter()
            tell(scene, *events)
            counted.append(time.perf_counter() - started)
        finally:
            sql_event.remove(scene.engine, "before_cursor_execute", listen)
        return len(statements)

    kinds = [Kind.DELIVERED, Kind.OPENED, Kind.BOUNCED, Kind.COMPLAINED]
    many = [
        event(
            sent_ids[n % 40],
            kinds[n % 4],
            scene.at(1) + timedelta(hours=n),
            event_id=f"e{n}",
            bounce="soft" if n % 8 else "hard",
        )
        for n in range(1_000)
    ]
    few = count(many[:10])
    assert count(many) <= few + 4
    assert few <= 20
    assert scene.count("responses") == 1_000
