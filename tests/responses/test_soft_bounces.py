"""What must hold for soft bounces in a row: one case a row, for three in a row."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from drumbeat.rendering.links import Links
from drumbeat.responses.events import Telling, apply, refused
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response, record
from drumbeat.responses.webhooks import Event
from drumbeat.store.engine import writing

LINKS = Links("https://mail.example.com", b"a key for tests, long enough")
THREE = 3


class Case(NamedTuple):
    """`days`: what happened on which day. soft · hard · delivered · open · machine · silent (sent, did not come back)."""

    says: str
    days: list[tuple[int, str]]
    given_up: bool


CASES = [
    Case("three days in a row give it up", [(1, "soft"), (2, "soft"), (9, "soft")], True),
    Case("two do not", [(1, "soft"), (2, "soft")], False),
    Case("of one day only one counts", [(1, "soft"), (1, "soft"), (1, "soft"), (2, "soft")], False),
    Case("a delivered mail in between begins anew", [(1, "soft"), (2, "soft"), (3, "delivered"), (4, "soft")], False),
    Case("three after it give it up", [(1, "soft"), (2, "delivered"), (3, "soft"), (4, "soft"), (5, "soft")], True),
    Case("an open in between begins anew", [(1, "soft"), (2, "soft"), (3, "open"), (4, "soft")], False),
    Case("one by a machine does not", [(1, "soft"), (2, "soft"), (3, "machine"), (4, "soft")], True),
    Case("a mail that did not come back begins anew", [(1, "soft"), (2, "soft"), (3, "silent"), (9, "soft")], False),
    Case("one of the last three days may still come back", [(1, "soft"), (2, "soft"), (7, "silent"), (9, "soft")], True),
    Case("life before the first bounce is no life since", [(1, "open"), (2, "soft"), (3, "soft"), (4, "soft")], True),
    Case("those of a year ago are forgotten", [(1, "soft"), (2, "soft"), (370, "soft")], False),
    Case("a hard one needs no row", [(1, "hard")], True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_an_address(scene, case):
    reader = scene.customer("a@example.com")
    for day, what in case.days:
        happen(scene, reader, day, what)
    rows = [(row.email_key, row.reason) for row in scene.rows("suppressions")]
    assert rows == ([("a@example.com", "bounced")] if case.given_up else [])


def happen(scene, reader, day, what):
    at = scene.at(24 * day)
    message = scene.message(reader, hours=24 * day - 1, address_key="a@example.com")
    if what in ("soft", "hard", "delivered"):
        kind = Kind.DELIVERED if what == "delivered" else Kind.BOUNCED
        bounce = None if what == "delivered" else what
        told = Event(kind, at, "a@example.com", token=LINKS.mail_token(message), bounce=bounce)
        with writing(scene.engine) as connection:
            apply(connection, LINKS, [Telling("ses", told)], at=at, soft_bounces=THREE)
    elif what != "silent":
        actor = Actor.MACHINE if what == "machine" else Actor.UNKNOWN
        with writing(scene.engine) as connection:
            record(connection, [Response(message, Kind.OPENED, at, f"o:{day}", actor)])
            # A mail that is only opened has not come back either; here it did, so that the open alone counts.
            record(connection, [Response(message, Kind.BOUNCED, at, f"b:{day}", bounce=None)])


def test_the_suppression_says_how_many_there_were_and_who_told_the_last(scene):
    reader = scene.customer("a@example.com")
    for day in (1, 2, 3, 4):
        happen(scene, reader, day, "soft")
    (row,) = scene.rows("suppressions")
    assert (row.source, row.at) == ("3 soft bounces in a row, the last by webhook:ses", scene.at(72))


def test_delivered_and_then_bounced_is_no_life(scene):
    """Relays take a mail first and send it back later: the delivery of a mail that came back does not count."""
    reader = scene.customer("a@example.com")
    for day in (1, 2, 3):
        message = scene.message(reader, hours=24 * day - 1, address_key="a@example.com")
        token = LINKS.mail_token(message)
        events = [
            Event(Kind.DELIVERED, scene.at(24 * day), token=token),
            Event(Kind.BOUNCED, scene.at(24 * day + 1), token=token, bounce="soft"),
        ]
        with writing(scene.engine) as connection:
            apply(
                connection,
                LINKS,
                [Telling("ses", e) for e in events],
                at=scene.at(24 * day + 1),
                soft_bounces=THREE,
            )
    assert scene.count("suppressions") == 1


def test_a_message_given_up_after_temporary_refusals_counts_as_one(scene):
    reader = scene.customer("a@example.com")
    for day in (1, 2, 3):
        assert scene.count("suppressions") == 0
        message = scene.message(reader, state="failed", hours=24 * day)
        told = (message, "a@example.com", 452, "4.2.2", "452 4.2.2 full", scene.at(24 * day))
        with writing(scene.engine) as connection:
            refused(connection, [told], bounce="soft", soft_bounces=THREE)
    assert [row.source for row in scene.rows("suppressions")] == ["3 soft bounces in a row, the last by smtp"]
    assert {row.reason for row in scene.rows("responses")} == {"mailbox_full"}


def test_each_address_has_its_own_row(scene):
    one, other = scene.customer("a@example.com"), scene.customer("b@example.com")
    for day in (1, 2, 3):
        happen(scene, one, day, "soft")
    message = scene.message(other, address_key="b@example.com")
    told = Event(Kind.BOUNCED, scene.at(80), token=LINKS.mail_token(message), bounce="soft")
    with writing(scene.engine) as connection:
        apply(connection, LINKS, [Telling("ses", told)], at=scene.at(80), soft_bounces=THREE)
    assert [row.email_key for row in scene.rows("suppressions")] == ["a@example.com"]
