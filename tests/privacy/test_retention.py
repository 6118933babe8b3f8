"""Retention: what is over its time goes, nothing else does, and no figure changes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from privacy.crowd import EMAIL, EMMA, KEY, Crowd
from pydantic import ValidationError
from sqlalchemy import insert, select, update

from drumbeat import runs
from drumbeat.clock import FixedClock
from drumbeat.privacy.retention import BATCH, ERASED, Result, due, retain
from drumbeat.privacy.rules import PARTS
from drumbeat.project.load import Project, load_project
from drumbeat.project.privacy import NEVER, Retention
from drumbeat.reporting.funnel import make_report
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import customers, inbox, messages, metadata, responses

SHORT = Retention(**dict.fromkeys(Retention.model_fields, "7d"))
KEEP_ALL = Retention(**dict.fromkeys(Retention.model_fields, NEVER))


def run(crowd: Crowd, settings: Retention = SHORT, *, days: float = 0, **options: Any) -> Result:
    at = crowd.now + timedelta(days=days)
    return retain(crowd.engine, settings, crowd.terms(at=at), **options)


def counts(result: Result) -> dict[str, int]:
    return {outcome.rule: outcome.rows for outcome in result.outcomes if outcome.rows}


def only(rule: str, period: str = "7d") -> Retention:
    return KEEP_ALL.model_copy(update={rule: getattr(Retention(**{rule: period}), rule)})


def test_nothing_goes_before_its_time(crowd: Crowd) -> None:
    """Everything in the scene that has a period by default is younger than it."""
    before = crowd.dump()
    assert counts(run(crowd, Retention())) == {}
    assert [
        line for line in crowd.dump().splitlines() if line not in before and not line.startswith("runs.")
    ] == []


def test_never_keeps_everything_for_ever(crowd: Crowd) -> None:
    result = run(crowd, KEEP_ALL, days=20_000)
    assert counts(result) == {}
    assert {outcome.before for outcome in result.outcomes if outcome.rule != ERASED} == {None}


def test_reports_are_the_same_whatever_is_removed(crowd: Crowd, project: Project) -> None:
    def report() -> dict[str, Any]:
        return make_report(crowd.engine, project, as_of=crowd.now).as_json()

    before = report()
    assert before["totals"]["ordered"] == 2
    result = run(crowd, days=500)
    assert set(counts(result)) == {
        *(
            "inbox",
            "responses_raw",
            "message_details",
            "events",
            "consents_proof",
            "audit",
            "inactive_customers",
        ),
    }
    assert report() == before


def test_calls_that_were_worked_on_go_and_failed_ones_stay_for_a_person(crowd: Crowd) -> None:
    with writing(crowd.engine) as connection:
        connection.execute(update(inbox).where(inbox.c.dedupe_key == "json:b").values(state="new"))
    done = run(crowd, only("inbox"), days=5.5)
    assert counts(done) == {"inbox": 13}
    assert sorted(row.dedupe_key for row in crowd.rows("inbox")) == ["json:b", "quoted:b", "quoted:e"]
    assert counts(run(crowd, only("inbox"), days=5.5)) == {}


def test_of_a_response_the_rule_that_classed_it_stays(crowd: Crowd) -> None:
    before = [(row.id, row.kind, row.at, row._mapping["class"], row.url) for row in crowd.rows("responses")]
    result = run(crowd, only("responses_raw"), days=7.5)
    assert counts(result) == {"responses_raw": 8}
    rows = crowd.rows("responses")
    assert [(row.id, row.kind, row.at, row._mapping["class"], row.url) for row in rows] == before
    assert [row.raw for row in rows if row.raw] == [{"rule": "burst_of_links"}] * 2
    assert counts(run(crowd, only("responses_raw"), days=8)) == {}, "they are not done again"


def test_a_shorter_period_reaches_what_the_longer_one_left(crowd: Crowd) -> None:
    assert counts(run(crowd, only("responses_raw", "100d"), days=8)) == {}
    assert counts(run(crowd, only("responses_raw", "7d"), days=8)) == {"responses_raw": 8}


def test_of_servers_answers_the_codes_stay_and_our_own_reasons(crowd: Crowd) -> None:
    late = crowd.message(crowd.ben, "late", state="skipped", reason="no_longer_eligible", days=1)
    crowd.add("message_events", message_id=late, at=crowd.now, state="skipped", detail="no_longer_eligible")
    run(crowd, only("message_details"), days=20)
    assert {row.answer for row in crowd.rows("messages")} == {None, "250 2.1.5", "250 ok", "550 5.1.1"}
    details = [row.detail for row in crowd.rows("message_events")]
    assert details == ["250 2.1.5", "550 5.1.1", None, "250 2.1.5", "550 5.1.1", None, "no_longer_eligible"]


def test_texts_of_tasks_go_when_they_are_done(crowd: Crowd) -> None:
    tasks = metadata.tables["tasks"]
    assert counts(run(crowd, only("tasks"), days=30)) == {}, "they are open"
    with writing(crowd.engine) as connection:
        done = {"state": "done", "done_at": crowd.now, "done_by": "olga"}
        connection.execute(update(tasks).where(tasks.c.customer_id == crowd.ben).values(done))
    assert counts(run(crowd, only("tasks"), days=30)) == {"tasks": 1}
    assert counts(run(crowd, only("tasks"), days=30)) == {}
    assert [(row.title != "", row.state) for row in crowd.rows("tasks")] == [(True, "open"), (False, "done")]


def test_proof_of_consent_goes_and_the_fact_stays(crowd: Crowd) -> None:
    assert counts(run(crowd, only("consents_proof"))) == {"consents_proof": 4}
    assert [row.proof for row in crowd.rows("consent_events")] == [None] * 3
    assert [row.proof for row in crowd.rows("opt_ins")] == [None]


def test_the_audit_log_loses_what_is_over_its_time(crowd: Crowd) -> None:
    assert counts(run(crowd, only("audit"), days=6)) == {}
    assert counts(run(crowd, only("audit"), days=8)) == {"audit": 4}
    (left,) = crowd.rows("audit")
    assert (left.action, left.detail) == ("retention", {"audit": 4})


def sign_up(crowd: Crowd, name: str, key: str, *, confirmed: bool = False, days: float = 60) -> int:
    who = crowd.customer(name, email=key, email_key=key)
    crowd.add(
        "opt_ins",
        customer_id=who,
        topics=["offers"],
        asked_at=crowd.ago(days=days),
        expires_at=crowd.ago(days=days - 7),
        confirmed_at=crowd.ago(days=days) if confirmed else None,
        proof={"address": key},
    )
    return who


def test_a_sign_up_that_nobody_confirmed_goes_with_the_customer_that_only_it_made(crowd: Crowd) -> None:
    gone = sign_up(crowd, "signup:1", "one@example.com")
    sign_up(crowd, "signup:2", "two@example.com", confirmed=True)
    sign_up(crowd, "signup:3", "three@example.com", days=20)
    sign_up(crowd, "known", "four@example.com")
    bought = sign_up(crowd, "signup:5", "five@example.com")
    crowd.add(
        "orders", external_id="o5", customer_id=bought, ordered_at=crowd.now, total=1, loaded_at=crowd.now
    )
    twin = sign_up(crowd, "signup:6", "six@example.com")
    crowd.customer("shop-6", email="six@example.com", email_key="six@example.com", person_id=twin)
    mail = crowd.message(gone, "opt_in:1", kind="service", address_key="one@example.com")
    result = run(crowd, Retention())
    assert counts(result) == {"unconfirmed": 4 + 1}
    names = {row.id: row.external_id for row in crowd.rows("customers")}
    assert names[gone].startswith("erased:")
    assert [name for name in names.values() if name.startswith(("signup", "known", "shop"))] == [
        *("signup:2", "signup:3", "known", "signup:5", "signup:6", "shop-6"),
    ]
    assert next(row for row in crowd.rows("messages") if row.id == mail).state == "sent"
    assert "one@example.com" not in crowd.dump()
    assert crowd.rows("erased_addresses") == [], "they may sign up again"


def test_a_customer_of_whom_nothing_was_heard_is_made_anonymous(
    crowd: Crowd, traces: Callable[..., Any]
) -> None:
    """Emma was heard of last two days ago by an order; seven days later she is not."""
    assert counts(run(crowd, only("inactive_customers"), days=4)) == {}
    result = run(crowd, only("inactive_customers"), days=8)
    assert counts(result) == {"inactive_customers": 2}
    assert {row.external_id[:7] for row in crowd.rows("customers")} == {"erased:"}
    kept = traces(crowd.dump())
    assert "portishead" not in kept
    assert counts(run(crowd, only("inactive_customers"), days=30)) == {}


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("orders", {"external_id": "x", "ordered_at": 1, "total": 1, "loaded_at": 90}),
        ("carts", {"external_id": "x", "updated_at": 1, "total": 1, "loaded_at": 90}),
        ("events", {"external_id": "x", "name": "x", "at": 1, "loaded_at": 90}),
        ("consent_events", {"topic": "x", "granted": False, "at": 1, "source": "link", "loaded_at": 90}),
        ("opt_ins", {"topics": [], "asked_at": 1, "expires_at": 1}),
        ("coupons", {"external_id": "x", "expires_at": 1, "redeemed_at": 1, "loaded_at": 90}),
    ],
)
def test_any_sign_of_life_of_any_row_of_a_person_keeps_all_of_them(
    crowd: Crowd, table: str, row: dict[str, Any]
) -> None:
    at = {
        name: crowd.now - timedelta(days=value) for name, value in row.items() if name.endswith(("at", "_at"))
    }
    crowd.add(table, customer_id=crowd.twin, **{**row, **at})
    run(crowd, only("inactive_customers"), days=5.5)
    assert [row.external_id[:7] for row in crowd.rows("customers")] == ["kunde-4", "kunde-4", "erased:"]


def test_an_open_by_a_reader_is_a_sign_of_life_and_one_by_a_machine_is_none(crowd: Crowd) -> None:
    def hit(who: str, class_: str, key: str) -> None:
        crowd._hit(
            crowd.messages[f"{who} sent"], "opened", key, source="link", **{"class": class_, "at": crowd.now}
        )

    hit("e", "machine", "m1")
    hit("b", "human", "m2")
    run(crowd, only("inactive_customers"), days=6)
    assert [row.external_id[:7] for row in crowd.rows("customers")] == ["erased:", "erased:", "b1"]


def test_our_own_staff_is_not_made_anonymous(crowd: Crowd) -> None:
    with writing(crowd.engine) as connection:
        connection.execute(update(customers).where(customers.c.id == crowd.ben).values(seed=True))
    run(crowd, only("inactive_customers"), days=50)
    assert crowd.rows("customers")[2].external_id == "b1"


def test_an_inactive_customer_who_had_said_no_stays_without_mail(crowd: Crowd) -> None:
    run(crowd, only("inactive_customers"), days=50)
    assert len(crowd.rows("erased_addresses")) == 5


def test_one_with_a_message_on_its_way_waits_for_the_next_run(crowd: Crowd) -> None:
    crowd.message(crowd.ben, "now", state="handing_over", days=90)
    result = run(crowd, only("inactive_customers"), days=50)
    outcome = next(one for one in result.outcomes if one.rule == "inactive_customers")
    assert (outcome.rows, outcome.left) == (1, 1)
    assert crowd.rows("customers")[2].external_id == "b1"


def test_what_comes_in_about_an_erased_person_is_emptied_by_the_next_run(
    crowd: Crowd, traces: Callable[[str], list[str]]
) -> None:
    crowd.erase()
    sent = crowd.messages["e sent"]
    crowd._hit(sent, "bounced", "postmark:late", source="webhook:postmark", email_key=KEY, raw={"to": EMAIL})
    crowd._hit(
        sent,
        "clicked",
        f"clicked:{sent}:x",
        source="link",
        url=f"https://x/?{KEY}",
        raw={"rule": "r", "agent": KEY},
    )
    crowd._hit(None, "complained", "mail:late", source="mail", email_key=KEY, raw={"to": KEY})
    crowd._hit(
        None,
        "complained",
        "mail:other",
        source="mail",
        email_key="x@example.com",
        raw={"to": "x@example.com"},
    )
    crowd.add("suppressions", email_key=KEY, topic="", reason="complained", at=crowd.now)
    crowd.add("message_events", message_id=sent, at=crowd.now, state="sent", detail=f"250 2.0.0 {KEY}")
    crowd.add(
        "consents", customer_id=crowd.emma, topic="offers", granted=False, at=crowd.now, loaded_at=crowd.now
    )
    with writing(crowd.engine) as connection:
        late = {"answer": f"250 2.0.0 <{KEY}>", "address_key": KEY, "remote_id": "remote-e1-x"}
        connection.execute(update(messages).where(messages.c.id == sent).values(late))
    assert counts(run(crowd, Retention(), dry_run=True)) == {ERASED: 8}
    assert traces(crowd.dump())
    assert counts(run(crowd, Retention())) == {ERASED: 8}
    assert traces(crowd.dump()) == []
    assert "x@example.com" in crowd.dump()
    assert counts(run(crowd, Retention())) == {}


def test_who_exists_again_is_left_alone(crowd: Crowd) -> None:
    crowd.erase()
    crowd.customer("again", email=EMAIL, email_key=KEY)
    crowd.add("suppressions", email_key=KEY, topic="", reason="erased", at=crowd.now)
    crowd._hit(None, "complained", "mail:late", source="mail", email_key=KEY, raw={"to": KEY})
    assert counts(run(crowd, Retention())) == {}


def test_a_dry_run_counts_what_the_run_does_and_keeps_everything(crowd: Crowd) -> None:
    before = crowd.dump()
    shown = run(crowd, days=300, dry_run=True)
    assert crowd.dump() == before
    done = run(crowd, days=300)
    # The dry run still sees the rows of customers that the run made anonymous; it counts no less.
    assert counts(shown) == counts(done)


def test_many_rows_go_in_short_transactions_and_flat_memory(crowd: Crowd) -> None:
    number = BATCH * 5 + 3
    with writing(crowd.engine) as connection:
        row = {
            "source": "x",
            "received_at": crowd.ago(days=90),
            "headers": {},
            "body": b"x" * 2000,
            "state": "done",
        }
        connection.execute(insert(inbox), [{**row, "dedupe_key": f"n{n}"} for n in range(number)])
    seen: list[int] = []
    tracemalloc.start()
    try:
        result = run(crowd, only("inbox"), progress=seen.append)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counts(result) == {"inbox": number}
    assert max(b - a for a, b in zip([0, *seen], seen, strict=False)) == BATCH
    assert peak < 3 * 2**20, f"{peak / 2**20:.1f} MB for {number * 2000 / 2**20:.0f} MB of rows"


def test_every_rule_of_the_settings_is_one_that_is_done() -> None:
    assert set(PARTS) == set(Retention.model_fields)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"inbox": "6d"}, "at least 7d"),
        ({"events": "0d"}, "say never"),
        ({"audit": None}, "or never"),
        ({"audit": "soon"}, "or never"),
        ({"mails": "1d"}, "mails"),
    ],
)
def test_periods_that_cannot_be_meant_are_faults(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Retention(**settings)


def test_a_faulty_period_is_told_with_its_place(project: Project) -> None:
    from drumbeat.errors import ProjectError

    text = (project.root / "project.yaml").read_text()
    (project.root / "project.yaml").write_text(text[:-1] + ',\n "retention": {"inbox": "1d"}}')
    with pytest.raises(ProjectError, match=r"project\.yaml:2:\d+ \w+ .*at least 7d"):
        load_project(project.root)


def test_collect_does_it_once_a_local_day(crowd: Crowd, project: Project) -> None:
    clock = FixedClock(crowd.now)

    def collect() -> Any:
        return runs.collect(crowd.engine, project, clock=clock).figures["retention"]

    assert due(crowd.engine, clock.now(), "UTC")
    assert collect() == {}
    assert not due(crowd.engine, clock.now(), "UTC")
    assert due(crowd.engine, crowd.now.replace(hour=23, minute=30), "Asia/Tokyo"), (
        "there the next day has begun"
    )
    clock.advance(timedelta(hours=3))
    assert collect() is None
    clock.advance(timedelta(days=40))
    assert collect() == {"inbox": 14}
    assert [row.kind for row in crowd.rows("runs")].count("retention") == 2
    last = crowd.rows("audit")[-1]
    assert (last.action, last.subject, last.detail) == ("retention", None, {"inbox": 14})


def test_a_run_by_hand_as_of_a_later_time_leaves_no_gap(crowd: Crowd) -> None:
    """Neither does it keep the daily run away, nor what is loaded between now and then."""
    run(crowd, only("responses_raw"), days=300)
    assert due(crowd.engine, crowd.now, "UTC")
    crowd._hit(None, "complained", "mail:new", source="mail", email_key="x@example.com", raw={"told": "x"})
    assert counts(run(crowd, only("responses_raw"), days=10)) == {"responses_raw": 3}


def test_a_run_that_was_cut_off_is_gone_on_with(crowd: Crowd) -> None:
    """What was done stays done, and the next run does the rest."""

    class Cut(Exception):  # noqa: N818
        pass

    def cut(rows: int) -> None:
        if rows > 8:
            raise Cut

    with pytest.raises(Cut):
        run(crowd, days=300, progress=cut)
    run(crowd, days=300)
    with reading(crowd.engine) as connection:
        left = connection.execute(select(responses.c.raw).where(responses.c.raw.is_not(None))).scalars().all()
    assert left == [{"rule": "burst_of_links"}] * 2
    assert [row.state for row in crowd.rows("inbox")] == ["failed", "failed"]
    assert datetime.fromisoformat(crowd.rows("runs")[-1].summary["before"]["inbox"]) == crowd.now + timedelta(
        days=293
    )
    assert EMMA not in {row.external_id for row in crowd.rows("customers")}
