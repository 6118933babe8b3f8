"""Erasing: nothing of the person is left, everybody else is as before, and so is every figure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from privacy.crowd import CHAT, EMAIL, EMMA, KEY, PHONE, TRACES, Crowd
from sqlalchemy import Engine, select, update

from drumbeat.errors import StoreError, UsageError
from drumbeat.ledger.cap import CapRule, used_by
from drumbeat.planning.explain import REFUSALS, explain
from drumbeat.planning.plan import plan
from drumbeat.privacy.person import GoneError
from drumbeat.project.load import Project, load_project
from drumbeat.reporting.funnel import make_report
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import customers, inbox, messages, metadata
from drumbeat.store.upgrade import upgrade

Traces = Callable[[str], list[str]]


def of_ben(crowd: Crowd) -> dict[str, list[Any]]:
    """Every row that is Ben's, or nobody's."""
    messages_of = {row.id for row in crowd.rows("messages") if row.customer_id == crowd.ben}
    found: dict[str, list[Any]] = {}
    for name, table in metadata.tables.items():
        for row in crowd.rows(name):
            values = row._mapping
            whose = values.get("customer_id") if name != "customers" else values["id"]
            if "message_id" in table.c and values["message_id"] is not None:
                whose = crowd.ben if values["message_id"] in messages_of else None
            named = [values.get(column) for column in ("email_key", "subject", "dedupe_key", "key")]
            if whose == crowd.ben or any(
                str(one).startswith("ben@") or str(one).endswith((":b", ".net")) for one in named
            ):
                found.setdefault(name, []).append(tuple(row))
    return found


def test_the_scene_holds_every_trace(crowd: Crowd, traces: Traces) -> None:
    """Else the tests below could not fail."""
    assert set(traces(crowd.dump())) == set(TRACES)


def test_nothing_of_an_erased_person_is_found_in_any_table(crowd: Crowd, traces: Traces) -> None:
    done = crowd.erase()
    left = crowd.dump()
    assert traces(left) == [], [line for line in left.splitlines() if traces(line)]
    assert done.customers == [EMMA, "kunde-4712"]
    assert set(done.addresses) == {KEY, f"tel:{PHONE}", f"tg:{CHAT}", "oldest.address@example.com"}


def test_everybody_else_is_as_before(crowd: Crowd) -> None:
    before = of_ben(crowd)
    assert len(before) > 12
    crowd.erase()
    assert of_ben(crowd) == before


def test_reports_are_the_same_before_and_after(crowd: Crowd, project: Project) -> None:
    def report() -> dict[str, Any]:
        return make_report(crowd.engine, project, as_of=crowd.now).as_json()

    before = report()
    totals = before["totals"]
    assert (totals["ordered"], totals["opened"], totals["clicked_by_machine"], totals["bounced"]) == (
        2,
        2,
        2,
        2,
    )
    crowd.erase()
    assert report() == before


def test_the_rows_stay_as_numbers_without_names(crowd: Crowd) -> None:
    done = crowd.erase()
    emma, twin, _ = crowd.rows("customers")
    assert (emma.external_id, twin.external_id) == (done.stub, f"{done.stub}:{twin.id}")
    for row in (emma, twin):
        kept = {name for name, value in row._mapping.items() if value not in (None, {})}
        assert kept == {"id", "external_id", "person_id", "seed", "loaded_at"}
        assert row.person_id == emma.id
    order = crowd.rows("orders")[0]
    assert (order.external_id, str(order.total), order.currency) == (f"{done.stub}:{order.id}", "49.9", "EUR")
    assert crowd.rows("order_items")[0].title == "Tea"
    event = crowd.rows("events")[0]
    assert (event.name, event.properties) == ("product_viewed", {})
    assert crowd.rows("consents")[0].customer_id == crowd.ben
    proved = [row for row in crowd.rows("consent_events") if row.customer_id != crowd.ben]
    assert [(row.granted, row.topic, row.proof) for row in proved] == [(True, "offers", None)] * 2


def test_of_servers_answers_their_codes_stay(crowd: Crowd) -> None:
    crowd.erase()
    answers = {row.id: row.answer for row in crowd.rows("messages")}
    assert answers[crowd.messages["e sent"]] == "250 2.1.5"
    assert answers[crowd.messages["e old"]] == "250 ok"
    assert answers[crowd.messages["e refused"]] == "550 5.1.1"
    assert answers[crowd.messages["b refused"]] == "550 5.1.1 ben@example.com unknown"
    assert [row.detail for row in crowd.rows("message_events")][:2] == ["250 2.1.5 queued", "550 5.1.1"]


def test_of_responses_the_facts_stay_and_the_rule_that_classed_them(crowd: Crowd) -> None:
    crowd.erase()
    rows = [row for row in crowd.rows("responses") if row.email_key != "ben@example.com"]
    rows = [
        row for row in rows if row.message_id not in {crowd.messages[f"b {n}"] for n in ("sent", "refused")}
    ]
    assert [(row.kind, row.raw, row.url, row.bounce) for row in rows] == [
        ("opened", None, None, None),
        ("clicked", {"rule": "burst_of_links"}, None, None),
        ("bounced", None, None, "soft"),
        ("complained", None, None, None),
    ]
    assert [row.dedupe_key.startswith("erased:") for row in rows] == [False, False, True, True]


def test_a_task_that_was_open_is_cancelled_and_says_nothing(crowd: Crowd) -> None:
    crowd.erase()
    task = crowd.rows("tasks")[0]
    assert (task.state, task.title, task.text, task.note, task.done_at) == (
        "cancelled",
        "",
        "",
        None,
        crowd.now,
    )


def test_calls_and_mails_that_name_them_are_emptied_and_failed_ones_are_not_tried_again(crowd: Crowd) -> None:
    crowd.erase()
    theirs = [row for row in crowd.rows("inbox") if row.dedupe_key.endswith(":e")]
    assert len(theirs) == 8
    for row in theirs:
        assert (bytes(row.body), row.headers, row.state, row.error) == (b"", {}, "done", None)


def test_what_waits_is_withdrawn_and_explained(crowd: Crowd, project: Project) -> None:
    waiting = crowd.message(crowd.emma, "cart:cart-e9", state="planned")
    deferred = crowd.message(crowd.twin, "cart:cart-e8", state="deferred")
    crowd.add("outbox", message_id=waiting, due_at=crowd.now, priority=1)
    done = crowd.erase()
    assert done.withdrawn == 2
    rows = {row.id: row for row in crowd.rows("messages")}
    for number in (waiting, deferred):
        assert (rows[number].state, rows[number].reason) == ("skipped", "erased")
    assert crowd.rows("outbox") == []
    (told,) = explain(crowd.engine, project, done.stub, "reminder", as_of=crowd.now)
    assert REFUSALS["erased"] in {REFUSALS.get(entry.reason or "") for entry in told.ledger}


def test_an_occasion_keeps_in_step_with_the_cart_that_it_is_of(crowd: Crowd) -> None:
    """So the trigger gives the very name that is settled already."""
    done = crowd.erase()
    cart = crowd.rows("carts")[0]
    occasions = {row.id: row.occasion for row in crowd.rows("messages")}
    assert (
        occasions[crowd.messages["e sent"]]
        == f"cart:{done.stub}:{cart.id}:v2"
        == f"cart:{cart.external_id}:v2"
    )


def test_an_occasion_that_names_them_in_another_way_is_replaced_as_a_whole(
    crowd: Crowd, traces: Traces
) -> None:
    """A company's own trigger may make occasions of anything."""
    odd = [f"welcome:{KEY}", f"call {PHONE}", f"vip:{EMMA}", f"to:Emma Clarke:{EMMA}:2011"]
    ids = [crowd.message(crowd.emma, occasion) for occasion in odd]
    done = crowd.erase()
    assert traces(crowd.dump()) == []
    occasions = {row.id: row.occasion for row in crowd.rows("messages")}
    assert [occasions[i] for i in ids] == [
        f"{done.stub}:{ids[0]}",
        f"{done.stub}:{ids[1]}",
        f"vip:{done.stub}",
        f"{done.stub}:{ids[3]}",
    ]


