"""What must hold for a reader who chooses what to get, on a real server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from support.pages import Page

from drumbeat.ledger.cap import CapRule, chosen_by
from drumbeat.ledger.states import Reason
from drumbeat.project.models import Topic
from drumbeat.responses.preferences import FOREVER
from drumbeat.responses.suppress import suppress
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import customers
from drumbeat.web.choices import months_later, read_pause

NOW = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)


@pytest.fixture
def reader(scene):
    """Somebody with a phone, who agreed to both letters and to the SMS."""
    reader = scene.customer(phone="+442079460000", country="GB")
    for topic in ("offers", "news", "alerts"):
        scene.consent(reader, topic)
    return reader


@pytest.fixture
def link(server, scene, reader):
    """The page of that reader."""
    return server.links.preferences(scene.message(reader))


def ticked(server, link):
    page = Page(server.get(link).text)
    return {
        "topic": [f["value"] for f in page.fields if f.get("name") == "topic" and "checked" in f],
        **{str(f["name"]): f["value"] for f in page.fields if f.get("type") == "radio" and "checked" in f},
    }


def test_looking_at_the_page_changes_nothing_and_shows_what_holds(server, scene, reader, link):
    for _ in range(2):
        assert ticked(server, link) == {
            "topic": ["offers", "news", "alerts"],
            "often": "cap",
            "pause": "none",
        }
    for table in ("suppressions", "preferences", "consent_events", "responses"):
        assert scene.count(table) == 0


def test_a_topic_that_is_not_chosen_ends_for_every_customer_with_that_mailbox(
    server, scene, reader, link, reached
):
    twin = scene.customer(email="READER1@example.com")
    scene.consent(twin, "offers")
    saved = server.press(link, "Save", topic=["news", "alerts"])
    assert saved.status_code == 200
    assert reached(reader) == {"offers": Reason.SUPPRESSED, "news": None, "alerts": None}
    assert {r.customer_id for r in scene.rows("consents") if r.topic == "offers" and not r.granted} == {
        reader,
        twin,
    }
    assert ticked(server, link)["topic"] == ["news", "alerts"]
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", saved.text.partition("<main>")[2]))
    assert (
        "You get News, once a week When it is sent (by text message) You do not get Offers &amp; reminders"
        in text
    )


def test_what_was_chosen_is_kept_with_what_the_reader_saw(server, scene, reader, link):
    message = scene.rows("messages")[0].id
    server.press(link, "Save", topic=["offers"], often="2")
    events = {row.topic: row for row in scene.rows("consent_events")}
    assert set(events) == {"news", "alerts"}, "offers did not change"
    proof = events["news"].proof
    assert (events["news"].granted, events["news"].source, events["news"].at) == (False, "preferences", NOW)
    assert proof["url"] == f"{server.url}/p/", "the token is not kept: it would be a key to the page"
    assert (proof["language"], proof["message"]) == ("en", message)
    assert proof["agent"].startswith("Mozilla/5.0")
    assert "ip" not in proof
    assert proof["text"].splitlines() == [
        "What would you like to get?",
        "Choose, then press Save. It holds from that moment on.",
        "What you get",
        "[x] Offers & reminders",
        "[ ] News, once a week",
        "[ ] When it is sent (by text message)",
        "How often: At most two messages a week",
        "[Save]",
    ]


def test_the_readers_ip_is_kept_only_where_the_project_says_so(store, scene, serve, reader):
    message = scene.message(reader)
    with serve(store, keep_ip=True) as server:
        server.press(server.links.preferences(message), "Save", topic=["offers"])
    assert {row.proof["ip"] for row in scene.rows("consent_events")} == {"127.0.0.1"}


def test_a_topic_chosen_again_takes_the_readers_own_no_back(server, scene, reader, link, reached):
    for topics, expected in (
        ([], [Reason.SUPPRESSED] * 3),
        (["news"], [Reason.SUPPRESSED, None, Reason.SUPPRESSED]),
        (["offers", "news", "alerts"], [None, None, None]),
    ):
        server.press(link, "Save", topic=topics)
        assert list(reached(reader).values()) == expected
    assert scene.count("suppressions") == 0
    last = [row for row in scene.rows("consent_events") if row.topic == "offers"][-1]
    assert last.granted
    assert "[x] Offers" in last.proof["text"]


def test_one_topic_chosen_after_an_unsubscribe_from_all_brings_back_no_other(server, scene, reader, reached):
    message = scene.message(reader)
    server.post(server.links.unsubscribe(message), {"List-Unsubscribe": "One-Click"})
    assert reached(reader)["news"] == Reason.SUPPRESSED
    assert [row.granted for row in scene.rows("consents") if row.topic == "news"] == [True]
    scene.consent(scene.customer(), "news")
    server.press(server.links.preferences(message), "Save", topic=["offers", "alerts"])
    assert reached(reader) == {"offers": None, "news": Reason.SUPPRESSED, "alerts": None}


@pytest.mark.parametrize("reason", ["bounced", "complained", "manual", "erased"])
def test_no_choice_brings_back_what_others_ended_and_the_page_says_so(
    server, scene, reader, link, reached, reason
):
    with writing(scene.engine) as connection:
        suppress(connection, "reader1@example.com", reason=reason, at=scene.at(0), source="x")
    page = server.get(link)
    assert "write to care@shop.example.com" in page.text
    assert page.text.count(" disabled") == 2, "the SMS goes to the phone, which is free"
    server.post(link, {"topic": ["offers", "news", "alerts"], "do": "save"})
    server.press(link, "Save", often="1")
    assert reached(reader) == {"offers": Reason.SUPPRESSED, "news": Reason.SUPPRESSED, "alerts": None}
    assert [(row.reason, row.topic) for row in scene.rows("suppressions")] == [(reason, "")]
    assert all(row.granted for row in scene.rows("consents")), "a topic that is not offered is not refused"


def test_a_suppressed_domain_blocks_its_mailboxes(server, scene, reader, link, reached):
    with writing(scene.engine) as connection:
        suppress(connection, "@example.com", reason="manual", at=scene.at(0), source="x")
    assert server.get(link).text.count(" disabled") == 2
    assert reached(reader)["offers"] == Reason.SUPPRESSED


def test_saving_does_not_refuse_for_good_what_nobody_agreed_to_yet(server, scene, reached):
    reader = scene.customer(phone="+442079460000")
    scene.consent(reader, "offers")
    server.press(server.links.preferences(scene.message(reader)), "Save", often="1")
    assert scene.count("consent_events") == scene.count("suppressions") == 0
    scene.consent(reader, "news", hours=0.5)
    assert reached(reader)["news"] is None


def test_a_topic_that_came_with_a_new_project_while_the_page_was_open_stays_as_it_is(
    server, scene, reader, link, reached
):
    server.post(link, {"shown": ["offers", "alerts"], "topic": ["alerts"], "do": "save"})
    assert reached(reader) == {"offers": Reason.SUPPRESSED, "news": None, "alerts": None}


def test_topics_of_other_channels_are_shown_to_those_who_have_them(server, scene):
    for columns, shown in (
        ({}, {"offers", "news"}),
        ({"phone": "+442079460000"}, {"offers", "news", "alerts"}),
        ({"phone": "+442079460000", "email": "", "email_key": None}, {"alerts"}),
    ):
        reader = scene.customer(**columns)
        page = Page(server.get(server.links.preferences(scene.message(reader))).text)
        assert {f["value"] for f in page.fields if f.get("name") == "shown"} == shown
        radios = {f["name"] for f in page.fields if f.get("type") == "radio"}
        assert radios == ({"often", "pause"} if "offers" in shown else set())


def test_who_is_reached_by_phone_alone_can_end_that(server, scene, reached):
    reader = scene.customer(phone="+442079460000", email="", email_key=None)
    scene.consent(reader, "alerts")
    link = server.links.preferences(scene.message(reader, channel="sms", topic="alerts"))
    assert server.press(link, "Save", topic=[]).status_code == 200
    assert reached(reader)["alerts"] == Reason.SUPPRESSED
    assert scene.count("preferences") == 0
    server.press(link, "Save", topic=["alerts"])
    assert reached(reader)["alerts"] is None


def test_fewer_messages_lower_the_cap_of_the_person(server, scene, reader, link):
    twin = scene.customer(person=reader)
    with reading(scene.engine) as connection:
        asked = select(chosen_by(customers.c.person_id)).where(customers.c.id == twin)
        assert connection.execute(asked).scalar() is None
    for value, limit in (("2", 2), ("1", 1), ("cap", None), ("4", None), ("9", None)):
        server.press(link, "Save", often=value)
        with reading(scene.engine) as connection:
            assert connection.execute(asked).scalar() == limit
    assert [row.source for row in scene.rows("preferences")] == ["preferences"]


@pytest.mark.parametrize(
    ("cap", "words"),
    [
        (
            CapRule(4, timedelta(days=7)),
            ["As often as now", "At most two messages a week", "At most one message a week"],
        ),
        (CapRule(2, timedelta(days=1)), ["As often as now", "At most one message a day"]),
        (
            CapRule(3, timedelta(days=10)),
            ["As often as now", "At most two messages in any 10 days", "At most one message in any 10 days"],
        ),
        (CapRule(1, timedelta(days=7)), []),
    ],
)
def test_only_fewer_than_the_cap_is_offered_in_the_caps_own_span(store, scene, serve, cap, words):
    message = scene.message(scene.customer())
    with serve(store, cap=cap) as server:
        text = server.get(server.links.preferences(message)).text
    options = text.partition("<legend>How often</legend>")[2].partition("</fieldset>")[0]
    assert re.findall(r"<span>([^<]+)</span>", options) == words


@pytest.mark.parametrize(
    ("value", "until", "shown"),
    [
        ("2w", datetime(2011, 12, 19, 9, tzinfo=UTC), "until 19 December 2011"),
        ("1m", datetime(2012, 1, 5, 9, tzinfo=UTC), "until 5 January 2012"),
        ("3m", datetime(2012, 3, 5, 9, tzinfo=UTC), "until 5 March 2012"),
        ("always", FOREVER, "until you end it here"),
    ],
)
def test_a_break_keeps_marketing_away_until_its_end_or_until_it_is_ended(
    server, scene, reader, link, reached, value, until, shown
):
    assert f"A break {shown}" in server.press(link, "Save", pause=value).text
    assert [row.paused_until for row in scene.rows("preferences")] == [until]
    assert set(reached(reader).values()) == {Reason.PAUSED}
    assert ticked(server, link) == {"topic": ["offers", "news", "alerts"], "often": "cap", "pause": "keep"}
    server.press(link, "Save", often="1")
    assert [row.paused_until for row in scene.rows("preferences")] == [until], "what is not changed stays"
    server.press(link, "Save", pause="none")
    assert set(reached(reader).values()) == {None}


def test_a_break_ends_by_itself(server, scene, reader, link, reached):
    server.press(link, "Save", pause="2w")
    assert reached(reader, hours=14 * 24 - 1)["news"] == Reason.PAUSED
    assert reached(reader, hours=14 * 24)["news"] is None
    server.clock.advance(timedelta(days=15))
    assert ticked(server, link)["pause"] == "none"


def test_a_month_later_is_the_same_day_or_the_months_last():
    assert months_later(datetime(2012, 1, 31, tzinfo=UTC), 1) == datetime(2012, 2, 29, tzinfo=UTC)
    assert months_later(datetime(2011, 11, 30, tzinfo=UTC), 3) == datetime(2012, 2, 29, tzinfo=UTC)
    assert months_later(datetime(2011, 12, 31, tzinfo=UTC), 1) == datetime(2012, 1, 31, tzinfo=UTC)
    assert read_pause("until:2011-12-04T09:00:00+00:00", NOW, None) is None
    assert read_pause("keep", NOW, FOREVER) == FOREVER


def test_a_choice_can_be_undone(server, scene, reader, link, reached):
    server.press(link, "Save", often="2", pause="1m", topic=["offers", "alerts"])
    before = ticked(server, link), scene.rows("preferences")[0].paused_until
    server.clock.advance(timedelta(minutes=1))
    saved = server.press(link, "Save", often="1", pause="none", topic=["news"])
    assert reached(reader) == {"offers": Reason.SUPPRESSED, "news": None, "alerts": Reason.SUPPRESSED}
    undone = server.post(link, Page(saved.text).values("Undo"))
    assert "As it was before" in undone.text
    assert "Undo" not in undone.text
    assert (ticked(server, link), scene.rows("preferences")[0].paused_until) == before
    last = [row for row in scene.rows("consent_events") if row.topic == "offers"][-1]
    assert last.proof["text"].endswith("[Undo]")


def test_unsubscribing_from_everything_ends_every_channel_and_can_be_undone(
    server, scene, reader, link, reached
):
    page = server.get(link)
    left = server.post(link, Page(page.text).values("Unsubscribe from everything"))
    assert "You are unsubscribed from everything" in left.text
    assert set(reached(reader).values()) == {Reason.SUPPRESSED}
    assert not any(row.granted for row in scene.rows("consents"))
    (response,) = scene.rows("responses")
    assert (response.kind, response._mapping["class"]) == ("unsubscribed", "human")
    events = scene.rows("consent_events")
    assert {row.topic for row in events} == {"offers", "news", "alerts"}
    assert all(row.proof["text"].endswith("[Unsubscribe from everything]") for row in events)
    server.post(link, Page(left.text).values("Undo"))
    assert set(reached(reader).values()) == {None}


def test_a_link_that_was_not_made_here_opens_nothing(server, scene, reader, link):
    message = scene.rows("messages")[0].id
    start, _, token = link.rpartition("/")
    for forged in (
        f"{start}/{token[:-1]}A",
        f"{start}/x",
        f"{server.url}/p/{server.links.unsubscribe(message).rpartition('/')[2]}",
    ):
        assert server.get(forged).status_code == 404
        assert server.post(forged, {"do": "save"}).status_code == 404
        assert server.post(forged, {"do": "leave"}).status_code == 404
    for other in ("u", "c", "o", "y"):
        assert server.get(f"/{other}/{token}").status_code == 404
    assert scene.count("suppressions") == scene.count("consent_events") == 0


def test_the_page_of_a_message_that_is_gone_is_not_found(server, scene):
    for message in (77, 2**64 - 1):
        link = server.links.preferences(message)
        assert server.get(link).status_code == 404
        assert server.post(link, {"do": "save"}).status_code == 404
        assert server.post(link, {"do": "leave"}).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"often": "0"},
        {"often": "-1"},
        {"often": "²"},
        {"often": "1e3"},
        {"often": "9" * 40},
        {"pause": "4w"},
        {"pause": "until:"},
        {"pause": "until:2012-01-01T00:00:00"},
        {"pause": "until:0001-01-01T00:00:00+23:59"},
        {"pause": "until:\ud83e"},
    ],
)
def test_what_the_page_does_not_offer_is_refused(server, scene, link, fields):
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode("utf-8", "surrogatepass")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = server.post(link, b"do=save&" + body, headers=headers)
    assert answer.status_code == 400
    assert scene.count("preferences") == scene.count("consent_events") == 0


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"a=%ff", b"&".join([b"a=1"] * 300), b"x" * 20_000, b"\0", b""]
)
def test_no_form_is_too_strange(server, link, body):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.post(link, body, headers=headers).status_code in (200, 400, 413)


def test_topics_that_do_not_exist_are_ignored(server, scene, reader, link, reached):
    server.post(link, {"topic": ["offers", "news", "alerts", "x" * 5000, "'; DROP"], "do": "save"})
    assert set(reached(reader).values()) == {None}


@pytest.mark.parametrize(
    ("asked", "own", "heading"),
    [
        ("de-AT", None, "Was möchten Sie bekommen?"),
        ("fr", "ru", "Что вы хотите получать?"),
        ("en", "de", "What would you like to get?"),
        ("fr", "tlh-Latn", "What would you like to get?"),
    ],
)
def test_the_page_speaks_the_browsers_language_else_the_customers(server, scene, asked, own, heading):
    link = server.links.preferences(scene.message(scene.customer(language=own)))
    assert f"<h1>{heading}</h1>" in server.get(link, headers={"Accept-Language": asked}).text


def test_the_page_needs_no_script_and_no_cookie_and_escapes_names(store, scene, serve):
    topics = {"offers": Topic(text='<b>"Offers"</b>'), "news": Topic(text="{{ 7 * 7 }} {brand}")}
    message = scene.message(scene.customer())
    with serve(store, topics=topics) as server:
        answer = server.get(server.links.preferences(message))
        saved = server.post(server.links.preferences(message), {"topic": ["news"], "do": "save"})
    for page in (answer, saved):
        assert "Set-Cookie" not in page.headers
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "<script" not in page.text
        assert "&lt;b&gt;&#34;Offers&#34;&lt;/b&gt;" in page.text
        assert "{{ 7 * 7 }} {brand}" in page.text
