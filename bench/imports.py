"""The import's part of the bench: two CSV files, Drumbeat's import of them, and the same as bare SQL."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.setting import AS_OF, ZONES, Raw

MAPPINGS = {
    "customers": {
        "into": "customers",
        "time_zone": "UTC",
        "columns": {
            "external_id": "id",
            "email": "email",
            "first_name": "first",
            "last_name": "last",
            "country": "country",
            "language": "language",
            "time_zone": "zone",
            "birth_date": "born",
            "created_at": "created",
        },
    },
    "orders": {
        "into": "orders",
        "time_zone": "UTC",
        "columns": {
            "external_id": "id",
            "customer": "customer",
            "ordered_at": "ordered",
            "status": "status",
            "total": "total",
            "currency": "currency",
        },
    },
}


def write_files(folder: Path, customers: int) -> dict[str, Path]:
    """Write customers.csv and orders.csv (one order a customer) into the folder."""
    files = {kind: folder / f"{kind}.csv" for kind in MAPPINGS}
    places = list(ZONES.items())
    with files["customers"].open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "email", "first", "last", "country", "language", "zone", "born", "created"])
        born, created = datetime(1950, 1, 1, tzinfo=UTC), AS_OF - timedelta(days=1500)
        for n in range(customers):
            country, zone = places[n % len(places)]
            day = (born + timedelta(days=n * 37 % 20_000)).date()
            at = (created + timedelta(seconds=n * 7919 % 129_600_000)).isoformat()
            # One address in twenty is of a rarer domain: those take the address checker's long way.
            domain = "shop.example" if n % 20 == 0 else "mail.example.com"
            out.writerow([f"c{n}", f"c{n}@{domain}", f"Name{n}", "Zoë", country, "en", zone, day, at])
    with files["orders"].open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "customer", "ordered", "status", "total", "currency"])
        for n in range(customers):
            at = (created + timedelta(seconds=n * 104_729 % 129_600_000)).isoformat()
            status = "cancelled" if n % 20 == 0 else "placed"
            customer = n * 7919 % customers
            out.writerow([f"o{n}", f"c{customer}", at, status, f"{n % 400}.{n % 100:02d}", "GBP"])
    return files


def empty(url: str) -> dict[str, Any]:
    """Create the tables, if need be, and empty them."""
    from drumbeat.store.engine import connect
    from drumbeat.store.tables import metadata

    engine = connect(url)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    engine.dispose()
    return {}


def measured(work: Callable[[], int], peak: Callable[[], int]) -> dict[str, Any]:
    """Time the work, which returns how many rows it brought in."""
    before = peak()
    started = time.perf_counter()
    rows = work()
    return {"seconds": time.perf_counter() - started, "rows": rows, "peak": peak(), "before": before}


def by_drumbeat(url: str, kind: str, file: Path) -> int:
    """Import the file as `drumbeat import` does; return the rows that are new."""
    import json

    from drumbeat.ingest.load import import_file
    from drumbeat.ingest.mapping import read_mapping
    from drumbeat.store.engine import connect

    mapping = file.with_name(f"{kind}.yaml")
    mapping.write_text(json.dumps(MAPPINGS[kind]), encoding="utf-8")
    engine = connect(url)
    result = import_file(engine, file, read_mapping(mapping), loaded_at=AS_OF)
    engine.dispose()
    if result.rejected:
        raise SystemExit(f"the import rejected {result.rejected} rows: see {result.rejects_file}")
    return result.inserted


def by_hand(url: str, kind: str, file: Path) -> int:
    """Import the file with the database's own means: no checks but the database's, no rejects, no report.

    Staging and upsert as in Drumbeat; addresses only lose their case, and customers keep one person each.
    """
    raw = Raw(url)
    raw.begin()
    with file.open(newline="", encoding="utf-8") as opened:
        reader = csv.reader(opened)
        header = next(reader)
        raw.run(f"CREATE TEMP TABLE staged ({', '.join(f'{name} TEXT' for name in header)})")
        if raw.postgresql:
            opened.seek(0)
            with raw.driver.cursor() as cursor:
                cursor.copy_expert("COPY staged FROM STDIN (FORMAT csv, HEADER)", opened)
            raw.run("ANALYZE staged")
        else:
            raw.driver.executemany(f"INSERT INTO staged VALUES ({', '.join('?' * len(header))})", reader)
    for statement in _UPSERTS[kind](raw):
        raw.run(statement)
    rows: int = raw.run(f"SELECT count(*) FROM {kind}")[0][0]
    raw.run("COMMIT")
    raw.close()
    return rows


def _instant(raw: Raw, column: str) -> str:
    if raw.postgresql:
        return f"{column}::timestamptz"
    return f"CAST(strftime('%s', {column}) AS INTEGER) * 1000000"


def _customers(raw: Raw) -> list[str]:
    born = "s.born::date" if raw.postgresql else "s.born"
    names = [
        "email",
        "email_key",
        "first_name",
        "last_name",
        "country",
        "language",
        "time_zone",
        "birth_date",
    ]
    return [
        (
            f"INSERT INTO customers (external_id, {', '.join(names)}, created_at, attributes, loaded_at)"
            f" SELECT s.id, s.email, lower(s.email), s.first, s.last, s.country, s.language, s.zone, {born},"
            f" {_instant(raw, 's.created')}, '{{}}', {raw.words.at(AS_OF)} FROM staged s WHERE true"
            f" ON CONFLICT (external_id) DO UPDATE SET {_overwrite([*names, 'loaded_at'])}"
            f" WHERE {_differs('customers', names)}"
        ),
        "UPDATE customers SET person_id = id WHERE person_id IS NULL",
    ]


def _orders(raw: Raw) -> list[str]:
    names = ["customer_id", "ordered_at", "status", "total", "currency"]
    cents = (
        "(s.total::numeric * 10000)::bigint" if raw.postgresql else "CAST(round(s.total * 10000) AS INTEGER)"
    )
    figures = ["orders", "total", "first_order_at", "last_order_at"]
    return [
        (
            f"INSERT INTO orders (external_id, {', '.join(names)}, loaded_at)"
            f" SELECT s.id, u.id, {_instant(raw, 's.ordered')}, s.status, {cents}, s.currency, {raw.words.at(AS_OF)}"
            " FROM staged s JOIN customers u ON u.external_id = s.customer WHERE true"
            f" ON CONFLICT (external_id) DO UPDATE SET {_overwrite([*names, 'loaded_at'])}"
            f" WHERE {_differs('orders', names)}"
        ),
        (
            f"INSERT INTO customer_stats (customer_id, {', '.join(figures)})"
            " SELECT customer_id, count(*), sum(total), min(ordered_at), max(ordered_at) FROM orders"
            " WHERE status = 'placed' AND customer_id IN"
            " (SELECT u.id FROM staged s JOIN customers u ON u.external_id = s.customer) GROUP BY customer_id"
            f" ON CONFLICT (customer_id) DO UPDATE SET {_overwrite(figures)}"
        ),
    ]


def _overwrite(names: list[str]) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in names)


def _differs(table: str, names: list[str]) -> str:
    return " OR ".join(f"{table}.{name} IS DISTINCT FROM excluded.{name}" for name in names)


_UPSERTS = {"customers": _customers, "orders": _orders}
