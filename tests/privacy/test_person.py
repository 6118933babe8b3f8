"""Who is meant by an id or an address, and which addresses are theirs alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from privacy.crowd import CHAT, EMAIL, EMMA, KEY, PHONE, Crowd
from sqlalchemy import update

from drumbeat.errors import UsageError
from drumbeat.store.engine import writing
from drumbeat.store.tables import customers, metadata

Traces = Callable[[str], list[str]]


@pytest.mark.parametrize(
    "asked",
    [
        EMMA,
        "kunde-4712",
        EMAIL,
        KEY,
        " Emma.CLARKE@müller.example ",
        PHONE,
        "0044 7700 900-123",
        f"tg:{CHAT}",
    ],
)
def test_a_person_is_found_by_any_id_and_any_spelling_of_an_address(
    crowd: Crowd, traces: Traces, asked: str
) -> None:
    crowd.erase(asked)
    assert traces(crowd.dump()) == []


@pytest.mark.parametrize(
    "asked", ["nobody", "nobody@example.com", "+442079460000", "", "%", "'", "@", "tel:"]
)
def test_whom_nobody_knows_is_told_in_one_line(crowd: Crowd, asked: str) -> None:
    before = crowd.dump()
    with pytest.raises(UsageError, match="unknown customer"):
        crowd.erase(asked)
    assert crowd.dump() == before


def test_an_earlier_address_is_not_taken_for_its_owner_of_today(crowd: Crowd) -> None:
    with writing(crowd.engine) as connection:
        connection.execute(metadata.tables["suppressions"].delete())
    with pytest.raises(UsageError, match=f"earlier one of {EMMA}: name them by that id"):
        crowd.erase("oldest.address@example.com")


def test_an_address_that_no_customer_has_is_erased_from_lists_and_what_came_back(crowd: Crowd) -> None:
    stranger = "stranger@example.org"
    crowd.add("suppressions", email_key=stranger, topic="", reason="complained", at=crowd.now)
    crowd._hit(None, "bounced", "mail:x", source="mail", email_key=stranger, raw={"text": stranger})
    done = crowd.erase(stranger)
    assert stranger not in crowd.dump()
    assert (done.customers, done.addresses, done.remembered) == ([], [stranger], 1)


def test_a_number_that_several_people_have_names_none_of_them(crowd: Crowd) -> None:
    with writing(crowd.engine) as connection:
        connection.execute(update(customers).where(customers.c.id == crowd.ben).values(phone=PHONE))
    before = crowd.dump()
    with pytest.raises(
        UsageError, match=r"several people have '\+447700900123': kunde-4711, b1; name one of them"
    ):
        crowd.erase(PHONE)
    assert crowd.dump() == before


def test_an_address_that_others_have_too_stays_theirs(crowd: Crowd) -> None:
    with writing(crowd.engine) as connection:
        connection.execute(update(customers).where(customers.c.id == crowd.ben).values(phone=PHONE))
    done = crowd.erase()
    assert done.shared == [f"tel:{PHONE}"]
    assert f"tel:{PHONE}" in [row.email_key for row in crowd.rows("suppressions")]
    assert crowd.rows("customers")[2].phone == PHONE


def test_an_earlier_address_of_somebody_else_that_is_theirs_now_goes_from_there_too(crowd: Crowd) -> None:
    other = crowd.message(crowd.ben, "x", address_key=KEY, answer=f"250 2.0.0 for {KEY}")
    crowd.erase()
    row = next(row for row in crowd.rows("messages") if row.id == other)
    assert (row.address_key, row.answer) == (None, "250 2.0.0")
