"""The known figures of Online Retail come out of SQL on the store, dirt and all."""

from __future__ import annotations

import csv
import gzip
import statistics
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Select, func, select

from drumbeat.ingest.load import ImportResult, import_file, rejects_beside
from drumbeat.ingest.mapping import read_mapping
from drumbeat.store.engine import connect, reading
from drumbeat.store.tables import customer_stats, customers, metadata, order_items, orders, products

AT = datetime(2026, 1, 1, tzinfo=UTC)
FILE = Path("shared/data/online_retail/online_retail.csv.gz")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole_set() -> Path:
    """The whole file, which is not part of the repository."""
    file = Path(__file__).resolve().parents[3] / FILE
    if not file.is_file():
        pytest.skip(f"the whole Online Retail set is not at ../{FILE}")
    return file


@pytest.fixture(scope="module")
def imported(
    whole_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Engine, ImportResult]]:
    """The whole set in a store, imported once for all tests here."""
    folder = tmp_path_factory.mktemp("online_retail")
    engine = connect(f"sqlite:///{folder / 'store.db'}")
    metadata.create_all(engine)
    yield engine, load(engine, whole_set, folder)
    engine.dispose()


def load(engine: Engine, file: Path, folder: Path) -> ImportResult:
    mapping = read_mapping(Path(__file__).resolve().parents[2] / "mappings/online_retail.yaml")
    return import_file(engine, file, mapping, loaded_at=AT, rejects=rejects_beside(folder / file.name))


def ask(engine: Engine, query: Select[Any]) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.execute(query).tuples())


VALID = (
    select(
        func.count(order_items.c.id),
        func.count(orders.c.customer_id.distinct()),
        func.count(orders.c.id.distinct()),
    )
    .join(orders, orders.c.id == order_items.c.order_id)
    .where(orders.c.status == "placed")
)


def check_figures(engine: Engine, result: ImportResult) -> None:
    assert result.read == 541_909
    assert result.skipped == {"no customer": 135_080, "given away or a correction of stock": 40}
    assert (result.rejected, result.inserted) == (0, 541_909 - 135_080 - 40)
    assert ask(engine, select(func.count()).select_from(customers)) == [(4_372,)]
    assert ask(engine, VALID) == [(397_884, 4_338, 18_532)]
    with reading(engine) as connection:
        standing = select(orders.c.total).where(orders.c.status == "placed")
        assert sum(connection.scalars(standing)) == Decimal("8911407.904")
        assert sum(connection.scalars(select(customer_stats.c.total))) == Decimal("8911407.904")
    until = datetime(2011, 12, 10, tzinfo=UTC)
    recency = [(until - last).days for (last,) in ask(engine, select(customer_stats.c.last_order_at))]
    assert round(statistics.mean(recency), 3) == 92.059
    assert statistics.median(recency) == 50
    assert sum(days > 90 for days in recency) == 1_449
    once = select(func.count()).select_from(customer_stats).where(customer_stats.c.orders == 1)
    assert ask(engine, once) == [(1_493,)]


def test_the_known_figures_come_out_of_the_store(imported: tuple[Engine, ImportResult]) -> None:
    check_figures(*imported)


@pytest.mark.postgresql
def test_the_known_figures_come_out_of_postgresql_too(
    postgresql_url: str, whole_set: Path, tmp_path: Path
) -> None:
    engine = connect(postgresql_url)
    metadata.create_all(engine)
    check_figures(engine, load(engine, whole_set, tmp_path))
    engine.dispose()


def test_importing_it_again_changes_nothing(
    imported: tuple[Engine, ImportResult], whole_set: Path, tmp_path: Path
) -> None:
    engine, first = imported
    again = load(engine, whole_set, tmp_path)
    assert (again.inserted, again.updated, again.removed, again.unchanged) == (0, 0, 0, first.inserted)
    assert all(merged[:2] == (0, 0) for merged in again.tables.values())


def order(engine: Engine, number: str) -> Any:
    (found,) = ask(
        engine,
        select(orders.c.status, orders.c.total, orders.c.ordered_at).where(orders.c.external_id == number),
    )
    return found


def test_the_largest_order_and_its_cancellation_are_both_there(imported: tuple[Engine, ImportResult]) -> None:
    engine, _ = imported
    assert order(engine, "581483")[:2] == ("placed", Decimal("168469.6"))
    assert order(engine, "C581484")[:2] == ("cancelled", Decimal("-168469.6"))


