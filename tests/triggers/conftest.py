"""A store that is emptied after each case, and rows for it as the YAML cases write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from drumbeat.project.kinds import trigger_kinds
from drumbeat.store import tables
from drumbeat.store.engine import connect, writing
from drumbeat.triggers import Trigger

LOADED_AT = datetime(2011, 1, 1, tzinfo=UTC)
Rows = Mapping[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def kinds(project_root: Path) -> Mapping[str, type[Trigger]]:
    """The reference project's trigger kinds."""
    return trigger_kinds(project_root)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def module_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """One store for a module: making a database for each of a hundred cases would take a minute."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"
    else:
        url = request.getfixturevalue("postgresql_server")
    engine = connect(url)
    if request.param == "postgresql":
        own = request.getfixturevalue("module_database")
        engine.dispose()
        engine = connect(own)
    tables.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def module_database(postgresql_server: str) -> Iterator[str]:
    """A PostgreSQL database for one module."""
    from uuid import uuid4

    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    name = f"drumbeat_{uuid4().hex[:12]}"
    server = make_url(postgresql_server).set(drivername="postgresql+psycopg2")
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def case_store(module_store: Engine) -> Iterator[Engine]:
    """An empty store."""
    yield module_store
    with writing(module_store) as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def load(case_store: Engine) -> Callable[[Rows], None]:
    """Put rows into the store; a customer that rows name but nobody describes is made."""
    return lambda given: _load(case_store, given)


def _load(engine: Engine, given: Rows) -> None:
    known = {"customers", "carts", "orders", "coupons", "events", "customer_stats", "products", "opt_ins"}
    unknown = set(given) - known
    assert not unknown, f"no such rows: {unknown}"
    described = {row["id"]: row for row in given.get("customers", ())}
    named = {
        row["customer"]
        for name, rows in given.items()
        if name not in ("customers", "products")
        for row in rows
    }
    with writing(engine) as connection:
        ids: dict[str, int] = {}
        for name in [*described, *sorted(named - set(described))]:
            row = _row(tables.customers, described.get(name, {"id": name}), ids)
            ids[name] = connection.execute(
                insert(tables.customers).returning(tables.customers.c.id), row
            ).scalar_one()
        for product in given.get("products", ()):
            connection.execute(insert(tables.products), _row(tables.products, product, ids))
        for i, cart in enumerate(given.get("carts", ())):
            items = cart.get("items", 1)
            values = _row(tables.carts, {"id": f"c{i}", "total": 30, **cart}, ids)
            key = connection.execute(insert(tables.carts).returning(tables.carts.c.id), values).scalar_one()
            lines = items if isinstance(items, list) else [{"quantity": 1}] * items
            for line, item in enumerate(lines):
                connection.execute(
                    insert(tables.cart_items),
                    {"cart_id": key, "line": line, "unit_price": Decimal(10), **_typed(item)},
                )
        for i, order in enumerate(given.get("orders", ())):
            connection.execute(
                insert(tables.orders), _row(tables.orders, {"id": f"o{i}", "total": 10, **order}, ids)
            )
        for i, coupon in enumerate(given.get("coupons", ())):
            connection.execute(insert(tables.coupons), _row(tables.coupons, {"id": f"k{i}", **coupon}, ids))
        for i, event in enumerate(given.get("events", ())):
            connection.execute(insert(tables.events), _row(tables.events, {"id": f"e{i}", **event}, ids))
        for asked in given.get("opt_ins", ()):
            values = _row(tables.opt_ins, {key: v for key, v in asked.items() if key != "number"}, ids)
            connection.execute(
                insert(tables.opt_ins), {"id": asked.get("number", 1), "topics": ["news"], **values}
            )
        for stats in given.get("customer_stats", ()):
            only = stats.get("first_order_at") or stats["last_order_at"]
            filled = {"orders": 1, "total": 10, "first_order_at": only, "last_order_at": only, **stats}
            connection.execute(insert(tables.customer_stats), _row(tables.customer_stats, filled, ids))


def _row(table: Any, row: dict[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """Write a case's row as the table has it: `id` is the external id, `customer` the customer's."""
    values = {"loaded_at": LOADED_AT} if "loaded_at" in table.c else {}
    for key, value in row.items():
        if key == "items":
            continue
        if key == "id":
            values["external_id"] = value
        elif key == "customer":
            values["customer_id"] = ids[value]
        else:
            assert key in table.c, f"{table.name} has no column {key}"
            values[key] = value
    return _typed(values)


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Read texts as the instants and dates they are: columns named *_at or `at`, and birth_date."""
    typed: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, str) and (key.endswith("_at") or key == "at"):
            typed[key] = datetime.fromisoformat(value)
        elif isinstance(value, str) and key == "birth_date":
            typed[key] = date.fromisoformat(value)
        else:
            typed[key] = value
    return typed


@pytest.fixture
def names(case_store: Engine) -> Callable[[], dict[int, str]]:
    """Read which customer has which name in the case."""

    def read() -> dict[int, str]:
        with case_store.connect() as connection:
            found = connection.execute(select(tables.customers.c.id, tables.customers.c.external_id)).all()
        return {row.id: row.external_id for row in found}

    return read
