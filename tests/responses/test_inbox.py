"""What must hold when stored calls and mails are worked on."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from drumbeat.clock import FixedClock
from drumbeat.errors import InputError, StoreError, UsageError
from drumbeat.rendering.links import Links
from drumbeat.responses import inbox
from drumbeat.responses.arrived import arrived_call, store_arrived, store_mail
from drumbeat.responses.inbox import Desk, failed, retry, row_of, waiting, work
from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Event, WebhookCall
from drumbeat.store.engine import connect, writing
from drumbeat.store.tables import messages

LINKS = Links("https://mail.example.com", b"a key for tests, long enough")


class Plain:
    """A provider whose calls are lists of [message, kind, hour]; it speaks as a real one's webhook does."""

    name = "plain"

    def __init__(self, scene):
        self.scene, self.confirmed, self.away, self.broken = scene, [], False, False

    def events(self, call):
        if self.broken:
            raise ZeroDivisionError("a fault of ours")
        try:
            told = json.loads(call.body)
        except ValueError:
            raise InputError("the call is no JSON") from None
        return [
            Event(Kind(kind), self.scene.at(hour), token=LINKS.mail_token(message), bounce="hard")
            if isinstance(message, int)
            else Event(Kind(kind), self.scene.at(hour), remote_id=message)
            for message, kind, hour in told
        ]

    def follow_up(self, call):
        if self.away:
            raise OSError("no route to host")
        self.confirmed.append(call.body)


@pytest.fixture
def plain(scene):
    return Plain(scene)


@pytest.fixture
def desk(scene, plain, clock):
    clock.at = scene.at(10)
    return Desk(LINKS, clock, {"plain": plain}, soft_bounces=3)


def put(scene, *bodies, source="plain", hours=10):
    calls = [
        WebhookCall({"content-type": "application/json", "authorization": "secret"}, body, scene.at(hours))
        for body in bodies
    ]
    with writing(scene.engine) as connection:
        for call in calls:
            store_arrived(connection, [arrived_call(source, call.body.decode("latin-1"), call)])


def told(*events):
    return json.dumps(events).encode()


def states(scene):
    return [row.state for row in sorted(scene.rows("inbox"), key=lambda row: row.id)]


def test_a_call_becomes_responses_and_is_done(scene, desk):
    reader = scene.customer("a@example.com")
    message = scene.message(reader, address_key="a@example.com")
    put(scene, told([message, "delivered", 1], [message, "bounced", 2]))
    worked = work(scene.engine, desk)
    assert (worked.done, worked.failed, worked.stored, worked.suppressed) == (1, 0, 2, 1)
    assert dict(worked.kinds) == {"delivered": 1, "bounced": 1}
    assert [row.source for row in scene.rows("suppressions")] == ["webhook:plain"]
    (row,) = scene.rows("inbox")
    assert (row.state, row.attempts, row.worked_at, row.error) == ("done", 1, scene.at(10), None)
    assert work(scene.engine, desk).done == 0


def test_what_proves_a_call_genuine_is_not_kept(scene):
    put(scene, b"[]")
    (row,) = scene.rows("inbox")
    assert "secret" not in str(row.headers)
    assert row.headers["content-type"] == "application/json"


def test_one_bad_row_stays_with_its_error_and_the_others_are_worked_on(scene, desk):
    message = scene.message(scene.customer())
    put(scene, told([message, "sent", 1]), b"no json", told([message, "delivered", 2]))
    worked = work(scene.engine, desk)
    assert (worked.done, worked.failed, worked.stored) == (2, 1, 2)
    assert states(scene) == ["done", "failed", "done"]
    (row,) = failed(scene.engine)
    assert (row.error, row.attempts, row.source) == ("the call is no JSON", 1, "plain")
    assert waiting(scene.engine) == {"new": 0, "failed": 1}
    assert work(scene.engine, desk).failed == 0, "it is not tried again by itself"


def test_a_row_that_the_database_refuses_takes_no_other_along(scene, desk):
    message = scene.message(scene.customer())
    put(scene, told([message, "sent", 1]), told([message, "delivered", 2]), told([message, "opened", 3]))
    bad = desk.webhooks["plain"].events

    def with_a_naive_time(call):
        events = bad(call)
        return [Event(e.kind, e.at.replace(tzinfo=None)) if e.kind is Kind.DELIVERED else e for e in events]

    desk.webhooks["plain"].events = with_a_naive_time
    worked = work(scene.engine, desk)
    assert (worked.done, worked.failed, worked.stored) == (2, 1, 2)
    assert states(scene) == ["done", "failed", "done"]
    assert "naive datetime" in failed(scene.engine)[0].error


def test_a_fault_of_ours_stops_nobody_and_can_be_tried_again(scene, desk, plain):
    message = scene.message(scene.customer())
    put(scene, told([message, "sent", 1]))
    plain.broken = True
    assert work(scene.engine, desk).failed == 1
    assert failed(scene.engine)[0].error == "a fault in Drumbeat: ZeroDivisionError: a fault of ours"
    plain.broken = False
    assert retry(scene.engine, [77]) == 0
    assert retry(scene.engine) == 1
    assert work(scene.engine, desk).done == 1
    assert [row.attempts for row in scene.rows("inbox")] == [2]


def test_a_call_that_tells_nothing_is_done_once_what_it_asks_for_worked(scene, desk, plain, clock):
    put(scene, b"[]")
    plain.away = True
    assert work(scene.engine, desk).waiting == 1
    assert states(scene) == ["new"]
    assert "no route to host" in scene.rows("inbox")[0].error
    plain.away = False
    assert work(scene.engine, desk).done == 0, "not again at once"
    clock.advance(timedelta(seconds=30))
    assert work(scene.engine, desk).done == 1
    assert (states(scene), plain.confirmed) == (["done"], [b"[]"])


