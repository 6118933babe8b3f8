"""What a plan decides, and that deciding twice changes nothing."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from drumbeat.errors import ProjectError, UsageError
from drumbeat.ledger.states import State
from drumbeat.planning.plan import plan
from drumbeat.project.load import load_project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import consents, customers, messages, outbox, runs, suppressions

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def states(people) -> Counter:
    return Counter((state, reason) for _, _, state, reason in people.ledger())


def test_every_candidate_gets_one_row_and_one_place_in_the_outbox(store, people, make_project, now):
    project = make_project()
    for customer in people.add(3):
        people.happen("hello", customer, now - HOUR)
    result = plan(store, project, as_of=now)
    assert result.planned == 3
    assert states(people) == {("planned", None): 3}
    with reading(store) as connection:
        assert connection.execute(select(func.count()).select_from(outbox)).scalar() == 3


def test_a_second_plan_of_the_same_occasions_adds_nothing(store, people, make_project, now):
    project = make_project()
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR)
    plan(store, project, as_of=now)
    again = plan(store, project, as_of=now + HOUR)
    assert again.planned == 0
    assert again.campaigns[0].candidates == 0
    assert len(people.ledger()) == 1


def test_a_dry_run_says_what_the_run_does_and_keeps_nothing(store, people, make_project, now):
    project = make_project()
    for customer in people.add(6):
        people.happen("hello", customer, now - HOUR, times=customer)
    dry = plan(store, project, as_of=now, dry_run=True)
    assert people.ledger() == []
    with reading(store) as connection:
        assert connection.execute(select(func.count()).select_from(runs)).scalar() == 0
    real = plan(store, project, as_of=now)
    assert dry.campaigns == real.campaigns
    assert dry.run_id is None
    assert real.run_id is not None


def test_nobody_without_address_consent_or_with_a_suppression_is_planned(store, people, make_project, now):
    project = make_project(
        {"segments.yaml": "shoppers: {country: {exists: false}}\n"},
    )
    ok, no_consent, suppressed, no_address, other_topic = people.add(5)
    with writing(store) as connection:
        connection.execute(update(consents).where(consents.c.customer_id == no_consent).values(granted=False))
        connection.execute(
            update(customers).where(customers.c.id == no_address).values(email=None, email_key=None)
        )
        connection.execute(
            insert(suppressions),
            [
                {"email_key": f"c{suppressed}@example.com", "topic": "", "reason": "unsubscribed", "at": now},
                {
                    "email_key": f"c{other_topic}@example.com",
                    "topic": "news",
                    "reason": "unsubscribed",
                    "at": now,
                },
            ],
        )
    for customer in (ok, no_consent, suppressed, no_address, other_topic):
        people.happen("hello", customer, now - HOUR)
    result = plan(store, project, as_of=now)
    assert result.campaigns[0].skipped == {"no_address": 1, "no_consent": 1, "suppressed": 1}
    assert {customer for _, customer, state, _ in people.ledger() if state == "planned"} == {ok, other_topic}


def test_service_mail_needs_no_consent_and_is_stopped_only_by_a_dead_address(
    store, people, make_project, now
):
    project = make_project(
        {"segments.yaml": "shoppers: {country: {exists: false}}\n"}, campaigns={"hello": {"kind": "service"}}
    )
    plain, unsubscribed, dead = people.add(3, consent=False)
    with writing(store) as connection:
        for customer, reason in ((unsubscribed, "unsubscribed"), (dead, "bounced")):
            connection.execute(
                insert(suppressions).values(
                    email_key=f"c{customer}@example.com", topic="", reason=reason, at=now
                )
            )
    for customer in (plain, unsubscribed, dead):
        people.happen("hello", customer, now - HOUR, times=6)
    result = plan(store, project, as_of=now)
    assert result.planned == 12, "service mail is exempt from the cap"
    assert result.campaigns[0].skipped == {"suppressed": 6}


def test_the_cap_admits_four_and_drops_the_rest_by_default(store, people, make_project, now):
    project = make_project()
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR, times=7)
    result = plan(store, project, as_of=now)
    assert (result.planned, result.campaigns[0].skipped) == (4, {"capped": 3})


def test_higher_priority_takes_the_places_first(store, people, make_project, now):
    project = make_project(
        campaigns={"low": {"priority": 10}, "high": {"priority": 90}, "middle": {"priority": 50}}
    )
    (customer,) = people.add()
    for name, times in (("low", 2), ("high", 2), ("middle", 1)):
        people.happen(name, customer, now - HOUR, times=times)
    result = plan(store, project, as_of=now)
    assert {c.campaign: c.planned for c in result.campaigns} == {"high": 2, "middle": 1, "low": 1}


def test_two_customer_rows_of_one_person_share_the_cap(store, people, make_project, now):
    project = make_project()
    one, two = people.add(2)
    with writing(store) as connection:
        connection.execute(update(customers).values(person_id=one))
    for customer in (one, two):
        people.happen("hello", customer, now - HOUR, times=3)
    assert plan(store, project, as_of=now).planned == 4


@pytest.mark.parametrize(
    ("age", "free"), [(timedelta(hours=168), 1), (timedelta(hours=168) - timedelta(microseconds=1), 0)]
)
def test_a_mail_leaves_the_cap_exactly_168_hours_after_it_was_sent(
    store, people, make_project, now, age, free
):
    project = make_project()
    (customer,) = people.add()
    people.happen("hello", customer, now - timedelta(days=9), times=4)
    plan(store, project, as_of=now - timedelta(days=8))
    with writing(store) as connection:
        first = connection.execute(select(func.min(messages.c.id))).scalar()
        connection.execute(update(messages).values(state=State.SENT, sent_at=now - HOUR))
        connection.execute(update(messages).where(messages.c.id == first).values(sent_at=now - age))
    people.happen("hello", customer, now - HOUR)
    assert plan(store, project, as_of=now).planned == free


def test_a_mail_that_waits_holds_its_place_however_old_it_is(store, people, make_project, now):
    project = make_project()
    (customer,) = people.add()
    people.happen("hello", customer, now - timedelta(days=21), times=4)
    plan(store, project, as_of=now - timedelta(days=20))
    people.happen("hello", customer, now - HOUR)
    assert plan(store, project, as_of=now).planned == 0


def test_senders_have_caps_of_their_own(store, people, make_project, now):
    project = make_project(
        {
            "project.yaml": """
