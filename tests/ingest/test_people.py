"""Who is one person: customers with one mailbox, merged and never split."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select, update

from drumbeat.ingest.people import assign, email_key, normal_address
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import customers

AT = datetime(2026, 1, 1, tzinfo=UTC)


def add(store: Engine, **keys: str | None) -> None:
    with writing(store) as connection:
        connection.execute(
            insert(customers),
            [{"external_id": name, "email_key": key, "loaded_at": AT} for name, key in keys.items()],
        )
        assign(connection)


def move(store: Engine, name: str, key: str | None) -> int:
    with writing(store) as connection:
        connection.execute(update(customers).where(customers.c.external_id == name).values(email_key=key))
        return assign(connection)


def people(store: Engine) -> list[set[str]]:
    """The customers' names, grouped by person."""
    groups: dict[int, set[str]] = {}
    with reading(store) as connection:
        for row in connection.execute(select(customers)):
            groups.setdefault(row.person_id, set()).add(row.external_id)
            assert row.person_id <= row.id
    return sorted(groups.values(), key=sorted)


def test_customers_with_one_mailbox_are_one_person(store: Engine) -> None:
    add(store, a="x", b="x", c="y", d=None, e=None)
    assert people(store) == [{"a", "b"}, {"c"}, {"d"}, {"e"}]


def test_a_second_look_changes_nothing(store: Engine) -> None:
    add(store, a="x", b="x", c="y")
    with writing(store) as connection:
        assert assign(connection) == 0


def test_a_new_address_keeps_the_person_and_joins_the_one_who_has_it(store: Engine) -> None:
    add(store, a="x", b="x", c="y")
    move(store, "b", "y")
    assert people(store) == [{"a", "b", "c"}]


def test_nobody_is_split_off_by_a_change_of_address(store: Engine) -> None:
    add(store, a="x", b="x")
    assert move(store, "b", "elsewhere") == 0
    assert move(store, "a", None) == 0
    assert people(store) == [{"a", "b"}]


def test_a_chain_of_persons_becomes_one(store: Engine) -> None:
    """a-b, c-d, e-f, g-h are persons; then b moves to c's address, d to e's, f to g's, all at once."""
    add(store, a="1", b="1", c="2", d="2", e="3", f="3", g="4", h="4", z="9")
    with writing(store) as connection:
        for name, key in (("b", "2"), ("d", "3"), ("f", "4")):
            connection.execute(update(customers).where(customers.c.external_id == name).values(email_key=key))
        assign(connection)
    assert people(store) == [set("abcdefgh"), {"z"}]


def test_a_mailbox_given_back_and_taken_by_another_is_another_person(store: Engine) -> None:
    add(store, a="x")
    move(store, "a", "y")
    add(store, b="x")
    assert people(store) == [{"a"}, {"b"}]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("Jane.Doe@Example.COM", "jane.doe@example.com"),
        ("info@MÜNCHEN.example.com", "info@xn--mnchen-3ya.example.com"),
        ("дарья@example.com", "дарья@example.com"),
        ("JÜRGEN@example.com", "jürgen@example.com"),
    ],
)
def test_the_key_is_one_form_of_an_address(address: str, key: str) -> None:
    assert email_key(address) == email_key(key) == key


@pytest.mark.parametrize(
    "wrong", ["", "jane", "jane@", "a@b@example.com", "a b@example.com", "a@localhost", "a@x..com"]
)
def test_what_is_no_address_is_refused_with_a_reason(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not an e-mail address: "):
        email_key(wrong)


@given(st.from_regex(r"[a-z0-9._+-]{1,12}@[a-z0-9.-]{1,14}\.(com|de|test|local)", fullmatch=True))
def test_the_short_way_judges_as_the_library_does(address: str) -> None:
    try:
        expected = validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError:
        with pytest.raises(ValueError, match="not an e-mail address"):
            normal_address(address)
    else:
        assert normal_address(address) == expected