def test_what_a_call_asks_for_in_vain_is_for_a_person_at_last(scene, desk, plain, clock):
    put(scene, b"[]")
    plain.away = True
    work(scene.engine, desk)
    clock.advance(timedelta(minutes=15))
    assert work(scene.engine, desk).failed == 1
    assert "what plain asked for did not work" in failed(scene.engine)[0].error


def test_a_crash_before_the_follow_up_repeats_it(scene, desk, plain, clock, monkeypatch):
    put(scene, b"[]")
    monkeypatch.setattr(inbox, "_follow_up", lambda *_, **__: None)
    work(scene.engine, desk)
    monkeypatch.undo()
    clock.advance(timedelta(seconds=30))
    assert work(scene.engine, desk).done == 1
    assert plain.confirmed == [b"[]"]


def test_an_event_waits_for_its_messages_id_and_is_kept_without_it_at_last(scene, desk, clock):
    message = scene.message(scene.customer())
    put(scene, told(["r-1", "delivered", 1]), told(["r-2", "delivered", 1]))
    assert work(scene.engine, desk).waiting == 2
    with writing(scene.engine) as connection:
        connection.execute(messages.update().values(remote_id="r-1"))
    clock.advance(timedelta(seconds=30))
    worked = work(scene.engine, desk)
    assert (worked.done, worked.waiting) == (1, 1)
    clock.advance(timedelta(minutes=15))
    assert work(scene.engine, desk).done == 1
    assert sorted(row.message_id or 0 for row in scene.rows("responses")) == [0, message]


def test_rows_of_a_provider_that_is_not_served_here_are_left_for_a_worker_that_does(scene, desk):
    put(scene, b"[]", source="other")
    assert work(scene.engine, desk).done == 0
    assert states(scene) == ["new"]


def test_the_same_call_or_mail_again_is_the_same_row(scene):
    put(scene, b"[]", b"[]")
    put(scene, b"[]")
    assert store_mail(scene.engine, b"From: x\n\ny", scene.at(1)) is True
    assert store_mail(scene.engine, b"From: x\n\ny", scene.at(2)) is False
    assert scene.count("inbox") == 2


def test_a_bounce_by_mail_suppresses_the_address_that_its_return_path_names(scene, desk):
    message = scene.message(scene.customer("a@example.com"), address_key="a@example.com")
    raw = (
        "From: Mail Delivery System <MAILER-DAEMON@mx.example.com>\n"
        f"To: bounces+{LINKS.mail_token(message)}@shop.example\n"
        "Subject: Undelivered Mail Returned to Sender\n"
        "Auto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nThis is the mail system.\n\n"
        "--b\nContent-Type: message/delivery-status\n\n"
        "Reporting-MTA: dns; mx.example.com\n\n"
        "Final-Recipient: rfc822; a@example.com\nAction: failed\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp; 550 5.1.1 User unknown\n\n--b--\n"
    )
    store_mail(scene.engine, raw.encode(), scene.at(9))
    worked = work(scene.engine, desk)
    assert (worked.done, worked.suppressed) == (1, 1)
    assert [(row.email_key, row.reason, row.source) for row in scene.rows("suppressions")] == [
        ("a@example.com", "bounced", "mail")
    ]


@pytest.mark.parametrize(
    "rubbish", [b"", b"\0" * 1_000, b"\xff\xfe" * 500, b"Subject: x\n\n" + b"y" * 70_000]
)
def test_rubbish_in_the_mailbox_stops_nobody(scene, desk, rubbish):
    store_mail(scene.engine, rubbish, scene.at(9))
    worked = work(scene.engine, desk)
    assert worked.done + worked.failed == 1
    assert scene.count("suppressions") == 0


def test_several_workers_do_each_row_once(scene, desk):
    reader = scene.customer()
    sent = [scene.message(reader) for _ in range(10)]
    put(scene, *(told([sent[n % 10], "sent", n], [sent[n % 10], "opened", n + 0.5]) for n in range(250)))
    engines = [connect(scene.engine.url.render_as_string(hide_password=False)) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda engine: work(engine, desk).done, engines))
    finally:
        for engine in engines:
            engine.dispose()
    assert sum(done) == 250
    assert set(states(scene)) == {"done"}
    assert scene.count("responses") == 500
    assert {row.attempts for row in scene.rows("inbox")} == {1}


def test_a_limit_leaves_the_rest(scene, desk):
    put(scene, *(told([n, "sent", 1]) for n in range(1, 6)))
    worked = work(scene.engine, desk, limit=2)
    assert (worked.done, worked.more) == (2, True)
    assert waiting(scene.engine)["new"] == 3
    assert work(scene.engine, desk).done == 3


def test_a_row_can_be_looked_at(scene):
    put(scene, b"\xff")
    (row,) = scene.rows("inbox")
    state, error, arrived = row_of(scene.engine, row.id)
    assert (state, error, arrived.source, arrived.body) == ("new", None, "plain", b"\xff")
    call = arrived.as_call()
    assert (call.method, call.received_at, call.body) == ("POST", scene.at(10), b"\xff")
    with pytest.raises(UsageError, match="the inbox has no row 99"):
        row_of(scene.engine, 99)


def test_without_tables_work_says_what_to_do(tmp_path):
    engine = connect(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(StoreError, match="drumbeat db upgrade"):
        work(engine, Desk(LINKS, FixedClock(datetime(2026, 1, 1, tzinfo=UTC))))
    engine.dispose()
