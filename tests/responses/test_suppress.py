"""What must hold when a reader says no, or an address is dead."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from drumbeat.errors import UsageError
from drumbeat.ledger import handover
from drumbeat.ledger.cap import CapRule
from drumbeat.ledger.reach import unreachable
from drumbeat.ledger.states import Reason
from drumbeat.responses.kinds import Kind
from drumbeat.responses.record import Response, hit_key
from drumbeat.responses.suppress import suppress, suppress_customer, unsubscribe
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import customers, outbox


def refusal(message_id, at):
    return Response(message_id, Kind.UNSUBSCRIBED, at, hit_key(message_id, Kind.UNSUBSCRIBED, at))


def kept_away(scene, customer, *, marketing=True, topic="offers"):
    with reading(scene.engine) as connection:
        question = select(unreachable(marketing=marketing, topic=topic, at=scene.at(1))).where(
            customers.c.id == customer
        )
        return connection.execute(question).scalar_one()


def test_suppressing_an_address_again_changes_nothing(scene):
    for hours, changed in ((1, True), (2, False)):
        with writing(scene.engine) as connection:
            assert (
                suppress(connection, "a@example.com", reason="manual", at=scene.at(hours), source="x")
                is changed
            )
    (row,) = scene.rows("suppressions")
    assert (row.reason, row.at) == ("manual", scene.at(1))


@pytest.mark.parametrize(
    ("first", "then", "stays"),
    [
        ("unsubscribed", "bounced", "bounced"),
        ("bounced", "unsubscribed", "bounced"),
        ("complained", "manual", "complained"),
        ("manual", "complained", "complained"),
    ],
)
def test_the_reason_that_stops_more_mail_stays(scene, first, then, stays):
    for hours, reason in enumerate((first, then)):
        with writing(scene.engine) as connection:
            suppress(connection, "a@example.com", reason=reason, at=scene.at(hours), source="x")
    (row,) = scene.rows("suppressions")
    assert row.reason == stays


def test_an_unknown_reason_is_refused_with_the_nearest(scene):
    with writing(scene.engine) as connection, pytest.raises(UsageError, match="Did you mean 'bounced'"):
        suppress(connection, "a@example.com", reason="bouncd", at=scene.at(0), source="x")


def test_a_customer_is_suppressed_by_address_and_without_one_not_at_all(scene):
    reader, twin = scene.customer("a@example.com"), scene.customer("A@example.com")
    nobody = scene.customer(email_key=None)
    with writing(scene.engine) as connection:
        assert suppress_customer(connection, reader, reason="bounced", at=scene.at(0), source="x")
        assert not suppress_customer(connection, nobody, reason="bounced", at=scene.at(0), source="x")
    assert kept_away(scene, twin, marketing=False) == Reason.SUPPRESSED


def test_an_unsubscribe_ends_all_marketing_at_once_but_not_service_mail(scene):
    reader, twin = scene.customer("a@example.com"), scene.customer("A@example.com")
    for each in (reader, twin):
        scene.consent(each, "offers")
        scene.consent(each, "news")
    message = scene.message(reader)
    with writing(scene.engine) as connection:
        assert unsubscribe(connection, [refusal(message, scene.at(1))], source="link") == 1
    for each in (reader, twin):
        assert kept_away(scene, each, topic="offers") == Reason.SUPPRESSED
        assert kept_away(scene, each, topic="news") == Reason.SUPPRESSED
        assert kept_away(scene, each, marketing=False) is None
    consent = {(row.customer_id, row.topic): row.granted for row in scene.rows("consents")}
    assert consent == {
        (reader, "offers"): False,
        (twin, "offers"): False,
        (reader, "news"): True,
        (twin, "news"): True,
    }
    (response,) = scene.rows("responses")
    assert (response.kind, response.message_id, response.at) == ("unsubscribed", message, scene.at(1))


def test_unsubscribing_twice_is_once(scene):
    message = scene.message(scene.customer())
    for hours, new in ((1, 1), (2, 0)):
        with writing(scene.engine) as connection:
            assert unsubscribe(connection, [refusal(message, scene.at(hours))], source="link") == new
    assert [row.at for row in scene.rows("suppressions")] == [scene.at(1)]
    assert [row.at for row in scene.rows("consents")] == [scene.at(1)]
    assert scene.count("responses") == 1


def test_consent_given_after_an_unsubscribe_is_not_taken_back_by_hearing_of_it_late(scene):
    reader = scene.customer()
    message = scene.message(reader)
    scene.consent(reader, hours=5)
    with writing(scene.engine) as connection:
        unsubscribe(connection, [refusal(message, scene.at(1))], source="link")
    assert [row.granted for row in scene.rows("consents")] == [True]


def test_many_unsubscribes_go_in_one_batch_whatever_their_order(scene):
    readers = [scene.customer() for _ in range(5)]
    sent = [scene.message(reader) for reader in readers] + [scene.message(readers[0])]
    hits = [refusal(message, scene.at(1)) for message in reversed(sent)]
    with writing(scene.engine) as connection:
        assert unsubscribe(connection, hits, source="link") == 6
    assert scene.count("suppressions") == 5


def test_an_unsubscribe_from_a_customer_without_address_still_ends_consent(scene):
    reader = scene.customer(email_key=None)
    scene.consent(reader)
    message = scene.message(reader)
    with writing(scene.engine) as connection:
        unsubscribe(connection, [refusal(message, scene.at(1))], source="link")
    assert [row.granted for row in scene.rows("consents")] == [False]
    assert scene.count("suppressions") == 0


def test_a_mail_that_was_planned_before_the_unsubscribe_is_not_handed_over(scene):
    reader = scene.customer()
    scene.consent(reader)
    earlier, waiting = scene.message(reader), scene.message(reader, state="planned")
    with writing(scene.engine) as connection:
        connection.execute(
            outbox.insert().values(
                message_id=waiting, due_at=scene.at(0), priority=50, lease_owner="w", lease_until=scene.at(9)
            )
        )
        unsubscribe(connection, [refusal(earlier, scene.at(1))], source="link")
    rule = CapRule(4, scene.at(168) - scene.at(0))
    wanted = handover.Wanted(waiting, "shop")
    begun = handover.begin(scene.engine, [wanted], worker="w", at=scene.at(2), rules=[rule])
    assert begun == {waiting: Reason.SUPPRESSED}
    (row,) = [row for row in scene.rows("messages") if row.id == waiting]
    assert (row.state, row.reason) == ("skipped", "suppressed")
