"""What must hold for a reader's no: of a topic, of a channel, of everything, and heard of late."""

from __future__ import annotations

import pytest
from support.pages import Page

from drumbeat.ledger.states import Reason
from drumbeat.project.models import Topic
from drumbeat.responses.kinds import Kind
from drumbeat.responses.record import Response, hit_key
from drumbeat.responses.suppress import EVERYTHING, ONLY_TOPIC, lift, suppress, suppressions_of, unsubscribe
from drumbeat.store.engine import reading, writing


@pytest.fixture
def reader(scene):
    """Somebody with a phone, who agreed to both letters and to the SMS."""
    reader = scene.customer(phone="+442079460000")
    for topic in ("offers", "news", "alerts"):
        scene.consent(reader, topic)
    return reader


def refuse(scene, message, hours=1.0, scope=None, **raw):
    at = scene.at(hours)
    key = hit_key(message, Kind.UNSUBSCRIBED, at) + (f":{scope}" if scope else "")
    hit = Response(message, Kind.UNSUBSCRIBED, at, key, raw={**raw, **({"scope": scope} if scope else {})})
    with writing(scene.engine) as connection:
        return unsubscribe(connection, [hit], source="link")


def test_the_page_offers_the_mails_topic_beside_all_and_the_way_to_choose(server, scene, reader):
    message = scene.message(reader)
    page = Page(server.get(server.links.unsubscribe(message)).text)
    assert list(page.buttons) == ["Unsubscribe from all of it", "Only from “Offers & reminders”"]
    assert page.links == [server.links.preferences(message)]


def test_only_the_topic_ends_where_that_is_pressed(server, scene, reader, reached):
    link = server.links.unsubscribe(scene.message(reader))
    done = server.press(link, "Only from “Offers & reminders”")
    assert "“Offers &amp; reminders” will not reach you any more" in done.text
    assert reached(reader) == {"offers": Reason.SUPPRESSED, "news": None, "alerts": None}
    (event,) = scene.rows("consent_events")
    assert (event.topic, event.granted, event.source) == ("offers", False, "link")
    assert event.proof["text"].splitlines()[0] == "No more mails?"
    assert event.proof["text"].splitlines()[-1] == "[Only from “Offers & reminders”]"
    done = server.press(link, "Unsubscribe from all of it")
    assert "You are unsubscribed" in done.text
    assert reached(reader)["news"] == Reason.SUPPRESSED
    assert [row.dedupe_key for row in scene.rows("responses")] == ["unsubscribed:1:topic", "unsubscribed:1"]


def test_one_click_ends_all_marketing_mail_whatever_else_it_says(server, scene, reader, reached):
    link = server.links.unsubscribe(scene.message(reader))
    answer = server.post(link, {"List-Unsubscribe": "One-Click", "confirm": "topic:offers"})
    assert answer.status_code == 200
    assert reached(reader) == {"offers": Reason.SUPPRESSED, "news": Reason.SUPPRESSED, "alerts": None}
    (event,) = scene.rows("consent_events")
    assert event.proof["one_click"] is True
    assert "text" not in event.proof, "the reader saw the mail program's words, not ours"


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"confirm=%ff", b"confirm=nonsense"])
def test_a_post_that_cannot_be_read_ends_all_of_it(server, scene, reader, reached, body):
    assert server.post(server.links.unsubscribe(scene.message(reader)), body).status_code == 200
    assert reached(reader)["news"] == Reason.SUPPRESSED


def test_the_no_to_an_sms_ends_the_sms_and_says_so(server, scene, reader, reached):
    link = server.links.unsubscribe(scene.message(reader, channel="sms", topic="alerts"))
    page = server.get(link)
    assert "We will stop sending you marketing by text message" in page.text
    assert "Offers &amp; reminders" not in page.text
    done = server.press(link, "Unsubscribe")
    assert "You get no more marketing by text message" in done.text
    assert reached(reader) == {"offers": None, "news": None, "alerts": Reason.SUPPRESSED}
    assert [(row.email_key, row.topic) for row in scene.rows("suppressions")] == [("tel:+442079460000", "")]


def test_a_shop_with_one_topic_has_one_button(store, scene, serve, reader):
    with serve(store, topics={"offers": Topic(text="Offers")}) as server:
        page = Page(server.get(server.links.unsubscribe(scene.message(reader))).text)
    assert list(page.buttons) == ["Unsubscribe"]


