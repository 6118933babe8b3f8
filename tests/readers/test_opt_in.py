"""What must hold for who asks for mail, and for who confirms it, on a real server."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic

import pytest
from sqlalchemy import select
from support.pages import Page

from drumbeat.ingest.people import assign
from drumbeat.ledger.states import Reason
from drumbeat.project.kinds import trigger_kinds
from drumbeat.project.models import Topic
from drumbeat.responses.suppress import suppress
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import customers
from drumbeat.triggers import Moment

ADDRESS = "new@example.com"


def ask(server, email=ADDRESS, topic=("news",), **more):
    return server.post("/subscribe", {"email": email, "topic": list(topic), **more})


@pytest.fixture
def asked(server, scene):
    """The opt-in of somebody new, not confirmed yet."""
    assert ask(server).status_code == 200
    return scene.rows("opt_ins")[-1]


def confirm(server, opt_in_id):
    return server.press(server.links.confirm(opt_in_id), "Yes, I would like that")


def test_asking_makes_a_customer_and_a_proof_and_nothing_else(server, scene):
    page = server.get("/subscribe")
    form = Page(page.text).values("Subscribe", email="New@Example.COM", first_name="Ann", topic=["news"])
    answer = server.post("/subscribe", form)
    assert answer.status_code == 200
    assert "Please look into your inbox" in answer.text
    (customer,) = scene.rows("customers")
    assert re.fullmatch(r"signup:[0-9a-f]{20}", customer.external_id)
    assert (customer.email, customer.email_key) == ("New@example.com", ADDRESS)
    assert (customer.first_name, customer.language, customer.person_id) == ("Ann", "en", customer.id)
    (row,) = scene.rows("opt_ins")
    assert (row.customer_id, row.topics, row.confirmed_at) == (customer.id, ["news"], None)
    assert row.expires_at - row.asked_at == timedelta(days=7)
    proof = row.proof["asked"]
    assert proof["topics"] == {"news": "News, once a week"}
    assert proof["url"] == f"{server.url}/subscribe"
    lines = proof["text"].splitlines()
    assert lines[0] == "News from Shop & Söhne?"
    assert {"Yes, I would like to get from Shop & Söhne:", "- News, once a week", "[Subscribe]"} <= set(lines)
    for table in ("consents", "consent_events", "suppressions", "preferences", "messages", "responses"):
        assert scene.count(table) == 0


def test_whoever_knows_a_forms_mark_only_shows_which_words_were_shown(server, scene):
    for form, text, shown in (
        ("", "", None),
        ("", "Our own words", "Our own words"),
        ("ffffffffffffffff", "Other words", "Other words"),
    ):
        server.clock.advance(timedelta(days=2))
        ask(server, form=form, text=text, page="https://shop.example.com/checkout")
        proof = scene.rows("opt_ins")[-1].proof["asked"]
        assert proof.get("text") == shown
        assert proof["url"] == "https://shop.example.com/checkout"


def test_confirming_grants_the_consent_with_the_proof_of_both(server, scene, asked, reached):
    server.clock.advance(timedelta(hours=3))
    page = server.get(server.links.confirm(asked.id))
    assert "News, once a week" in page.text
    assert scene.count("consents") == 0
    done = confirm(server, asked.id)
    assert "Thank you" in done.text
    assert reached(asked.customer_id, hours=4)["news"] is None
    assert reached(asked.customer_id, hours=4)["offers"] == Reason.NO_CONSENT
    (event,) = scene.rows("consent_events")
    assert (event.topic, event.granted, event.source, event.at) == ("news", True, "opt_in", scene.at(3))
    assert event.proof["opt_in"] == asked.id
    assert event.proof["asked"]["at"] == scene.at(0).isoformat()
    assert event.proof["asked"]["topics"] == {"news": "News, once a week"}
    assert event.proof["confirmed"]["at"] == scene.at(3).isoformat()
    assert event.proof["confirmed"]["text"].splitlines() == [
        "Shall we write to you?",
        "Someone asked for this with your address. Press the button if it was you.",
        "- News, once a week",
        "[Yes, I would like that]",
    ]
    assert event.proof["confirmed"]["url"] == f"{server.url}/y/"
    assert scene.rows("opt_ins")[0].confirmed_at == scene.at(3)


def test_a_scanner_that_follows_the_link_confirms_nothing(server, scene, asked):
    link = server.links.confirm(asked.id)
    for _ in range(3):
        assert server.get(link).status_code == 200
        assert server.request("HEAD", link).status_code == 200
    assert scene.count("consents") == 0
    assert scene.rows("opt_ins")[0].confirmed_at is None


def test_confirming_twice_is_once_and_says_so_kindly(server, scene, asked):
    confirm(server, asked.id)
    again = server.post(server.links.confirm(asked.id), {"confirm": "1"})
    assert again.status_code == 200
    assert "You have confirmed this already" in again.text
    assert "You have confirmed this already" in server.get(server.links.confirm(asked.id)).text
    assert scene.count("consent_events") == 1


def test_two_confirmations_at_once_are_one(server, scene, asked):
    link = server.links.confirm(asked.id)
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: server.post(link, {"confirm": "1"}).status_code, range(8)))
    assert set(codes) == {200}
    assert scene.count("consent_events") == 1


def test_after_seven_days_it_is_too_late_and_the_page_says_how_to_ask_again(server, scene, asked):
    link = server.links.confirm(asked.id)
    server.clock.advance(timedelta(days=7) - timedelta(microseconds=1))
    assert server.get(link).status_code == 200
    server.clock.advance(timedelta(microseconds=1))
    for answer in (server.get(link), server.post(link, {"confirm": "1"})):
        assert answer.status_code == 410
        assert "This link is too old" in answer.text
        assert Page(answer.text).links == [f"{server.url}/subscribe"]
    assert scene.count("consents") == 0


def test_a_link_to_an_address_that_the_customer_no_longer_has_confirms_nothing(server, scene, asked):
    with writing(scene.engine) as connection:
        connection.execute(customers.update().values(email="b@example.com", email_key="b@example.com"))
    assert server.post(server.links.confirm(asked.id), {"confirm": "1"}).status_code == 410
    assert scene.count("consents") == 0


def test_a_confirmation_that_was_not_signed_here_is_not_found(server, scene, asked):
    token = server.links.confirm(asked.id).rpartition("/")[2]
    other = server.links.preferences(asked.id).rpartition("/")[2]
    for path in (f"/y/{token[:-2]}AA", f"/y/{other}", "/y/1", f"/p/{token}", f"/u/{token}"):
        assert server.get(path).status_code == 404
        assert server.post(path, {"confirm": "1"}).status_code == 404
    for gone in (asked.id + 1, 2**64 - 1):
        assert server.get(server.links.confirm(gone)).status_code == 404
        assert server.post(server.links.confirm(gone)).status_code == 404
    assert scene.count("consents") == 0


def test_whether_an_address_is_known_makes_no_difference_to_the_answer(server, scene):
    known = scene.customer("known@example.com")
    scene.consent(known, "news")
    blocked = scene.customer("blocked@example.com")
    with writing(scene.engine) as connection:
        suppress(connection, "blocked@example.com", reason="complained", at=scene.at(0), source="x")
    del blocked
    answers = []
    for email in ("known@example.com", "unknown@example.com", "blocked@example.com", "known@example.com"):
        began = monotonic()
        answer = ask(server, email)
        answers.append((answer.status_code, answer.text))
        assert monotonic() - began >= 0.25
    assert len(set(answers)) == 1
    assert [row.topics for row in scene.rows("opt_ins")] == [["news"], ["news"]]
    json_answers = {
        server.request("POST", "/subscribe", json={"email": email, "topics": ["news"]}).text
        for email in ("known@example.com", "other@example.com", "blocked@example.com")
    }
    assert json_answers == {'{"status":"asked"}'}


def test_a_known_customer_is_not_changed_by_whoever_types_the_address(server, scene):
    known = scene.customer("Known@example.com", first_name="Ann", language="de")
    ask(server, "KNOWN@example.com", first_name="Buy now", language="ru")
    (customer,) = scene.rows("customers")
    assert (customer.id, customer.first_name, customer.language) == (known, "Ann", "de")
    assert scene.rows("opt_ins")[0].customer_id == known


@pytest.mark.parametrize(
    "name", ["www.evil.example", "https://evil.example", "see evil.example now", "<b>Ann</b>", "a@b"]
)
def test_a_first_name_that_is_no_name_is_not_kept(server, scene, name):
    assert ask(server, first_name=name).status_code == 200
    assert scene.rows("customers")[0].first_name is None


def test_at_most_one_confirmation_an_hour_and_three_a_day_are_asked_for(server, scene):
    hours = []
    for hour in range(50):
        before = scene.count("opt_ins")
        assert ask(server, f"{'NEW' if hour % 2 else 'new'}@example.com").status_code == 200
        if scene.count("opt_ins") > before:
            hours.append(hour)
        server.clock.advance(timedelta(minutes=30))
    assert hours == [0, 2, 4, 48], "in half hours"


def test_many_who_ask_at_once_for_one_address_make_one_customer_and_one_mail(server, scene):
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: ask(server).status_code, range(16)))
    assert set(codes) == {200}
    assert scene.count("customers") == scene.count("opt_ins") == 1


def test_a_program_that_fills_in_the_trap_is_answered_like_everybody_and_noted_nowhere(server, scene):
    plain, trapped = (
        ask(server, "a@example.com"),
        ask(server, "b@example.com", website="https://spam.example"),
    )
    assert (plain.status_code, plain.text) == (trapped.status_code, trapped.text)
    assert scene.count("opt_ins") == 1


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"email": "nonsense", "topic": "news"}, "This is not an e-mail address"),
        ({"topic": "news"}, "This is not an e-mail address"),
        ({"email": "a@b", "topic": "news"}, "This is not an e-mail address"),
        ({"email": f"{'a' * 300}@example.com", "topic": "news"}, "This is not an e-mail address"),
        ({"email": "a@example.com\r\nBcc: b@example.com", "topic": "news"}, "This is not an e-mail address"),
        ({"email": "a@example.com"}, "Choose at least one"),
        ({"email": "a@example.com", "topic": "alerts"}, "Choose at least one"),
        ({"email": "a@example.com", "topic": ["news", "secret"]}, "Choose at least one"),
    ],
)
def test_a_form_with_a_fault_comes_back_with_what_was_typed(server, scene, fields, fault):
    answer = server.post("/subscribe", fields)
    assert answer.status_code == 400
    assert fault in answer.text
    assert scene.count("opt_ins") == scene.count("customers") == 0
    page = Page(answer.text)
    typed = next(f["value"] for f in page.fields if f.get("name") == "email")
    assert typed == str(fields.get("email", "")).replace("\r", "")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (
            '{"email": "a@example.com", "topics": ["news", "offers"], "language": "de", "first_name": "Ann"}',
            202,
        ),
        ('{"email": "a@example.com", "topics": "news"}', 202),
        ('{"email": "a@example.com"}', 400),
        ('{"email": "a@example.com", "topics": ["nothing"]}', 400),
        ('{"email": "a@example.com", "topics": {"news": true}}', 400),
        ('{"email": ["a@example.com"], "topics": ["news"]}', 400),
        ('{"email": null, "topics": ["news"]}', 400),
        ("[]", 400),
        ("", 400),
        ("\xff", 400),
        ("[" * 10_000, 400),
        ('{"email": "\\ud800@example.com", "topics": ["news"]}', 400),
        ('{"email": "a@example.com", "topics": ["news"], "first_name": "\\u0000\\ud800"}', 202),
    ],
)
def test_a_companys_own_form_may_send_json(server, scene, body, status):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = server.post("/subscribe", body.encode("latin-1"), headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == ("asked" if status == 202 else "refused")
    assert scene.count("opt_ins") == (1 if status == 202 else 0)


def test_other_kinds_of_bodies_are_refused_and_large_ones_too(server, scene):
    assert server.request("POST", "/subscribe", files={"email": (None, ADDRESS)}).status_code == 415
    assert server.post("/subscribe", {"email": "a" * 20_000}).status_code == 413
    assert scene.count("opt_ins") == 0


def test_with_one_topic_nobody_has_to_tick_it(store, scene, serve):
    with serve(
        store, topics={"news": Topic(text="News"), "alerts": Topic(text="x", channel="sms")}
    ) as server:
        page = Page(server.get("/subscribe").text)
        assert [f.get("checked", "no") for f in page.fields if f.get("name") == "topic"] == [None]
        assert server.request("POST", "/subscribe", json={"email": ADDRESS}).status_code == 202
    assert scene.rows("opt_ins")[0].topics == ["news"]


def test_a_yes_takes_back_the_readers_own_no_to_it_and_to_nothing_else(server, scene, reached):
    reader, twin = scene.customer("r@example.com"), scene.customer("R@example.com")
    for each in (reader, twin):
        scene.consent(each, "offers")
    server.post(
        server.links.unsubscribe(scene.message(reader, topic="news")), {"List-Unsubscribe": "One-Click"}
    )
    assert reached(twin)["offers"] == Reason.SUPPRESSED
    server.clock.advance(timedelta(hours=1))
    ask(server, "r@example.com")
    confirm(server, scene.rows("opt_ins")[0].id)
    for each in (reader, twin):
        assert reached(each, hours=2)["news"] is None
        assert reached(each, hours=2)["offers"] == Reason.SUPPRESSED


@pytest.mark.parametrize("reason", ["manual", "bounced", "complained"])
def test_a_yes_takes_back_nothing_that_others_said_and_tells_whom_to_write_to(
    server, scene, asked, reached, reason
):
    with writing(scene.engine) as connection:
        suppress(connection, ADDRESS, reason=reason, at=scene.at(0), source="x")
    done = confirm(server, asked.id)
    assert "write to care@shop.example.com" in done.text
    assert reached(asked.customer_id)["news"] == Reason.SUPPRESSED
    assert [row.granted for row in scene.rows("consents")] == [True]
    server.clock.advance(timedelta(hours=2))
    ask(server)
    assert scene.count("opt_ins") == 1, "no confirmation is sent to an address that gets no mail"


def test_who_was_erased_and_asks_anew_comes_back_on_their_own_word_alone(server, scene, reached):
    reader = scene.customer("r@example.com")
    with writing(scene.engine) as connection:
        suppress(connection, "r@example.com", reason="erased", at=scene.at(0), source="import")
    server.press(server.links.preferences(scene.message(reader)), "Save")
    assert scene.count("suppressions") == 1
    ask(server, "r@example.com")
    assert scene.count("suppressions") == 1
    assert "Thank you" in confirm(server, scene.rows("opt_ins")[0].id).text
    assert reached(reader)["news"] is None
    assert reached(reader)["offers"] == Reason.NO_CONSENT


def test_consent_that_there_is_already_is_granted_anew_with_the_better_proof(server, scene):
    reader = scene.customer("r@example.com")
    scene.consent(reader, "news")
    ask(server, "r@example.com")
    confirm(server, scene.rows("opt_ins")[0].id)
    (consent,) = scene.rows("consents")
    assert (consent.source, consent.at) == ("opt_in", scene.at(0))
    assert scene.count("consent_events") == 1


def test_the_confirmations_own_message_gets_a_response_and_its_page_leads_to_the_choices(
    server, scene, asked
):
    message = scene.message(
        asked.customer_id, "confirm_subscription", occasion=f"opt_in:{asked.id}", kind="service"
    )
    done = confirm(server, asked.id)
    assert Page(done.text).links == [server.links.preferences(message)]
    (response,) = scene.rows("responses")
    assert (response.message_id, response.kind) == (message, "subscribed")
    assert scene.rows("consent_events")[0].proof["message"] == message


def test_the_trigger_finds_it_once_and_knows_what_was_asked_for(server, scene, asked, project_root):
    trigger = trigger_kinds(project_root)["opt_in"]()
    moment = Moment(scene.at(1), "Europe/London")
    with reading(scene.engine) as connection:
        rows = connection.execute(trigger.select(moment)).all()
        assert [(row.customer_id, row.occasion) for row in rows] == [
            (asked.customer_id, f"opt_in:{asked.id}")
        ]
    confirm(server, asked.id)
    with reading(scene.engine) as connection:
        assert connection.execute(trigger.select(moment)).all() == []


def test_who_signs_up_is_one_person_with_a_customer_that_is_imported_later(server, scene, asked):
    later = scene.customer("NEW@example.com")
    with writing(scene.engine) as connection:
        assign(connection)
        people = connection.execute(select(customers.c.person_id).distinct()).scalars().all()
    assert people == [asked.customer_id]
    confirm(server, asked.id)
    assert {row.customer_id for row in scene.rows("consents")} == {asked.customer_id, later}


def test_the_form_speaks_the_readers_language_and_keeps_it(server, scene):
    page = server.get("/subscribe", headers={"Accept-Language": "de"})
    assert "<h1>Neues von Shop &amp; Söhne?</h1>" in page.text
    answer = server.post("/subscribe", Page(page.text).values("Anmelden", email=ADDRESS, topic=["news"]))
    assert "Bitte sehen Sie in Ihren Posteingang" in answer.text
    assert scene.rows("customers")[0].language == "de"
    assert scene.rows("opt_ins")[0].proof["asked"]["text"].startswith("Neues von Shop & Söhne?")
