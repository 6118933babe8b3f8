"""Connections: `connect` opens a store, `reading` and `writing` are its two kinds of transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from drumbeat.errors import StoreError

_TURN = "drumbeat_turn"
"""The attribute of a SQLite engine that holds the lock of its writers."""

SQLITE_BUSY_TIMEOUT_S = 60
"""Longest wait for another writer; 2.2 s was the longest seen with 8 writers at 200,000 rows a second."""


def connect(url: str) -> Engine:
    """Open the store at a database URL; nothing is contacted before the first transaction.

    `sqlite:///path/to/file.db` or `postgresql://user:password@host:port/name` (psycopg2).
    Raises StoreError for any other URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(
            f"cannot read the database URL '{_hide(url)}'; expected sqlite:///file.db or postgresql://user@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgres":
        parsed = parsed.set(drivername="postgresql")
        backend = "postgresql"
    if backend == "postgresql":
        return _connect_postgresql(parsed)
    if backend == "sqlite":
        return _connect_sqlite(parsed)
    raise StoreError(
        f"cannot use a '{backend}' database; expected sqlite:///file.db or postgresql://user@host/name"
    )


def _connect_postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg2"),
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            connect_args={"connect_timeout": 10, "application_name": "drumbeat"},
        )
    except NoSuchModuleError as error:
        raise StoreError(f"cannot load the PostgreSQL driver: {error}") from None


def _connect_sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).expanduser().resolve().parent
        if not folder.is_dir():
            raise StoreError(
                f"the database's folder {folder} does not exist; make it, or choose another DRUMBEAT_DATABASE_URL"
            )
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S})
    # Of the engine, so that stores in other files, and tests, do not wait for one another.
    setattr(engine, _TURN, RLock())

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own transactions start too late (at the first write): BEGIN is sent below instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA journal_mode = WAL")
        # A commit must survive a power cut too: a mail's "handing over" mark is what prevents a double.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.execute("PRAGMA temp_store = FILE")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writing_now = connection.get_execution_options().get("drumbeat_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing_now else "BEGIN")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads; it is rolled back at the end."""
    with _translated(engine), engine.connect() as connection, connection.begin() as transaction:
        yield connection
        if transaction.is_active:
            transaction.rollback()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes: committed at the end, rolled back when an exception leaves it.

    SQLite: BEGIN IMMEDIATE, so writers queue up. PostgreSQL: READ COMMITTED.
    """
    with _translated(engine), _turn(engine), engine.connect() as plain:
        connection = plain.execution_options(drumbeat_writing=True)
        with connection.begin():
            yield connection


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """Let the threads of one process write to SQLite in turn.

    SQLite itself lets a writer that finds another one sleep for up to 0.1 s and look again, while whoever comes
    later may go first: with a worker beside the server the slowest hit of a hundred took 1.3 s.
    """
    turn: RLock | None = getattr(engine, _TURN, None)
    if turn is None:
        yield
        return
    # Not for ever: another program may hold the file; SQLite's own time-out then says so.
    taken = turn.acquire(timeout=SQLITE_BUSY_TIMEOUT_S)
    try:
        yield
    finally:
        if taken:
            turn.release()


@contextmanager
def session(engine: Engine) -> Iterator[Connection]:
    """Open one connection for several transactions, each begun with `connection.begin()`.

    For work that fills temporary tables first and takes the writers' lock only for the last step: call
    `connection.execution_options(drumbeat_writing=True)` before that step's `begin()`.
    """
    with _translated(engine), engine.connect() as connection:
        yield connection


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    """Turn the driver's connection troubles into a StoreError of one line."""
    try:
        yield
    except OperationalError as error:
        raise StoreError(_explain(engine, error)) from error
    except DBAPIError as error:
        if error.connection_invalidated or _is_missing_table(error) or _is_no_database(error):
            raise StoreError(_explain(engine, error)) from error
        raise


def _is_no_database(error: DBAPIError) -> bool:
    """Say whether SQLite was given a file of another kind: the driver raises no OperationalError for it."""
    return "file is not a database" in str(error.orig)


def _is_missing_table(error: DBAPIError) -> bool:
    text = str(error.orig)
    return "no such table" in text or ("relation" in text and "does not exist" in text)


def _explain(engine: Engine, error: DBAPIError) -> str:
    where = engine.url.render_as_string(hide_password=True)
    first_line = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else str(error)
    if _is_missing_table(error) or "no such column" in first_line:
        return f"the database {where} lacks Drumbeat's tables ({first_line}); run `drumbeat db upgrade`"
    if _is_no_database(error):
        return f"{where} is no SQLite database; move the file away, or choose another DRUMBEAT_DATABASE_URL"
    if "locked" in first_line:
        return (
            f"the database {where} stayed locked by another program for {SQLITE_BUSY_TIMEOUT_S} s; try again"
        )
    if "unable to open" in first_line:
        return f"cannot open the database {where}; check that the folder exists and may be written to"
    return f"cannot use the database {where}: {first_line}; check that it runs and that DRUMBEAT_DATABASE_URL is right"


def _hide(url: str) -> str:
    """Leave out what stands between :// and @: an unreadable URL may still hold a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if separator and "@" in rest else url
