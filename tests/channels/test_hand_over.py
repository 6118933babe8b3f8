"""From plan to hand-over by each channel: the same ledger, consent at the last moment, and what refusals teach."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from servers.provider import DROP_AFTER, Response, provider_server
from sqlalchemy import Engine, delete, insert, select, update
from support.notes import ledger, suppressed

from drumbeat.clock import FixedClock
from drumbeat.delivery import Answer, Outcome
from drumbeat.errors import DeliveryError
from drumbeat.outbox.deliver import deliver
from drumbeat.outbox.uncertain import list_uncertain
from drumbeat.planning.plan import plan
from drumbeat.project.limits import WarmUp
from drumbeat.project.load import Project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import consents, customers, messages, outbox, responses, suppressions, tasks
from drumbeat.testing import RecordingBackend

Make = Callable[..., Project]
HOUR = timedelta(hours=1)
PHONE = "+447700900123"
BOT = "123456:AAF-abcdefghijklmnopqrstuvwxyz_01234"


@pytest.fixture(autouse=True)
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "0" * 32)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "secret")
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", BOT)
    monkeypatch.setenv("DRUMBEAT_WEBHOOK_SECRET", "k" * 32)


@pytest.fixture
def reader(people: Any, agree: Callable[..., None], now: datetime) -> int:
    """A customer who is reached by every channel and agreed to all of them."""
    (customer,) = people.add(phone=PHONE, telegram_id="777", manager="priya")
    agree(customer)
    return int(customer)


def occur(people: Any, customer: int, now: datetime, *names: str) -> None:
    for name in names:
        people.happen(name, customer, now - HOUR)


def twilio(url: str) -> str:
    return f"twilio: {{from: '+15005550006', base_url: '{url}'}}"


def test_an_sms_goes_to_twilio_and_the_ledger_knows_its_name(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    with provider_server(Response(201, json={"sid": "SM9", "status": "queued"})) as server:
        project = make(["sms"], "sms: {backend: twilio}", twilio(server.url))
        occur(people, reader, now, "sms")
        plan(store, project, as_of=now)
        assert deliver(store, project, clock=clock).sent == 1
        assert deliver(store, project, clock=clock).total == 0, "once"
        (call,) = server.requests
        assert call.form["Body"] == ["Hello Name1, 5% off. Reply STOP to end."]
    assert ledger(store) == [("sms", "sent", None, f"tel:{PHONE}", "SM9")]


def test_a_telegram_message_and_a_payload_and_a_task_go_out_in_one_run(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    answers = {
        f"/bot{BOT}/sendMessage": Response(
            200, json={"ok": True, "result": {"message_id": 5, "chat": {"id": 777}}}
        ),
        "/crm": Response(202),
    }
    with provider_server(answers) as server:
        project = make(
            ["telegram", "webhook", "task"],
            f"telegram: {{backend: bot, base_url: '{server.url}'}}",
            f"webhook: {{backend: http, url: '{server.url}/crm'}}",
        )
        occur(people, reader, now, "telegram", "webhook", "task")
        plan(store, project, as_of=now)
        assert deliver(store, project, clock=clock).sent == 3
        by_path = {call.path.rpartition("/")[2]: call for call in server.requests}
        assert by_path["sendMessage"].json["text"] == "<b>Hello Name1</b> /stop ends this"
        assert by_path["sendMessage"].json["parse_mode"] == "HTML"
        payload = by_path["crm"].json
        assert payload == {"who": "c1", "key": by_path["crm"].headers["webhook-id"]}
    assert sorted(ledger(store)) == [
        ("task", "sent", None, None, None),
        ("telegram", "sent", None, "tg:777", "777:5"),
        ("webhook", "sent", None, None, None),
    ]
    with reading(store) as connection:
        (task,) = connection.execute(select(tasks)).all()
    assert (task.assignee, task.title, task.state) == ("priya", "Call Name1", "open")
    assert task.due_at == now + timedelta(days=2)
    assert PHONE in task.text


def test_without_an_account_messages_are_written_into_folders(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    project = make(["sms", "telegram", "webhook"])
    occur(people, reader, now, "sms", "telegram", "webhook")
    plan(store, project, as_of=now)
    assert deliver(store, project, clock=clock).sent == 3
    (sms,) = (project.root / "notes" / "sms").iterdir()
    assert sms.read_text() == f"To: {PHONE}\nCampaign: sms\n\nHello Name1, 5% off. Reply STOP to end.\n"
    (payload,) = (project.root / "notes" / "webhook").iterdir()
    assert json.loads(payload.read_text())["who"] == "c1"


def test_who_has_no_phone_or_has_not_agreed_to_texts_gets_none(
    store: Engine, make: Make, people: Any, reader: int, agree: Any, clock: FixedClock, now: datetime
) -> None:
    """The fixture's readers all agreed to mails: that is no consent to texts."""
    no_phone, by_mail_only = people.add(2)
    with writing(store) as connection:
        connection.execute(
            update(customers).where(customers.c.id == by_mail_only).values(phone="+447700900124")
        )
    agree(no_phone)
    for customer in (no_phone, by_mail_only):
        occur(people, customer, now, "sms")
    plan(store, make(["sms"]), as_of=now)
    assert [(row[1], row[2]) for row in ledger(store)] == [
        ("skipped", "no_address"),
        ("skipped", "no_consent"),
    ]