def test_invoices_of_two_times_are_one_order_at_the_earlier(
    imported: tuple[Engine, ImportResult], whole_set: Path
) -> None:
    engine, _ = imported
    times: dict[str, set[str]] = {}
    with gzip.open(whole_set, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            times.setdefault(row["InvoiceNo"], set()).add(row["InvoiceDate"])
    two = {number: min(found) for number, found in times.items() if len(found) > 1}
    assert len(two) == 43
    held = dict(
        ask(engine, select(orders.c.external_id, orders.c.ordered_at).where(orders.c.external_id.in_(two)))
    )
    assert len(held) > 30  # the others have no customer
    from zoneinfo import ZoneInfo

    local = {
        number: at.astimezone(ZoneInfo("Europe/London")).strftime("%Y-%m-%d %H:%M:%S")
        for number, at in held.items()
    }
    assert local == {number: two[number] for number in local}


def test_customers_of_two_countries_have_the_later_one(
    imported: tuple[Engine, ImportResult], whole_set: Path
) -> None:
    engine, _ = imported
    latest: dict[str, tuple[str, str]] = {}
    seen: dict[str, set[str]] = {}
    with gzip.open(whole_set, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            seen.setdefault(row["CustomerID"], set()).add(row["Country"])
            told = (row["InvoiceDate"], row["Country"])
            latest[row["CustomerID"]] = max(latest.get(row["CustomerID"], told), told)
    two = [number for number, found in seen.items() if number and len(found) > 1]
    assert len(two) == 8
    codes = {
        "Switzerland": "CH",
        "Cyprus": "CY",
        "Austria": "AT",
        "Denmark": "DK",
        "Belgium": "BE",
        "Spain": "ES",
        "Australia": "AU",
    }
    held = dict(
        ask(
            engine,
            select(customers.c.external_id, customers.c.country).where(customers.c.external_id.in_(two)),
        )
    )
    assert held == {number: codes[latest[number][1]] for number in two}


def test_codes_that_are_no_products_count_in_orders_and_are_no_products(
    imported: tuple[Engine, ImportResult],
) -> None:
    engine, _ = imported
    codes = ["POST", "DOT", "M", "D", "BANK CHARGES", "AMAZONFEE", "CRUK"]
    assert ask(engine, select(products.c.id).where(products.c.external_id.in_(codes))) == []
    lines = dict(
        ask(
            engine,
            select(order_items.c.product, func.count())
            .where(order_items.c.product.in_(codes))
            .group_by(order_items.c.product),
        )
    )
    assert lines["POST"] > 1_000


def test_exact_duplicates_stay_two_lines(imported: tuple[Engine, ImportResult], whole_set: Path) -> None:
    engine, _ = imported
    with gzip.open(whole_set, "rt", encoding="utf-8", newline="") as file:
        _, *read = map(tuple, csv.reader(file))
    assert sum(Counter(read).values()) - len(set(read)) == 5_268
    number, count = Counter(
        row[0] for row, times in Counter(read).items() for _ in range(times - 1) if row[6]
    ).most_common(1)[0]
    assert count > 1
    lines = select(func.count()).select_from(order_items).join(orders).where(orders.c.external_id == number)
    assert ask(engine, lines) == [(sum(row[0] == number and float(row[5]) > 0 for row in read),)]


def test_a_customer_known_only_by_a_free_line_is_known(imported: tuple[Engine, ImportResult]) -> None:
    engine, _ = imported
    assert len(ask(engine, select(customers.c.id).where(customers.c.external_id == "13256"))) == 1


def test_the_slice_of_the_repository_is_what_the_script_makes(
    whole_set: Path, project_root: Path, tmp_path: Path
) -> None:
    import subprocess
    import sys

    subprocess.run(
        [sys.executable, "data/make_slice.py", whole_set, tmp_path / "s.csv.gz"],
        cwd=project_root,
        check=True,
        capture_output=True,
    )
    # Another zlib may compress otherwise; the rows are what counts.
    kept = gzip.decompress((project_root / "data/online_retail_slice.csv.gz").read_bytes())
    assert gzip.decompress((tmp_path / "s.csv.gz").read_bytes()) == kept
