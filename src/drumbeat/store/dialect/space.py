"""What deleted rows leave behind in the files, and how to be rid of it.

SQLite leaves the bytes of deleted and moved rows in its pages until they are used again, unless
`secure_delete` is on when they are deleted (sqlite.org/pragma.html#pragma_secure_delete); only VACUUM writes the
file anew. In WAL mode the log holds old pages until it is cut. PostgreSQL keeps the old versions of rows until
VACUUM; it gives their space to new rows, which overwrite them in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import Dialect

PATIENCE_S = 10
"""So long SQLite waits for those who read or write; a worker's transactions are far shorter."""


def overwrite_deleted(connection: Connection) -> None:
    """Let what this connection deletes from now on be overwritten with zeros. PostgreSQL has no such thing."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("PRAGMA secure_delete = ON"))


def vacuums_by_itself(dialect: Dialect) -> bool:
    """Say whether VACUUM is quick and harmless enough to be part of each erasure: SQLite, whose file is one."""
    return dialect.name == "sqlite"


def vacuum(engine: Engine, tables: Iterable[str]) -> str | None:
    """Drop what deleted rows left behind; return None, or why that was not possible, in a few words.

    SQLite: the file is written anew, which takes as long as copying it and needs as much room, and the log is cut.
    PostgreSQL: VACUUM of the tables, beside those who read and write.
    """
    if engine.dialect.name == "sqlite":
        return _driven(engine, ["VACUUM"]) or cut_log(engine)
    quote = engine.dialect.identifier_preparer.quote
    return _driven(engine, [f"VACUUM {quote(name)}" for name in tables])


def cut_log(engine: Engine) -> str | None:
    """Write SQLite's log into the file and cut it; return why that was not possible. PostgreSQL: nothing to do."""
    return _driven(engine, ["PRAGMA wal_checkpoint(TRUNCATE)"]) if engine.dialect.name == "sqlite" else None


def _driven(engine: Engine, statements: Iterable[str]) -> str | None:
    """Run statements outside any transaction; return why one of them failed, or was kept waiting too long."""
    connection = engine.raw_connection()
    driver: Any = connection.driver_connection
    before: int | None = None
    try:
        if engine.dialect.name == "postgresql":
            driver.autocommit = True
        cursor = driver.cursor()
        if engine.dialect.name == "sqlite":
            before = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
            cursor.execute(f"PRAGMA busy_timeout = {int(PATIENCE_S * 1000)}")
        for statement in statements:
            cursor.execute(statement)
        busy = cursor.description is not None and cursor.fetchone()[0]
        cursor.close()
    except engine.dialect.loaded_dbapi.Error as error:
        return str(error).strip().splitlines()[0]
    finally:
        if engine.dialect.name == "postgresql":
            driver.autocommit = False
        elif before is not None:
            driver.execute(f"PRAGMA busy_timeout = {before}")
        connection.close()
    return "another program reads the database, so that its log still holds old pages" if busy else None
