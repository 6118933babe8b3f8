"""Why somebody got a mail, or what kept it away, also for those who never qualified."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from drumbeat.errors import UsageError
from drumbeat.ledger.states import State, move
from drumbeat.planning.explain import explain
from drumbeat.planning.plan import plan
from drumbeat.store.engine import writing
from drumbeat.store.tables import consents, messages, suppressions

HOUR = timedelta(hours=1)


@pytest.fixture
def shop(make_project):
    return make_project({"segments.yaml": "shoppers: {country: UK}\n"})


def one(store, shop, customer, now):
    (found,) = explain(store, shop, customer, "hello", as_of=now)
    return found


def test_a_customer_who_got_it_is_told_by_the_ledger(store, people, shop, now):
    (customer,) = people.add(country="UK")
    people.happen("hello", customer, now - HOUR)
    plan(store, shop, as_of=now)
    with writing(store) as connection:
        message = connection.execute(select(messages.c.id)).scalar_one()
        move(connection, message, State.HANDING_OVER, at=now + HOUR)
        move(
            connection,
            message,
            State.SENT,
            at=now + HOUR,
            sent_at=now + HOUR,
            detail="250 ok",
            answer="250 ok",
        )
    found = one(store, shop, "c1", now + 2 * HOUR)
    assert found.conclusion == "the ledger says sent for occasion event:e1"
    assert [what for _, what in found.ledger[0].history] == ["sent (250 ok)"]
    assert found.cap_used == 1


def test_before_the_plan_it_says_what_a_plan_would_do(store, people, shop, now):
    (customer,) = people.add(country="UK")
    people.happen("hello", customer, now - HOUR)
    assert one(store, shop, "c1", now).conclusion == "a plan now would plan it (occasion event:e1)"


def test_someone_the_trigger_never_chose_is_told_so(store, people, shop, now):
    people.add(country="UK")
    found = one(store, shop, "c1", now)
    assert found.conclusion == "the trigger gives no occasion for this customer now"
    assert found.segment.met


def test_someone_outside_the_segment_is_told_which_clause(store, people, shop, now):
    (customer,) = people.add(country="DE")
    people.happen("hello", customer, now - HOUR)
    found = one(store, shop, "c1", now)
    assert found.conclusion == "the customer is not in the segment shoppers"
    assert not found.segment.met
    assert "segments.yaml" in str(found.to_json()["segment"])


def test_someone_without_consent_is_told_so(store, people, shop, now):
    (customer,) = people.add(country="UK", consent=False)
    people.happen("hello", customer, now - HOUR)
    found = one(store, shop, "c1", now)
    assert found.refusal == "no_consent"
    assert "has not consented" in found.conclusion


def test_someone_who_unsubscribed_is_told_so_before_and_after_the_plan(store, people, shop, now):
    (customer,) = people.add(country="UK")
    people.happen("hello", customer, now - HOUR)
    with writing(store) as connection:
        row = {"email_key": "c1@example.com", "topic": "", "reason": "unsubscribed", "at": now}
        connection.execute(insert(suppressions).values(row))
    assert "suppressed" in one(store, shop, "c1", now).conclusion
    plan(store, shop, as_of=now)
    assert one(store, shop, "c1", now).conclusion.startswith("the ledger says skipped")


def test_a_capped_customer_is_shown_the_mails_that_hold_the_places(store, people, shop, now):
    (customer,) = people.add(country="UK")
    people.happen("hello", customer, now - HOUR, times=4)
    plan(store, shop, as_of=now)
    people.happen("hello", customer, now)
    found = one(store, shop, "c1", now)
    assert found.cap_used == 4
    assert found.cap_holders[0] == "hello event:e1 (planned)"
    assert found.conclusion == "a plan now would decide 'skipped': the cap leaves no place"


def test_a_customer_is_found_by_mail_address_too(store, people, shop, now):
    people.add(2, country="UK")
    assert one(store, shop, "C2@example.com", now).customer == "c2"


def test_an_unknown_customer_is_refused_in_one_line(store, shop, now):
    with pytest.raises(UsageError, match="unknown customer 'nobody'; give the id from your import"):
        explain(store, shop, "nobody", as_of=now)


def test_explaining_writes_nothing(store, people, shop, now):
    (customer,) = people.add(country="UK")
    people.happen("hello", customer, now - HOUR)
    with writing(store) as connection:
        connection.execute(update(consents).values(granted=True))
    explain(store, shop, "c1", as_of=now)
    assert people.ledger() == []