def test_everything_ends_all_topics_of_all_channels_for_all_who_share_an_address(scene, reader, reached):
    twin = scene.customer(email="reader1@example.com", phone="+15550100")
    fellow = scene.customer(phone="+442079460000")
    for each in (twin, fellow):
        scene.consent(each, "news")
        scene.consent(each, "alerts")
    assert refuse(scene, scene.message(reader), scope=EVERYTHING) == 1
    assert set(reached(reader).values()) == {Reason.SUPPRESSED}
    assert {row.email_key for row in scene.rows("suppressions")} == {
        "reader1@example.com",
        "tel:+442079460000",
    }
    assert not any(row.granted for row in scene.rows("consents"))


def test_the_address_that_the_mail_went_to_is_suppressed_and_the_present_one_too(scene, reached):
    reader = scene.customer("new@example.com")
    scene.consent(reader)
    heir = scene.customer("old@example.com")
    scene.consent(heir)
    refuse(scene, scene.message(reader, address_key="old@example.com"))
    assert reached(reader)["offers"] == reached(heir)["offers"] == Reason.SUPPRESSED
    assert {row.email_key for row in scene.rows("suppressions")} == {"new@example.com", "old@example.com"}


def test_a_no_that_is_heard_of_late_leaves_alone_what_the_reader_asked_for_since(
    server, scene, reader, reached
):
    message = scene.message(reader)
    refuse(scene, message, hours=-2)
    server.press(server.links.preferences(message), "Save", topic=["news", "alerts"])
    # The spill of another server is read back: the same no, and one to everything of before.
    other = scene.message(reader)
    refuse(scene, message, hours=-2)
    refuse(scene, other, hours=-1, scope=EVERYTHING)
    # When in doubt, silence: the SMS was on before and after, so nobody asked for it since.
    assert reached(reader) == {"offers": Reason.SUPPRESSED, "news": None, "alerts": Reason.SUPPRESSED}
    refuse(scene, scene.message(reader), hours=2)
    assert reached(reader, hours=3)["news"] == Reason.SUPPRESSED


def test_reading_a_no_back_twice_stores_one_of_everything(scene, reader):
    message = scene.message(reader)
    assert [refuse(scene, message, scope=ONLY_TOPIC), refuse(scene, message, scope=ONLY_TOPIC)] == [1, 0]
    assert scene.count("responses") == scene.count("suppressions") == scene.count("consent_events") == 1


def test_a_no_to_an_address_without_a_message_suppresses_it(scene, reader, reached):
    at = scene.at(1)
    hit = Response(
        None, Kind.UNSUBSCRIBED, at, "provider:1", email_key="reader1@example.com", source="webhook:x"
    )
    with writing(scene.engine) as connection:
        assert unsubscribe(connection, [hit], source="webhook:x") == 1
    assert reached(reader)["offers"] == Reason.SUPPRESSED


def test_a_domain_keeps_mail_from_every_address_of_it_and_from_no_other(scene, reached):
    one, two = scene.customer("a@bad.example"), scene.customer("a@sub.bad.example")
    for each in (one, two):
        scene.consent(each)
    with writing(scene.engine) as connection:
        suppress(connection, "@bad.example", reason="manual", at=scene.at(0), source="x")
    assert reached(one)["offers"] == Reason.SUPPRESSED
    assert reached(two)["offers"] is None
    with reading(scene.engine) as connection:
        assert [row.email_key for row in suppressions_of(connection, "a@bad.example")] == ["@bad.example"]
        assert suppressions_of(connection, "a@sub.bad.example") == []


def test_erased_is_the_strongest_reason_and_a_yes_takes_back_the_readers_own_no_alone(scene):
    with writing(scene.engine) as connection:
        for reason in ("erased", "bounced", "unsubscribed"):
            suppress(connection, "a@example.com", reason=reason, at=scene.at(0), source="x")
        suppress(connection, "a@example.com", topic="news", reason="unsubscribed", at=scene.at(0), source="x")
        assert lift(connection, ["a@example.com"]) == [("a@example.com", "news")]
    assert [(row.reason, row.topic) for row in scene.rows("suppressions")] == [("erased", "")]
