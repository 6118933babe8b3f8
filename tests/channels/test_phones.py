"""Phone numbers, chats and managers come in by imports, numbers in one form whatever they were written in."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from support.notes import suppressed

from drumbeat.errors import ProjectError
from drumbeat.ingest.load import ImportResult, import_file
from drumbeat.ingest.mapping import read_mapping
from drumbeat.ingest.phones import normal_phone, region_of
from drumbeat.store.engine import reading
from drumbeat.store.tables import customers

FORMS = [
    ("+447700900123", None, "+447700900123"),
    ("+44 (0)7700 900-123", None, "+447700900123"),
    ("07700 900123", "GB", "+447700900123"),
    ("7700900123", "GB", "+447700900123"),
    ("00447700900123", "DE", "+447700900123"),
    ("8 (999) 123-45-67", "RU", "+79991234567"),
    ("+7 999 123 45 67", "GB", "+79991234567"),
    ("0170/1234567", "DE", "+491701234567"),
]


@pytest.mark.parametrize(("written", "region", "expected"), FORMS)
def test_a_number_has_one_form(written: str, region: str | None, expected: str) -> None:
    assert normal_phone(written, region) == expected


@pytest.mark.parametrize(
    ("written", "region", "words"),
    [
        ("07700 900123", None, "has no country code, and no country says which"),
        ("none", "GB", "is not a phone number"),
        ("+999 123 456 789", None, "is not a phone number"),
        ("+44 20 7946 0958 x12", None, "has an extension"),
        ("0770", "GB", "is not as long as"),
        ("+4477009001234567", "GB", "is not as long as"),
        ("+44", None, "is not"),
        ("", "GB", "is not a phone number"),
        ("+" + "1" * 300, None, "is not"),
    ],
)
def test_what_is_no_number_is_said(written: str, region: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        normal_phone(written, region)


@pytest.mark.parametrize(
    ("country", "region"),
    [
        ("GB", "GB"),
        ("uk", "GB"),
        ("United Kingdom", "GB"),
        ("EIRE", "IE"),
        ("USA", "US"),
        ("Narnia", None),
        (None, None),
    ],
)
def test_a_country_is_known_by_code_and_by_name(country: str | None, region: str | None) -> None:
    assert region_of(country) == region


def load(
    store: Engine,
    folder: Path,
    rows: list[dict[str, Any]],
    mapping: str,
    now: datetime,
    country: str | None = None,
) -> ImportResult:
    file = folder / "in.csv"
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "m.yaml").write_text(mapping)
    return import_file(store, file, read_mapping(folder / "m.yaml", "UTC", country), loaded_at=now)


CUSTOMERS = """
into: customers
columns: {external_id: id, phone: phone, country: country, telegram_id: chat, manager: manager}
"""


def found(store: Engine) -> list[tuple[Any, ...]]:
    columns = [customers.c[n] for n in ("external_id", "phone", "telegram_id", "manager")]
    with reading(store) as connection:
        return [tuple(r) for r in connection.execute(select(*columns).order_by(customers.c.external_id))]


def test_numbers_are_read_as_those_of_the_customers_country_else_of_the_projects(
    store: Engine, tmp_path: Path, now: datetime
) -> None:
    rows = [
        {"id": "a", "phone": "0170 1234567", "country": "Germany", "chat": "777", "manager": "priya"},
        {"id": "b", "phone": "07700 900123", "country": "", "chat": "", "manager": ""},
        {"id": "c", "phone": "", "country": "FR", "chat": 12345678901, "manager": " Tom "},
        {"id": "d", "phone": "+7 999 1234567", "country": "Narnia", "chat": "", "manager": ""},
    ]
    result = load(store, tmp_path, rows, CUSTOMERS, now, "GB")
    assert (result.inserted, result.rejected) == (4, 0)
    assert found(store) == [
        ("a", "+491701234567", "777", "priya"),
        ("b", "+447700900123", None, None),
        ("c", None, "12345678901", "Tom"),
        ("d", "+79991234567", None, None),
    ]
    again = load(store, tmp_path, rows, CUSTOMERS, now, "GB")
    assert again.unchanged == 4


def test_what_cannot_be_read_rejects_the_row_or_is_left_empty_as_the_mapping_says(
    store: Engine, tmp_path: Path, now: datetime
) -> None:
    rows = [
        {"id": "a", "phone": "n/a", "chat": ""},
        {"id": "b", "phone": "+447700900123", "chat": "@name"},
    ]
    strict = "into: customers\ncolumns: {external_id: id, phone: phone, telegram_id: chat}\n"
    result = load(store, tmp_path, rows, strict, now)
    assert result.rejected == 2
    assert result.rejects_file is not None
    told = result.rejects_file.read_text()
    assert "phone: 'n/a' has no country code, and no country says which" in told
    assert "'@name' is not the id of a chat" in told
    lenient = """
into: customers
columns:
  external_id: id
  phone: {column: phone, invalid: empty}
  telegram_id: {column: chat, invalid: empty}
"""
    assert load(store, tmp_path, rows, lenient, now).rejected == 0
    assert found(store) == [("a", None, None, None), ("b", "+447700900123", None, None)]


def test_suppressions_of_numbers_and_chats_come_in_beside_those_of_mailboxes(
    store: Engine, tmp_path: Path, now: datetime
) -> None:
    rows = [
        {"who": "tel:+44 7700 900123", "at": "2011-01-01"},
        {"who": "tg:777", "at": "2011-01-01"},
        {"who": "Ada@Example.com", "at": "2011-01-01"},
        {"who": "tel:0770", "at": "2011-01-01"},
        {"who": "tg:x", "at": "2011-01-01"},
    ]
    mapping = "into: suppressions\ncolumns: {email: who, at: at, reason: {constant: unsubscribed}}\n"
    assert load(store, tmp_path, rows, mapping, now).rejected == 2
    assert [key for key, _, _ in suppressed(store)] == ["ada@example.com", "tel:+447700900123", "tg:777"]


def test_a_country_that_is_none_is_a_fault_of_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("into: customers\ncountry: Narnia\ncolumns: {external_id: id}\n")
    with pytest.raises(ProjectError, match=r"m.yaml:2:10 DB044 unknown country 'Narnia'"):
        read_mapping(tmp_path / "m.yaml")
