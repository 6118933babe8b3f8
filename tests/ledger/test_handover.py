"""Consent, suppression, cap, expiry and lease are judged once more directly before a mail leaves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from drumbeat.ledger import handover
from drumbeat.ledger.cap import CapRule
from drumbeat.ledger.handover import Wanted
from drumbeat.ledger.states import Reason, State
from drumbeat.planning.plan import plan
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import consents, customers, messages, outbox, suppressions

HOUR = timedelta(hours=1)
RULE = CapRule(4, timedelta(hours=168))


@pytest.fixture
def shop(make_project):
    return make_project()


@pytest.fixture
def planned(store, people, shop, now):
    """Plan mails for one customer and lease them to worker `me`; return their ids."""

    def make(times: int = 1) -> list[int]:
        (customer,) = people.add()
        people.happen("hello", customer, now - HOUR, times=times)
        plan(store, shop, as_of=now)
        with writing(store) as connection:
            connection.execute(update(outbox).values(lease_owner="me", lease_until=now + 10 * HOUR))
            ids = select(messages.c.id).where(messages.c.customer_id == customer).order_by(messages.c.id)
            return list(connection.execute(ids).scalars())

    return make


def begin(store, message, *, worker, at, rule):
    """Begin one message; return why it may not go."""
    return handover.begin(store, [Wanted(message, "shop")], worker=worker, at=at, rules=[rule])[message]


def state_of(store, message_id):
    with reading(store) as connection:
        return tuple(
            connection.execute(
                select(messages.c.state, messages.c.reason).where(messages.c.id == message_id)
            ).one()
        )


def test_a_mail_that_may_still_go_is_marked_before_it_goes(store, planned, now):
    (message,) = planned()
    assert begin(store, message, worker="me", at=now, rule=RULE) is None
    assert state_of(store, message) == (State.HANDING_OVER, None)


def test_a_mail_is_handed_over_by_one_worker_only(store, planned, now):
    (message,) = planned()
    assert begin(store, message, worker="me", at=now, rule=RULE) is None
    assert begin(store, message, worker="me", at=now, rule=RULE) is Reason.LEASE_LOST


@pytest.mark.parametrize(("worker", "hours"), [("other", 0), ("me", 10)])
def test_a_worker_without_a_valid_lease_hands_nothing_over(store, planned, now, worker, hours):
    (message,) = planned()
    assert begin(store, message, worker=worker, at=now + hours * HOUR, rule=RULE) is Reason.LEASE_LOST
    assert state_of(store, message) == (State.PLANNED, None)


def test_consent_withdrawn_after_planning_stops_the_mail(store, planned, now):
    (message,) = planned()
    with writing(store) as connection:
        connection.execute(update(consents).values(granted=False))
    assert begin(store, message, worker="me", at=now, rule=RULE) is Reason.NO_CONSENT
    assert state_of(store, message) == (State.SKIPPED, "no_consent")


def test_an_unsubscribe_after_planning_stops_the_mail(store, planned, now):
    (message,) = planned()
    with writing(store) as connection:
        connection.execute(
            insert(suppressions).values(email_key="c1@example.com", topic="", reason="unsubscribed", at=now)
        )
    assert begin(store, message, worker="me", at=now, rule=RULE) is Reason.SUPPRESSED
    assert state_of(store, message) == (State.SKIPPED, "suppressed")


def test_a_mail_past_its_end_expires(store, planned, now):
    (message,) = planned()
    with writing(store) as connection:
        connection.execute(update(messages).values(expires_at=now))
    assert begin(store, message, worker="me", at=now, rule=RULE) is Reason.TOO_LATE
    assert state_of(store, message) == (State.EXPIRED, "too_late")


def test_a_mail_over_a_lowered_cap_waits_until_a_place_comes_free(store, planned, now):
    first, second, third = planned(times=3)
    lowered = CapRule(2, timedelta(hours=168))
    for message, ago in ((first, 50), (second, 20)):
        with writing(store) as connection:
            sent = {"state": State.SENT, "sent_at": now - ago * HOUR}
            connection.execute(update(messages).where(messages.c.id == message).values(sent))
    assert begin(store, third, worker="me", at=now, rule=lowered) is Reason.CAPPED
    assert state_of(store, third) == (State.PLANNED, None)
    with reading(store) as connection:
        row = connection.execute(select(outbox).where(outbox.c.message_id == third)).one()
    assert (row.due_at, row.lease_owner) == (now + 118 * HOUR, None)
    lease = {"lease_owner": "me", "lease_until": now + 300 * HOUR}
    almost = now + 118 * HOUR - timedelta(microseconds=1)
    for at, answer in ((almost, Reason.CAPPED), (now + 118 * HOUR, None)):
        with writing(store) as connection:
            connection.execute(update(outbox).values(lease))
        assert begin(store, third, worker="me", at=at, rule=lowered) is answer


def test_mails_that_only_wait_do_not_block_each_other(store, planned, now):
    for message in planned(times=4):
        assert begin(store, message, worker="me", at=now, rule=RULE) is None


def test_a_mail_being_handed_over_to_the_same_person_takes_a_place(store, people, planned, now):
    mine, theirs = planned(times=4), planned(times=1)
    with writing(store) as connection:
        connection.execute(update(customers).values(person_id=1))
        handing = {"state": State.HANDING_OVER, "handing_over_at": now}
        connection.execute(update(messages).where(messages.c.id.in_(mine)).values(handing))
        connection.execute(update(outbox).values(lease_owner="me", lease_until=now + HOUR))
    assert begin(store, theirs[0], worker="me", at=now, rule=RULE) is Reason.CAPPED
