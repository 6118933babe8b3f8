"""Rows for segment tests: written as YAML a customer, kept for one test on either database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, insert, text
from sqlalchemy.engine import make_url

from drumbeat.clock import parse_duration, parse_instant
from drumbeat.ingest.stats import refresh
from drumbeat.store import tables
from drumbeat.store.engine import connect

_RELATIVE = re.compile(r"(?:now|(\w+) (ago|later))(?: ([-+]\d+)us)?")


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def shared_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A store for all segment tests, once on each database; tests leave nothing in it."""
    if request.param == "sqlite":
        engine = connect(f"sqlite:///{tmp_path_factory.mktemp('segments') / 'store.db'}")
        tables.metadata.create_all(engine)
        yield engine
        engine.dispose()
        return
    server, name = make_url(request.getfixturevalue("postgresql_server")), f"drumbeat_{uuid4().hex[:12]}"
    admin = create_engine(server.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = connect(server.set(database=name).render_as_string(hide_password=False))
    tables.metadata.create_all(engine)
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def rows(shared_store: Engine) -> Iterator[Connection]:
    """A connection whose rows are gone after the test."""
    with shared_store.connect() as plain:
        connection = plain.execution_options(drumbeat_writing=True)
        with connection.begin() as transaction:
            yield connection
            transaction.rollback()


def at(written: str, as_of: datetime) -> datetime:
    """Read `now`, `30d ago`, `30d ago +1us`, `1h later` or an instant."""
    if found := _RELATIVE.fullmatch(written):
        span, direction, extra = found.groups()
        moved = timedelta() if span is None else parse_duration(span)
        return as_of + (moved if direction == "later" else -moved) + timedelta(microseconds=int(extra or 0))
    return parse_instant(written)


@pytest.fixture
def fill() -> Callable[[Connection, dict[str, dict[str, Any]], datetime], dict[str, int]]:
    """Store customers with what belongs to them; gives the id of each name."""
    return _fill


def _fill(connection: Connection, people: dict[str, dict[str, Any]], as_of: datetime) -> dict[str, int]:
    ids = {name: number for number, name in enumerate(people, start=1)}
    loaded: dict[str, Any] = {"loaded_at": as_of}
    lines: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("customers", "consents", "orders", "order_items", "events")
    }
    for name, said in people.items():
        person = dict(said or {})
        mine = {"customer_id": ids[name]}
        for topic, consent in person.pop("consents", {}).items():
            given = consent if isinstance(consent, dict) else {"granted": consent}
            when = at(given.get("at", "now"), as_of)
            lines["consents"].append(
                mine | loaded | {"topic": topic, "granted": given["granted"], "at": when}
            )
        for order in person.pop("orders", []):
            number = len(lines["orders"]) + 1
            order = {"total": 10, "status": "placed"} | order
            lines["orders"].append(
                mine
                | loaded
                | {"id": number, "external_id": str(number), "ordered_at": at(order["at"], as_of)}
                | {key: order[key] for key in ("total", "status")}
            )
            lines["order_items"] += [
                {"order_id": number, "line": line, "product": product, "quantity": 1, "unit_price": 1}
                for line, product in enumerate(order.get("products", []))
            ]
        for event in person.pop("events", []):
            when = at(event["at"], as_of)
            lines["events"].append(
                mine | loaded | {"name": event["name"], "at": when, "properties": event.get("properties", {})}
            )
        lines["customers"].append(_customer(name, person, as_of) | loaded | {"id": ids[name]})
    for table, values in lines.items():
        if values:
            connection.execute(insert(tables.metadata.tables[table]), values)
    refresh(connection)
    return ids


def _customer(name: str, person: dict[str, Any], as_of: datetime) -> dict[str, Any]:
    texts = ("email", "first_name", "last_name", "country", "city", "language", "time_zone")
    unknown = set(person) - {*texts, "external_id", "birth_date", "created_at", "seed", "attributes"}
    assert not unknown, f"customers have no {unknown}"
    return {key: person.get(key) for key in texts} | {
        "external_id": person.get("external_id", name),
        "birth_date": date.fromisoformat(person["birth_date"]) if person.get("birth_date") else None,
        "created_at": at(person["created_at"], as_of) if person.get("created_at") else None,
        "seed": person.get("seed", False),
        "attributes": person.get("attributes", {}),
    }