def test_what_is_left_of_somebody_is_nobodys_candidate(crowd: Crowd, tmp_path: Any, project: Project) -> None:
    """Neither for a mail nor for a task, which needs no address; reports stay the same after the next plan, too."""
    text = (project.root / "campaigns/reminder.yaml").read_text()
    (project.root / "campaigns/reminder.yaml").write_text(
        text.replace('"topic"', '"kind": "service", "topic"')
    )
    changed = load_project(project.root)
    crowd.erase()
    before = len(crowd.rows("messages"))
    result = plan(crowd.engine, changed, as_of=crowd.now)
    new = crowd.rows("messages")[before:]
    assert {row.customer_id for row in new} == {crowd.ben}
    assert result.campaigns[0].candidates == 1


def test_the_cap_counts_the_others_as_before(crowd: Crowd) -> None:
    rule = CapRule(4, timedelta(days=7))

    def used() -> list[int]:
        with reading(crowd.engine) as connection:
            places = used_by(rule, "shop", crowd.now, customers.c.person_id)
            rows = connection.execute(select(customers.c.id, places).order_by(customers.c.id))
            return [used for _, used in rows.tuples()]

    before = used()
    assert before == [2, 2, 2]
    crowd.erase()
    assert used() == before


def test_erasing_again_is_harmless(crowd: Crowd, traces: Traces) -> None:
    done = crowd.erase()
    before = crowd.dump()
    for again in (EMAIL, PHONE):
        with pytest.raises(GoneError, match="it was erased on 2011-12-05"):
            crowd.erase(again)
    with pytest.raises(UsageError, match="unknown customer"):
        crowd.erase(EMMA)
    assert crowd.dump() == before
    assert crowd.erase(done.stub).stub == done.stub
    after = crowd.dump()
    assert traces(after) == []
    assert [line for line in after.splitlines() if line not in before and not line.startswith("audit.")] == []