project: two_senders
senders:
  shop: {name: Shop, address: a@shop.example, postal_address: x}
  club: {name: Club, address: b@shop.example, postal_address: x}
topics: {offers: Offers}
"""
        },
        campaigns={"hello": {}, "club": {"sender": "club"}},
    )
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR, times=5)
    people.happen("club", customer, now - HOUR, times=5)
    assert plan(store, project, as_of=now).planned == 8


def test_flags_exempt_a_campaign_from_the_cap_or_from_counting(store, people, make_project, now):
    project = make_project(
        campaigns={
            "free": {"obeys_cap": False, "priority": 90},
            "light": {"counts_toward_cap": False, "priority": 80},
            "hello": {"priority": 10},
        }
    )
    (customer,) = people.add()
    for name in ("free", "light", "hello"):
        people.happen(name, customer, now - HOUR, times=3)
    result = plan(store, project, as_of=now)
    # free: 3 that count; light: obeys, does not count, one place is left; hello: takes the last one
    assert {c.campaign: c.planned for c in result.campaigns} == {"free": 3, "light": 3, "hello": 1}


def test_a_deferred_mail_is_planned_when_a_place_comes_free(store, people, make_project, now):
    project = make_project(campaigns={"hello": {"send": {"when_capped": {"defer": "2d"}}}})
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR, times=5)
    first = plan(store, project, as_of=now)
    assert (first.planned, first.campaigns[0].deferred) == (4, 1)
    with writing(store) as connection:
        connection.execute(
            update(messages)
            .where(messages.c.state == State.PLANNED)
            .values(state=State.SENT, sent_at=now - 7 * DAY + HOUR)
        )
        connection.execute(outbox.delete())
    assert plan(store, project, as_of=now + HOUR - timedelta(microseconds=1)).planned == 0
    assert plan(store, project, as_of=now + HOUR).planned == 1
    with reading(store) as connection:
        assert connection.execute(select(func.count()).select_from(outbox)).scalar() == 1


def test_a_deferred_mail_is_given_up_as_capped_when_its_patience_ends(store, people, make_project, now):
    project = make_project(campaigns={"hello": {"send": {"when_capped": {"defer": "2d"}}}})
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR, times=5)
    plan(store, project, as_of=now)
    plan(store, project, as_of=now + DAY)
    assert ("deferred", "capped") in states(people), "looking again does not renew the patience"
    result = plan(store, project, as_of=now + 2 * DAY)
    assert result.given_up == 1
    assert states(people)["skipped", "capped"] == 1


def test_a_deferred_mail_whose_consent_is_gone_is_skipped(store, people, make_project, now):
    project = make_project(
        {"segments.yaml": "shoppers: {country: {exists: false}}\n"},
        campaigns={"hello": {"send": {"when_capped": {"defer": "2d"}}}},
    )
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR, times=5)
    plan(store, project, as_of=now)
    with writing(store) as connection:
        connection.execute(update(consents).values(granted=False))
    plan(store, project, as_of=now + HOUR)
    assert states(people)["skipped", "no_consent"] == 1


def test_the_window_opens_in_the_customers_own_morning(store, people, make_project, now):
    project = make_project(campaigns={"hello": {"send": {"window": {"from": "10:00", "to": "20:00"}}}})
    here = people.add(time_zone="Europe/London")[0]  # 09:00 local
    berlin = people.add(time_zone="Europe/Berlin")[0]  # 10:00 local
    tokyo = people.add(time_zone="Asia/Tokyo")[0]  # 18:00 local
    auckland = people.add(time_zone="Pacific/Auckland")[0]  # 22:00 local, +13:00
    nowhere = people.add()[0]  # the project's zone
    for customer in (here, berlin, tokyo, auckland, nowhere):
        people.happen("hello", customer, now - HOUR)
    plan(store, project, as_of=now)
    with reading(store) as connection:
        due = dict(connection.execute(select(messages.c.customer_id, messages.c.due_at)).all())
    assert due == {here: now + HOUR, berlin: now, tokyo: now, auckland: now + 12 * HOUR, nowhere: now + HOUR}


def test_a_mail_whose_window_opens_after_its_end_is_skipped_and_takes_no_place(
    store, people, make_project, now
):
    project = make_project(
        campaigns={
            "hello": {
                "trigger": {"happened": {"name": "hello", "within": "2h"}},
                "send": {"window": {"from": "11:00", "to": "20:00"}},
            }
        }
    )
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR, times=5)
    result = plan(store, project, as_of=now)
    assert result.campaigns[0].skipped == {"too_late": 5}


def test_an_unknown_campaign_is_refused_with_the_nearest_name(store, make_project, now):
    with pytest.raises(UsageError, match=r"unknown campaign 'helo'\. Did you mean 'hello'\?"):
        plan(store, make_project(), as_of=now, campaigns=["helo"])


def test_a_disabled_campaign_is_not_planned(store, people, make_project, now):
    project = make_project(campaigns={"hello": {"enabled": False}})
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR)
    assert plan(store, project, as_of=now).campaigns == ()
    assert plan(store, project, as_of=now, campaigns=["hello"], dry_run=True).planned == 1


def test_the_same_newsletter_goes_once_to_a_mailbox_that_two_customers_share(
    store, people, make_project, now
):
    project = make_project(
        {
            "triggers/__init__.py": '''
from typing import ClassVar
from drumbeat.triggers import Trigger, sa, tables
from drumbeat.store.types import UtcDateTime

class Everyone(Trigger):
    """All customers, now."""
    kind: ClassVar[str] = "all_now"

    def select(self, moment):
        return sa.select(tables.customers.c.id.label("customer_id"), sa.literal("issue:1").label("occasion"),
            sa.null().label("subject_id"), sa.literal(moment.as_of, UtcDateTime).label("due_at"),
            sa.null().label("expires_at"))

KINDS = {"all_now": Everyone}
'''
        },
        campaigns={"hello": {"trigger": {"all_now": {}}}},
    )
    one, two, other = people.add(3)
    with writing(store) as connection:
        connection.execute(update(customers).where(customers.c.id == two).values(person_id=one))
    result = plan(store, project, as_of=now)
    assert (result.planned, result.campaigns[0].skipped) == (2, {"duplicate_person": 1})
    assert {c for _, c, state, _ in people.ledger() if state == "planned"} == {one, other}


def test_customers_without_a_person_are_capped_by_their_mailbox(store, people, make_project, now):
    """Rows that a company inserts by itself have no person yet; the plan finds out before it counts."""
    project = make_project()
    one, two = people.add(2)
    with writing(store) as connection:
        connection.execute(update(customers).values(person_id=None, email_key="shared@example.com"))
    for customer in (one, two):
        people.happen("hello", customer, now - HOUR, times=3)
    assert plan(store, project, as_of=now).planned == 4


def test_a_customer_whose_zone_does_not_exist_takes_the_projects(store, people, make_project, now):
    """Such a zone can come with data that did not pass the import; it must not stop everybody's mails."""
    project = make_project(campaigns={"hello": {"send": {"window": {"from": "10:00", "to": "20:00"}}}})
    for customer in (*people.add(time_zone="Mars/Olympus"), *people.add(time_zone="Asia/Tokyo")):
        people.happen("hello", customer, now - HOUR)
    plan(store, project, as_of=now)
    with reading(store) as connection:
        due = connection.execute(select(messages.c.due_at).order_by(messages.c.customer_id)).scalars().all()
    assert due == [now + HOUR, now]


