"""Makes up a store of any size inside the database, by statements over a row of numbers.

Everything follows from the number of the customer by plain arithmetic: both databases, and every run, get
the very same rows. Keys and checks that slow the load down are taken off before and put back after it.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.rows import only, statements
from bench.setting import Raw


def generate(url: str, customers: int, progress: Callable[[str], None]) -> None:
    """Create the tables and fill them; the statistics that planning reads are gathered at the end."""
    _create(url)
    raw = Raw(url)
    for table in ("numbers", "bench_deferred"):
        raw.run(f"DROP TABLE IF EXISTS {table}")
    put_back = _take_off(raw)
    numbers = "CREATE TABLE numbers AS SELECT n::bigint AS n FROM generate_series(1, {0}) AS s(n)"
    if not raw.postgresql:
        numbers = (
            "CREATE TABLE numbers AS WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {0})"
            " SELECT n FROM s"
        )
    raw.run(numbers.format(customers))
    last = ""
    for table, row in statements(raw.words, customers):
        if table != last:
            progress(f"{table} ...")
        last = table
        names, values = ", ".join(row), ", ".join(row.values())
        raw.run(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM numbers {only(table)} ORDER BY numbers.n"
        )
    raw.run("DROP TABLE numbers")
    progress("keys and indexes ...")
    for statement in put_back:
        raw.run(statement)
    raw.close()
    progress("customer_stats ...")
    _refresh(url)
    _settle(url)


def _create(url: str) -> None:
    from drumbeat.store.engine import connect
    from drumbeat.store.tables import metadata

    engine = connect(url)
    metadata.create_all(engine)
    engine.dispose()


def _refresh(url: str) -> None:
    from drumbeat.ingest import stats
    from drumbeat.store.engine import connect, writing

    engine = connect(url)
    with writing(engine) as connection:
        stats.refresh(connection)
    engine.dispose()


def _settle(url: str) -> None:
    raw = Raw(url)
    # What `undo` puts back: deferred messages are the only old ones that a plan changes.
    raw.run("CREATE TABLE bench_deferred AS SELECT * FROM messages WHERE state = 'deferred'")
    raw.run("VACUUM ANALYZE" if raw.postgresql else "ANALYZE")
    raw.run("CHECKPOINT" if raw.postgresql else "PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()


def _take_off(raw: Raw) -> list[str]:
    """Remove indexes (PostgreSQL: unique constraints too) and switch off checks; return how to restore them."""
    if raw.postgresql:
        raw.run("SET session_replication_role = replica")  # foreign keys: right by construction
        unique = raw.run(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE contype = 'u' AND connamespace = 'public'::regnamespace"
        )
        for table, name, _ in unique:
            raw.run(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        plain = raw.run(
            "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE NOT i.indisprimary AND c.relnamespace = 'public'::regnamespace"
        )
        put_back = [f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}" for table, name, text in unique]
        put_back += [
            f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))"
            for table in (
                "customers",
                "orders",
                "carts",
                "cart_items",
                "coupons",
                "events",
                "runs",
                "messages",
            )
        ]
    else:
        for pragma in ("foreign_keys=OFF", "synchronous=OFF", "cache_size=-1000000"):
            raw.run(f"PRAGMA {pragma}")
        plain = raw.run("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        put_back = []
    for name, _ in plain:
        raw.run(f"DROP INDEX {name}")
    return put_back + [text for _, text in plain]