def test_a_dry_run_shows_what_would_go_and_keeps_nothing(crowd: Crowd) -> None:
    before = crowd.dump()
    shown = crowd.erase(dry_run=True)
    assert crowd.dump() == before
    done = crowd.erase()
    assert (shown.rows, shown.addresses) == (done.rows, done.addresses)


def test_a_message_on_its_way_is_not_torn_from_the_hand_over(crowd: Crowd) -> None:
    """Erasing says so in one line and changes nothing."""
    crowd.message(crowd.twin, "now", state="handing_over")
    before = crowd.dump()
    slept: list[float] = []
    with pytest.raises(
        StoreError, match=r"1 message is just being handed over to 'kunde-4711'; nothing was erased"
    ):
        crowd.erase(wait_s=2, sleep=slept.append)
    assert crowd.dump() == before
    assert sum(slept) == pytest.approx(2, abs=0.6)


def test_a_hand_over_that_ends_in_time_is_waited_for(crowd: Crowd, traces: Traces) -> None:
    going = crowd.message(crowd.emma, "now", state="handing_over", address_key=KEY)

    def end(_seconds: float) -> None:
        with writing(crowd.engine) as connection:
            ended = {"state": "sent", "sent_at": crowd.now, "answer": f"250 2.0.0 {KEY} ok"}
            connection.execute(update(messages).where(messages.c.id == going).values(ended))

    crowd.erase(sleep=end)
    row = next(row for row in crowd.rows("messages") if row.id == going)
    assert (row.state, row.sent_at, row.answer) == ("sent", crowd.now, "250 2.0.0")
    assert traces(crowd.dump()) == []


def test_a_call_that_is_still_to_be_worked_on_is_not_emptied(crowd: Crowd) -> None:
    """It may tell of others, too. One that nobody has worked on for long is nobody's any more."""
    with writing(crowd.engine) as connection:
        fresh = crowd.now - timedelta(minutes=5)
        which = inbox.c.dedupe_key == "json:e"
        connection.execute(update(inbox).where(which).values(state="new", received_at=fresh))
    with pytest.raises(
        StoreError, match="still to be worked on; nothing was erased, try again in 10 minutes"
    ):
        crowd.erase(sleep=lambda _s: pytest.fail("this does not pass in seconds"))
    with writing(crowd.engine) as connection:
        connection.execute(update(inbox).where(which).values(received_at=crowd.now - timedelta(hours=1)))
    crowd.erase()
    assert {row.state for row in crowd.rows("inbox")} == {"done", "failed"}


def test_the_audit_log_knows_the_stub_and_not_the_person(crowd: Crowd) -> None:
    done = crowd.erase()
    entries = [(row.actor, row.action, row.subject) for row in crowd.rows("audit")]
    assert entries == [
        ("olga", "suppressions add", done.stub),
        ("olga", "tasks done", done.stub),
        ("olga", "suppressions import", None),
        ("olga", "suppressions add", "ben@example.com"),
        ("tester", "customer erase", done.stub),
    ]
    detail = crowd.rows("audit")[-1].detail
    assert detail["customers"] == 2
    assert detail["rows"]["orders"] == 1


def test_of_an_entry_about_several_people_only_their_part_changes(crowd: Crowd) -> None:
    crowd._note("suppressions remove", None, {"removed": [{"address": KEY}, {"address": "ben@example.com"}]})
    done = crowd.erase()
    entry = crowd.rows("audit")[-2]
    assert entry.detail == {"removed": [{"address": done.stub}, {"address": "ben@example.com"}]}


def test_what_somebody_wrote_about_them_goes_from_the_log_too(crowd: Crowd) -> None:
    crowd._note(
        "tasks done", EMMA, {"task": 7, "note": "away until May, ask the neighbour", "topic": "offers"}
    )
    done = crowd.erase()
    assert crowd.rows("audit")[-2].detail == {"task": 7, "note": done.stub, "topic": "offers"}


def test_two_erasures_at_once_are_one(crowd: Crowd, traces: Traces) -> None:
    ends: list[object] = []

    def go() -> None:
        try:
            ends.append(crowd.erase())
        except UsageError as error:
            ends.append(error)

    threads = [Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ends) == 3
    assert sum(not isinstance(end, Exception) for end in ends) == 1
    assert traces(crowd.dump()) == []
    assert len([row for row in crowd.rows("audit") if row.action == "customer erase"]) == 1


def test_the_tables_of_a_migrated_database_are_erased_too(
    postgresql_or_sqlite: Engine, project: Project, now: Any, traces: Traces
) -> None:
    """What `drumbeat db upgrade` makes, with its foreign keys."""
    upgrade(postgresql_or_sqlite)
    crowd = Crowd(postgresql_or_sqlite, project, now)
    crowd.fill()
    crowd.erase()
    assert traces(crowd.dump()) == []
