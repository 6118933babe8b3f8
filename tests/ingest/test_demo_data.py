"""The demo's data: real slice, made-up rest, reproducible, and enough of it on the demo's day."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from drumbeat.ingest.load import ImportResult, import_file
from drumbeat.ingest.mapping import read_mapping
from drumbeat.store.engine import connect, reading
from drumbeat.store.tables import (
    cart_items,
    carts,
    consents,
    coupons,
    customer_stats,
    customers,
    metadata,
    orders,
)

NOW = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)
SLICE = "data/online_retail_slice.csv.gz"
FILES = {
    "online_retail": SLICE,
    "customers": "data/made_up/customers.csv",
    "consents": "data/made_up/consents.csv",
    "carts": "data/made_up/carts.csv",
    "cart_lines": "data/made_up/cart_lines.csv",
    "coupons": "data/made_up/coupons.csv",
    "suppressions": "data/made_up/suppressions.csv",
    "events": "data/made_up/events.jsonl",
}

Demo = tuple[Engine, dict[str, ImportResult]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A store with all of the demo's data."""
    root = Path(__file__).resolve().parents[2]
    folder = tmp_path_factory.mktemp("demo")
    engine = connect(f"sqlite:///{folder / 'store.db'}")
    metadata.create_all(engine)
    results = {}
    for name, file in FILES.items():
        mapping = read_mapping(root / f"mappings/{name}.yaml", "Europe/London")
        results[name] = import_file(
            engine, root / file, mapping, loaded_at=NOW, rejects=folder / f"{name}.csv"
        )
    yield engine, results
    engine.dispose()


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_the_made_up_files_are_what_the_script_makes(
    project_root: Path, tmp_path: Path, hash_seed: str
) -> None:
    words = [sys.executable, "data/make_up.py", SLICE, str(tmp_path)]
    subprocess.run(words, cwd=project_root, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    kept = {
        file.name: file.read_bytes()
        for file in (project_root / "data/made_up").iterdir()
        if file.suffix in (".csv", ".jsonl")
    }
    assert set(made) == set(kept)
    assert [name for name in made if made[name] != kept[name]] == []


def test_the_data_stays_small(project_root: Path) -> None:
    sizes = {
        file: file.stat().st_size
        for file in (project_root / "data").rglob("*")
        if file.is_file() and "rejected" not in file.name
    }
    assert sizes[project_root / SLICE] <= 3_000_000
    assert sum(size for file, size in sizes.items() if "__pycache__" not in file.parts) <= 4_000_000


def test_only_the_broken_addresses_are_rejected(demo: Demo) -> None:
    _, results = demo
    assert {name: result.rejected for name, result in results.items() if result.rejected} == {"customers": 5}


def test_every_address_is_under_example_com(demo: Demo) -> None:
    with reading(demo[0]) as connection:
        elsewhere = select(customers.c.email).where(customers.c.email_key.not_like("%@example.com"))
        assert connection.scalars(elsewhere).all() == []


def test_six_mailboxes_are_shared(demo: Demo) -> None:
    with reading(demo[0]) as connection:
        shared = select(customers.c.email_key).group_by(customers.c.email_key).having(func.count() > 1)
        named = [key for key in connection.scalars(shared) if key]
        people = connection.scalar(select(func.count(customers.c.person_id.distinct())))
        rows = connection.scalar(select(func.count(customers.c.id)))
    assert len(named) == 6
    assert rows is not None
    assert people == rows - 6


def test_about_three_quarters_consent(demo: Demo) -> None:
    with reading(demo[0]) as connection:
        for topic in ("offers", "news"):
            granted = (
                connection.scalar(select(func.count()).where(consents.c.topic == topic, consents.c.granted))
                or 0
            )
            assert 0.70 < granted / 1_363 < 0.82


def test_each_campaign_has_tens_to_hundreds_of_candidates(demo: Demo) -> None:
    within = NOW + timedelta(days=3)
    left = [
        carts.c.updated_at > NOW - timedelta(days=3),
        carts.c.updated_at <= NOW - timedelta(hours=4),
        carts.c.total >= 20,
    ]
    bought = select(orders.c.id).where(
        orders.c.customer_id == carts.c.customer_id, orders.c.ordered_at >= carts.c.updated_at
    )
    day = [datetime(2010, 12, 5, tzinfo=UTC), datetime(2010, 12, 6, tzinfo=UTC)]
    with reading(demo[0]) as connection:
        found = {
            "carts": connection.scalar(
                select(func.count()).select_from(carts).where(*left, ~bought.exists())
            ),
            "coupons": connection.scalar(
                select(func.count())
                .select_from(coupons)
                .where(coupons.c.expires_at.between(NOW, within), coupons.c.redeemed_at.is_(None))
            ),
            "birthdays": sum(
                b.month == 12 and b.day == 5 for b in connection.scalars(select(customers.c.birth_date)) if b
            ),
            "first orders": connection.scalar(
                select(func.count())
                .select_from(customer_stats)
                .where(customer_stats.c.first_order_at.between(*day))
            ),
        }
        assert (connection.scalar(select(func.count()).select_from(carts).where(bought.exists())) or 0) > 20
        assert connection.scalar(
            select(func.count()).select_from(coupons).where(coupons.c.redeemed_at.is_not(None))
        )
    assert {name: 20 <= (count or 0) <= 500 for name, count in found.items()} == dict.fromkeys(found, True), (
        found
    )


def test_a_cart_costs_what_its_lines_cost(demo: Demo) -> None:
    with reading(demo[0]) as connection:
        lines: dict[int, object] = {}
        for cart, quantity, price in connection.execute(
            select(cart_items.c.cart_id, cart_items.c.quantity, cart_items.c.unit_price)
        ):
            lines[cart] = lines.get(cart, 0) + quantity * price  # type: ignore[operator]
        told = dict(connection.execute(select(carts.c.id, carts.c.total)).tuples().all())
    assert {cart: lines.get(cart, 0) for cart in told} == told
    assert 0 in told.values()


def test_many_would_get_more_than_four_mails_in_the_week(demo: Demo) -> None:
    """Consenting customers by the number of coupons that fall due for a reminder within the week."""
    with reading(demo[0]) as connection:
        due = (
            select(coupons.c.customer_id)
            .join(
                consents,
                (consents.c.customer_id == coupons.c.customer_id)
                & (consents.c.topic == "offers")
                & consents.c.granted,
            )
            .join(customers, customers.c.id == coupons.c.customer_id)
            .where(
                coupons.c.expires_at.between(NOW, NOW + timedelta(days=9)),
                coupons.c.redeemed_at.is_(None),
                customers.c.email.is_not(None),
            )
            .group_by(coupons.c.customer_id)
            .having(func.count() > 4)
        )
        assert len(connection.execute(due).all()) >= 25
