"""Rows in, rows out: what an import does with good, bad, repeated and changed rows, on both databases."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, func, select

from drumbeat.document import parse_document
from drumbeat.errors import InputError
from drumbeat.ingest.load import ImportResult, import_file
from drumbeat.ingest.mapping import Mapping, parse_mapping
from drumbeat.store.engine import reading
from drumbeat.store.tables import (
    cart_items,
    carts,
    consents,
    customer_stats,
    customers,
    events,
    order_items,
    orders,
    products,
    suppressions,
)

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LATER = FIRST + timedelta(days=1)

CUSTOMERS = """
into: customers
columns: {external_id: id, email: mail, first_name: name, birth_date: born}
attributes: [tier]
"""
LINES = """
into: order_lines
time_zone: Europe/London
columns:
  order: no
  customer: {column: who, type: integer}
  country: {column: land, values: {United Kingdom: GB, Germany: DE}}
  ordered_at: at
  product: code
  title: title
  quantity: n
  unit_price: price
cancelled: {column: no, starts_with: C}
skip: [{column: who, empty: true, reason: nobody}]
no_product: [POST]
"""
LINES_HEADER = "no,who,land,at,code,title,n,price\n"

Load = Callable[..., ImportResult]


def mapping(text: str) -> Mapping:
    return parse_mapping(parse_document(text, Path("m.yaml")))


@pytest.fixture
def load(store: Engine, tmp_path: Path) -> Load:
    """Writes a text to a file and imports it."""

    def run(yaml: str, content: str | bytes, name: str = "in.csv", at: datetime = FIRST) -> ImportResult:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        result = import_file(store, file, mapping(yaml), loaded_at=at)
        told = result.inserted + result.updated + result.unchanged + result.repeated + result.rejected
        assert told + sum(result.skipped.values()) == result.read, "a row was lost silently"
        return result

    return run


def rows(store: Engine, table: Table, *names: str) -> list[tuple[Any, ...]]:
    with reading(store) as connection:
        found = connection.execute(select(*(table.c[name] for name in names)))
        return sorted(tuple(row) for row in found)


def rejected(result: ImportResult) -> list[list[str]]:
    assert result.rejects_file is not None
    with result.rejects_file.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_values_arrive_as_what_they_are(load: Load, store: Engine) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n7, Jane.Doe@EXAMPLE.com ,Žofie  ,1980-02-29,gold\n8,,,,\n")
    assert rows(store, customers, "external_id", "email", "email_key", "first_name", "birth_date") == [
        ("7", "Jane.Doe@example.com", "jane.doe@example.com", "Žofie", date(1980, 2, 29)),
        ("8", None, None, None, None),
    ]
    with reading(store) as connection:
        kept = (
            connection.execute(select(customers.c.attributes).order_by(customers.c.external_id))
            .scalars()
            .all()
        )
    assert kept == [{"tier": "gold"}, {}]


def test_a_repeated_import_changes_nothing_and_says_so(load: Load, store: Engine) -> None:
    text = "id,mail,name,born,tier\n1,a@example.com,A,,x\n2,b@example.com,B,,\n"
    assert (load(CUSTOMERS, text).inserted, load(CUSTOMERS, text, at=LATER).unchanged) == (2, 2)
    assert rows(store, customers, "loaded_at") == [(FIRST,), (FIRST,)]


def test_only_the_row_that_changed_is_written(load: Load, store: Engine) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n1,a@example.com,A,,x\n2,b@example.com,B,,y\n")
    result = load(CUSTOMERS, "id,mail,name,born,tier\n1,a@example.com,A,,x\n2,b@example.com,B,,z\n", at=LATER)
    assert (result.inserted, result.updated, result.unchanged) == (0, 1, 1)
    assert rows(store, customers, "external_id", "loaded_at") == [("1", FIRST), ("2", LATER)]


def test_the_last_of_a_repeated_key_wins(load: Load, store: Engine) -> None:
    result = load(CUSTOMERS, "id,mail,name,born,tier\n1,,old,,\n1,,new,,\n")
    assert (result.inserted, result.repeated) == (1, 1)
    assert rows(store, customers, "first_name") == [("new",)]


def test_columns_that_are_not_mapped_stay_as_they_are(load: Load, store: Engine) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n1,a@example.com,A,,x\n")
    load("{into: customers, columns: {external_id: id, country: land}}", "id,land\n1,DE\n", at=LATER)
    assert rows(store, customers, "external_id", "email", "first_name", "country") == [
        ("1", "a@example.com", "A", "DE")
    ]


def test_bad_rows_go_to_a_file_with_line_and_reason_and_the_rest_is_imported(
    load: Load, store: Engine
) -> None:
    text = 'id,mail,name,born,tier\n1,nobody,A,,x\n2,ok@example.com,"two\nlines",,\n'
    text += '3,,,1980-02-30,\n,,,,\n5,,,\n6,"a"b,,,\n7,,,,\n'
    result = load(CUSTOMERS, text)
    assert (result.inserted, result.rejected) == (2, 5)
    header, *found = rejected(result)
    assert header == ["line", "reason", "id", "mail", "name", "born", "tier"]
    assert [row[0] for row in found] == ["2", "5", "6", "7", "8"]
    reasons = [row[1] for row in found]
    for reason, part in zip(
        reasons,
        [
            "mail: 'nobody' is not an e-mail",
            "born: '1980-02-30' is not a date",
            "id: is empty",
            "has 4 fields; expected 5",
            "is no CSV",
        ],
        strict=True,
    ):
        assert part in reason
    assert found[0][2:] == ["1", "nobody", "A", "", "x"]


def test_a_clean_import_leaves_no_file_of_rejects(load: Load, tmp_path: Path) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n1,nobody,,,\n")
    assert (tmp_path / "in.csv.rejected.csv").exists()
    assert load(CUSTOMERS, "id,mail,name,born,tier\n1,,,,\n").rejects_file is None
    assert [f.name for f in tmp_path.iterdir() if "rejected" in f.name or ".part" in f.name] == []


def test_where_rejects_cannot_be_written_nothing_is_imported_and_the_way_out_is_named(
    load: Load, store: Engine, tmp_path: Path
) -> None:
    (tmp_path / "in.csv.rejected.csv").mkdir()
    with pytest.raises(InputError, match=r"nothing was imported; name another file with --rejects FILE"):
        load(CUSTOMERS, "id,mail,name,born,tier\n1,,,,\n2,bad,,,\n")
    assert rows(store, customers, "id") == []


def test_rows_that_name_an_unknown_customer_are_rejected(load: Load, store: Engine) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n1,,,,\n")
    result = load(
        "{into: carts, columns: {external_id: c, customer: who, updated_at: at, total: t}}",
        "c,who,at,t\nx,1,2026-01-01,3.50\ny,2,2026-01-01,1\n",
    )
    assert (result.inserted, result.rejected) == (1, 1)
    assert "there is no customer '2' in the store" in rejected(result)[1][1]


def test_an_older_consent_does_not_undo_a_newer_one(load: Load, store: Engine) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n1,,,,\n")
    yaml = "{into: consents, columns: {customer: who, topic: {constant: news}, granted: yn, at: at}}"
    load(yaml, "who,yn,at\n1,no,2026-01-05\n")
    result = load(yaml, "who,yn,at\n1,yes,2026-01-04\n", at=LATER)
    assert result.unchanged == 1
    assert rows(store, consents, "granted") == [(False,)]


def test_a_cart_told_again_loses_the_lines_it_no_longer_has(load: Load, store: Engine) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n1,,,,\n")
    load(
        "{into: carts, columns: {external_id: c, customer: {constant: '1'}, updated_at: at, total: t}}",
        "c,at,t\nx,2026-01-01,3\ny,2026-01-01,3\n",
    )
    yaml = "{into: cart_lines, columns: {cart: c, line: l, product: p, quantity: n, unit_price: u}}"
    load(yaml, "c,l,p,n,u\nx,1,A,1,1\nx,2,B,1,2\ny,1,C,1,3\n")
    result = load(yaml, "c,l,p,n,u\nx,1,B,2,1.5\n")
    assert (result.updated, result.removed) == (1, 1)
    assert rows(store, cart_items, "product") == [("B",), ("C",)]
    assert len(rows(store, carts, "id")) == 2


def test_suppressions_are_kept_by_the_matching_form_of_the_address(load: Load, store: Engine) -> None:
    load(
        "{into: suppressions, columns: {email: m, at: at}}",
        "m,at\nA@Example.COM,2026-01-01\na@example.com,2026-01-02\n",
    )
    assert rows(store, suppressions, "email_key", "topic", "reason") == [("a@example.com", "", "manual")]


def test_a_stronger_reason_to_suppress_is_not_replaced_by_a_weaker_one(load: Load, store: Engine) -> None:
    yaml = "{into: suppressions, columns: {email: m, reason: r, at: at}}"
    load(yaml, "m,r,at\na@example.com,bounced,2026-01-01\na@example.com,unsubscribed,2026-01-02\n")
    assert load(yaml, "m,r,at\na@example.com,manual,2026-01-03\n", at=LATER).unchanged == 1
    assert rows(store, suppressions, "reason") == [("bounced",)]
    load(yaml, "m,r,at\nb@example.com,unsubscribed,2026-01-01\n")
    assert load(yaml, "m,r,at\nb@example.com,complained,2026-01-01\n", at=LATER).updated == 1


def test_events_without_an_id_are_found_again_by_their_content(load: Load, store: Engine) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n1,,,,\n")
    yaml = "{into: events, columns: {customer: who, name: what, at: at}, properties: [n, {column: page.url, name: url}]}"
    lines = [
        {"who": 1, "what": "seen", "at": "2026-01-01T10:00:00+02:00", "n": n, "page": {"url": "/x"}}
        for n in (1, 2.5, 1)
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    result = load(yaml, text, "in.jsonl")
    assert (result.inserted, result.repeated) == (2, 1)
    assert load(yaml, text, "in.jsonl", LATER).unchanged == 2
    with reading(store) as connection:
        found = connection.execute(select(events.c.at, events.c.properties)).all()
    assert sorted(event.properties["n"] for event in found) == [1, 2.5]
    assert {(event.at, event.properties["url"]) for event in found} == {
        (datetime(2026, 1, 1, 8, tzinfo=UTC), "/x")
    }


def test_broken_json_lines_are_rejected_one_by_one(load: Load) -> None:
    text = '{"id": 1}\n[1]\n{"id": \n{"id": NaN}\n\n{"id": 2}\n{"id": "a\\u0000b"}\n{"id": "\\ud800"}\n{"id": {"x": 1}}\n'
    result = load("{into: customers, columns: {external_id: id}}", text, "in.jsonl")
    assert (result.read, result.inserted, result.rejected) == (8, 2, 6)
    assert [row[0] for row in rejected(result)[1:]] == ["2", "3", "4", "7", "8", "9"]


def test_parquet_keeps_its_types(load: Load, store: Engine, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    at = datetime(2026, 7, 1, 12, 0)  # noqa: DTZ001 - as data frames have it: local, without a zone
    table = pa.table({"id": [17850.0, None], "at": [at, at], "price": [0.1 + 0.2, 1.0]})
    parquet.write_table(table, tmp_path / "t.parquet")
    yaml = "{into: products, columns: {external_id: {column: id, type: integer}, price: price}, attributes: [at]}"
    result = load(yaml, (tmp_path / "t.parquet").read_bytes(), "in.parquet")
    assert (result.inserted, result.rejected) == (1, 1)
    assert rows(store, products, "external_id", "price") == [("17850", Decimal("0.3"))]


def test_order_lines_make_orders_customers_and_products(load: Load, store: Engine) -> None:
    text = (
        LINES_HEADER
        + "1,17850.0,United Kingdom,2011-07-01 10:05:00,A,Lamp,2,2.55\n"
        + "1,17850,United Kingdom,2011-07-01 10:04:00,A,Lamp,2,2.55\n"
        + "1,17850,United Kingdom,2011-07-01 10:04:00,POST,Postage,1,0.001\n"
        + "C2,17850,Germany,2011-12-02 09:00:00,A,Lamp,-2,2.55\n"
        + "3,,United Kingdom,2011-07-01 10:04:00,A,Lamp,2,2.55\n"
    )
    result = load(LINES, text)
    assert (result.inserted, result.skipped) == (4, {"nobody": 1})
    assert rows(store, customers, "external_id", "country") == [("17850", "DE")]
    assert rows(store, orders, "external_id", "status", "total", "ordered_at") == [
        ("1", "placed", Decimal("10.201"), datetime(2011, 7, 1, 9, 4, tzinfo=UTC)),
        ("C2", "cancelled", Decimal("-5.1"), datetime(2011, 12, 2, 9, 0, tzinfo=UTC)),
    ]
    assert rows(store, order_items, "line", "quantity", "product")[:3] == [
        (1, -2, "A"),
        (1, 2, "A"),
        (2, 2, "A"),
    ]
    assert rows(store, products, "external_id", "price") == [("A", Decimal("2.55"))]
    assert rows(store, customer_stats, "orders", "total") == [(1, Decimal("10.201"))]
    again = load(LINES, text, at=LATER)
    assert {name: (m.inserted, m.updated, m.removed) for name, m in again.tables.items()} == dict.fromkeys(
        again.tables, (0, 0, 0)
    )
    assert rows(store, orders, "loaded_at") == [(FIRST,), (FIRST,)]


def test_lines_of_standing_orders_that_sell_nothing_are_rejected(load: Load, store: Engine) -> None:
    text = (
        LINES_HEADER
        + "1,5,Germany,2011-07-01,A,x,0,2\n1,5,Germany,2011-07-01,A,x,-3,2\n1,5,Germany,2011-07-01,A,x,3,0\n"
    )
    result = load(LINES, text)
    assert (result.rejected, result.inserted) == (3, 0)
    assert [
        "quantity is 0" in r[1] or "quantity is -3" in r[1] or "price is 0" in r[1]
        for r in rejected(result)[1:]
    ] == [True] * 3


def test_an_order_of_two_customers_is_rejected_whole(load: Load, store: Engine) -> None:
    text = (
        LINES_HEADER
        + "1,5,Germany,2011-07-01,A,x,1,2\n2,5,Germany,2011-07-01,A,x,1,2\n1,6,Germany,2011-07-01,B,y,1,2\n"
    )
    result = load(LINES, text)
    assert (result.inserted, result.rejected) == (1, 2)
    assert [(row[0], row[1]) for row in rejected(result)[1:]] == [
        ("2", "the order '1' names more than one customer"),
        ("4", "the order '1' names more than one customer"),
    ]
    assert rows(store, orders, "external_id") == [("2",)]


def test_an_order_that_changes_hands_changes_the_figures_of_both(load: Load, store: Engine) -> None:
    load(LINES, LINES_HEADER + "1,5,Germany,2011-07-01,A,x,1,2\n2,6,Germany,2011-07-01,A,x,1,2\n")
    load(LINES, LINES_HEADER + "1,6,Germany,2011-07-01,A,x,1,2\n", at=LATER)
    assert rows(store, customer_stats, "orders", "total") == [(2, Decimal(4))]
    with reading(store) as connection:
        assert connection.scalar(select(func.count()).select_from(customers)) == 2


def test_an_order_told_again_with_fewer_lines_loses_the_surplus(load: Load, store: Engine) -> None:
    load(LINES, LINES_HEADER + "1,5,Germany,2011-07-01,A,x,1,2\n1,5,Germany,2011-07-01,B,y,1,2\n")
    result = load(LINES, LINES_HEADER + "1,5,Germany,2011-07-01,B,y,1,2\n", at=LATER)
    assert (result.updated, result.removed) == (1, 1)
    assert rows(store, orders, "total") == [(Decimal(2),)]


def test_cancelled_by_a_rule_on_plain_orders(load: Load, store: Engine) -> None:
    yaml = "{into: orders, columns: {external_id: no, customer: who, ordered_at: at, total: t}"
    yaml += ", cancelled: {column: state, in: [void, back]}}"
    load(CUSTOMERS, "id,mail,name,born,tier\n1,,,,\n")
    load(yaml, "no,who,at,t,state\na,1,2026-01-01,5,ok\nb,1,2026-01-02,7,void\n")
    assert rows(store, orders, "external_id", "status") == [("a", "placed"), ("b", "cancelled")]
    assert rows(store, customer_stats, "orders", "total") == [(1, Decimal(5))]


EVENTS = """
into: events
columns: {external_id: id, customer: who, name: name, at: at}
properties: [seen]
"""
DEEP = "[" * 600 + "]" * 600


@pytest.mark.parametrize(
    ("field", "bad", "reason"),
    [
        ("seen", "1e9999999", "has no place in JSON"),
        ("seen", DEEP, "is nested too deeply"),
        ("id", f'"{"x" * 401}"', "id: has 401 characters; expected at most 400"),
        ("name", f'"{"x" * 401}"', "name: has 401 characters; expected at most 400"),
    ],
    ids=["endless number", "deep nesting", "long id", "long name"],
)
def test_a_value_beyond_all_reason_costs_its_own_row_only(
    load: Load, store: Engine, field: str, bad: str, reason: str
) -> None:
    load(CUSTOMERS, "id,mail,name,born,tier\n1,,,,\n")
    good = {"id": '"b"', "who": '"1"', "name": '"seen"', "at": '"2026-01-01"', "seen": "1"}
    lines = [good, {**good, "id": '"a"', field: bad}]
    content = "".join(
        "{" + ", ".join(f'"{name}": {text}' for name, text in line.items()) + "}\n" for line in lines
    )
    result = load(EVENTS, content, name="in.jsonl")
    assert (result.inserted, result.rejected) == (1, 1)
    assert reason in rejected(result)[1][1]


def test_an_order_line_too_dear_to_be_true_costs_its_own_row_only(load: Load, store: Engine) -> None:
    """Quantity and price are each within their bounds; their product is beyond a BIGINT."""
    text = LINES_HEADER + "1,7,Germany,2026-01-01,A,a,2147483647,9999999999\n"
    result = load(LINES, text + "2,7,Germany,2026-01-01,A,a,1,2\n")
    assert rejected(result)[1][1] == "2147483647 times 9999999999.0000 is not an amount below 10,000,000,000"
    assert rows(store, orders, "external_id") == [("2",)]