def a_kind(*lines: str) -> dict[str, str]:
    """A project's trigger kind `odd` whose SELECT is the given lines."""
    body = "\n        ".join(lines)
    return {
        "triggers/__init__.py": f'''
from typing import ClassVar
from drumbeat.triggers import Trigger, sa, tables

class Odd(Trigger):
    """Breaks the contract."""
    kind: ClassVar[str] = "odd"

    def select(self, moment):
        e = tables.events.c
        columns = [e.customer_id, sa.literal("same").label("occasion"), e.id.label("subject_id"),
                   e.at.label("due_at"), sa.null().label("expires_at")]
        {body}

KINDS = {{"odd": Odd}}
'''
    }


ODD = {"hello": {"trigger": {"odd": {}}}}


def test_a_trigger_that_gives_an_occasion_twice_gives_one_mail(store, people, make_project, now):
    project = make_project(a_kind("return sa.select(*columns)"), campaigns=ODD)
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR, times=3)
    result = plan(store, project, as_of=now)
    assert (result.planned, result.campaigns[0].candidates) == (1, 1)


@pytest.mark.parametrize(
    "lines",
    [
        ("columns[1] = sa.cast(sa.null(), sa.Text).label('occasion')", "return sa.select(*columns)"),
        ("return sa.select(*columns).where(sa.func.no_such_thing(e.id) == 1)",),
    ],
)
def test_a_trigger_that_cannot_be_planned_is_one_line_and_nothing_is_done(
    store, people, make_project, now, lines
):
    project = make_project(a_kind(*lines), campaigns=ODD)
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR)
    with pytest.raises(ProjectError, match="the rows of its trigger 'odd' cannot be planned") as caught:
        plan(store, project, as_of=now)
    assert "\n" not in str(caught.value)
    assert people.ledger() == []


def test_deferred_mails_of_a_campaign_that_was_removed_come_to_an_end(store, people, make_project, now):
    capped = {"hello": {"send": {"when_capped": {"defer": "2d"}}}}
    project = make_project(campaigns={**capped, "other": {}})
    (customer,) = people.add()
    people.happen("hello", customer, now - HOUR, times=5)
    plan(store, project, as_of=now)
    (project.root / "campaigns" / "hello.yaml").unlink()
    left = load_project(project.root)
    plan(store, left, as_of=now + 3 * DAY, campaigns=["other"])
    assert states(people)["deferred", "capped"] == 1, "a plan of one campaign leaves others alone"
    assert plan(store, left, as_of=now + 3 * DAY).given_up == 1
    assert states(people)["skipped", "capped"] == 1