@pytest.mark.parametrize("how", ["consent", "suppression"])
def test_a_no_between_plan_and_hand_over_is_heard(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime, how: str
) -> None:
    project = make(["sms"])
    occur(people, reader, now, "sms")
    plan(store, project, as_of=now)
    with writing(store) as connection:
        if how == "consent":
            connection.execute(delete(consents).where(consents.c.topic == "offers_sms"))
        else:
            connection.execute(
                insert(suppressions).values(email_key=f"tel:{PHONE}", topic="", reason="unsubscribed", at=now)
            )
    assert deliver(store, project, clock=clock).skipped == 1
    assert not list((project.root / "notes" / "sms").glob("*"))


def test_a_suppressed_mailbox_still_gets_texts_that_were_asked_for(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    project = make(["sms"])
    occur(people, reader, now, "sms")
    with writing(store) as connection:
        connection.execute(
            insert(suppressions).values(email_key="c1@example.com", topic="", reason="unsubscribed", at=now)
        )
    plan(store, project, as_of=now)
    assert deliver(store, project, clock=clock).sent == 1


REFUSALS = [
    (21614, 400, [(f"tel:{PHONE}", "", "bounced")], "bounced"),
    (21610, 400, [(f"tel:{PHONE}", "", "unsubscribed")], "rejected"),
    (21617, 400, [], None),
]


@pytest.mark.parametrize(("code", "status", "expected", "kind"), REFUSALS)
def test_what_a_refusal_says_of_a_number_holds_from_then_on(
    store: Engine,
    make: Make,
    people: Any,
    reader: int,
    clock: FixedClock,
    now: datetime,
    code: int,
    status: int,
    expected: list[tuple[str, str, str]],
    kind: str | None,
) -> None:
    answer = Response(status, json={"code": code, "message": "no"})
    with provider_server(answer) as server:
        project = make(["sms"], "sms: {backend: twilio}", twilio(server.url))
        occur(people, reader, now, "sms")
        plan(store, project, as_of=now)
        assert deliver(store, project, clock=clock).refused == 1
    assert suppressed(store) == expected
    with reading(store) as connection:
        told = connection.execute(select(responses.c.kind, responses.c.email_key, responses.c.source)).all()
    assert [tuple(row) for row in told] == ([(kind, f"tel:{PHONE}", "twilio")] if kind else [])
    people.happen("sms", reader, now - HOUR)
    plan(store, project, as_of=now)
    assert [row[2] for row in ledger(store)[1:]] == (["suppressed"] if expected else [None])


def test_a_reader_who_blocked_the_bot_is_not_written_to_again(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    blocked = Response(403, json={"ok": False, "description": "Forbidden: bot was blocked by the user"})
    with provider_server(blocked) as server:
        project = make(["telegram"], f"telegram: {{backend: bot, base_url: '{server.url}'}}")
        occur(people, reader, now, "telegram")
        plan(store, project, as_of=now)
        assert deliver(store, project, clock=clock).refused == 1
    assert suppressed(store) == [("tg:777", "", "bounced")]


def test_a_lost_answer_is_uncertain_and_is_never_sent_again_by_itself(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    with provider_server(lambda call: DROP_AFTER) as server:
        project = make(["sms"], "sms: {backend: twilio}", twilio(server.url))
        occur(people, reader, now, "sms")
        plan(store, project, as_of=now)
        assert deliver(store, project, clock=clock).uncertain == 1
        clock.advance(timedelta(days=1))
        assert deliver(store, project, clock=clock).total == 0
        assert len(server.requests) == 1


def test_a_webhook_without_an_answer_is_called_again_later_with_the_same_key(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    broken = Response(500)
    answers = [broken, broken, broken, Response(200)]
    with provider_server(lambda call: answers.pop(0)) as server:
        project = make(["webhook"], f"webhook: {{backend: http, url: '{server.url}/crm'}}")
        occur(people, reader, now, "webhook")
        plan(store, project, as_of=now)
        assert deliver(store, project, clock=clock).deferred == 1
        clock.advance(timedelta(minutes=30))
        assert deliver(store, project, clock=clock).sent == 1
        assert len({call.headers["webhook-id"] for call in server.requests}) == 1
        assert len(server.requests) == 4


@pytest.mark.parametrize("what", ["no key", "wrong key"])
def test_a_channel_that_cannot_be_used_does_not_keep_the_others_from_going(
    store: Engine,
    make: Make,
    people: Any,
    reader: int,
    clock: FixedClock,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    if what == "no key":
        monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    with provider_server(Response(401, json={"code": 20003, "message": "Authenticate"})) as server:
        project = make(["sms", "mail", "task"], "sms: {backend: twilio}", twilio(server.url))
        occur(people, reader, now, "sms", "mail", "task")
        plan(store, project, as_of=now)
        mails = RecordingBackend()
        with pytest.raises(DeliveryError, match=r"TWILIO_AUTH_TOKEN|Twilio refuses our account"):
            deliver(store, project, clock=clock, backend=mails)
        assert len(server.requests) <= 1
    assert len(mails.accepted) == 1
    assert {row[0]: row[1] for row in ledger(store)} == {"mail": "sent", "task": "sent", "sms": "planned"}
    with reading(store) as connection:
        (waiting,) = connection.execute(select(outbox)).all()
    assert (waiting.attempts, waiting.lease_owner) == (0, None)
    assert waiting.due_at > now


def test_a_text_that_is_too_long_for_this_reader_alone_is_not_sent(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    project = make(["sms"], "sms: {max_segments: 1}")
    with writing(store) as connection:
        connection.execute(update(customers).values(first_name="Ж" * 80))
    occur(people, reader, now, "sms")
    plan(store, project, as_of=now)
    assert deliver(store, project, clock=clock).failed == 1
    with reading(store) as connection:
        (answer,) = connection.execute(select(messages.c.answer)).one()
    assert "templates/text: the SMS has" in answer
    assert "(UCS-2, because of 'Ж'); delivery.sms.max_segments allows 1" in answer


def test_a_number_that_changes_after_the_mark_is_not_written_to_any_more(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    """It is written anew, to the new number, within the same run."""
    project = make(["sms"])
    occur(people, reader, now, "sms")
    plan(store, project, as_of=now)
    seen: list[str] = []

    class Changing:
        name, eight_bit = "changing", True

        def open(self) -> None:
            pass

        def close(self) -> None:
            pass

        def hand_over(self, parcels: Any, begin: Any, done: Any) -> None:
            for one in parcels:
                if not seen:
                    with writing(store) as connection:
                        connection.execute(update(customers).values(phone="+447700900999"))
                    clock.advance(timedelta(seconds=5))
                seen.append(one.to)
                going = begin(one)
                done(one, Answer(Outcome.ACCEPTED if going else Outcome.WITHDRAWN))

    assert deliver(store, project, clock=clock, others={"sms": Changing()}).sent == 1
    assert seen == [PHONE, "+447700900999"]
    assert ledger(store)[0][3] == "tel:+447700900999"


def test_the_warm_up_of_a_sender_is_of_its_mails_alone(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    """Mailbox providers learn nothing of a sender's texts."""
    project = make(["sms", "mail"])
    shop = project.config.senders["shop"].model_copy(update={"warm_up": WarmUp(start=1)})
    project = replace(project, config=project.config.model_copy(update={"senders": {"shop": shop}}))
    people.happen("sms", reader, now - HOUR, 2)
    people.happen("mail", reader, now - HOUR, 2)
    plan(store, project, as_of=now)
    mails = RecordingBackend()
    assert deliver(store, project, clock=clock, backend=mails).sent == 3
    assert len(mails.accepted) == 1


def test_what_is_uncertain_is_listed_with_the_address_it_went_to(
    store: Engine, make: Make, people: Any, reader: int, clock: FixedClock, now: datetime
) -> None:
    with provider_server(lambda call: DROP_AFTER) as server:
        project = make(["sms"], "sms: {backend: twilio}", twilio(server.url))
        occur(people, reader, now, "sms")
        plan(store, project, as_of=now)
        deliver(store, project, clock=clock)
    with reading(store) as connection:
        (found,) = list_uncertain(connection)
    assert (found.customer, found.email) == ("c1", f"tel:{PHONE}")
