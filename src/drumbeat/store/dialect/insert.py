"""INSERT with ON CONFLICT: the same call on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert(connection: Connection, table: Table) -> Any:
    """Return the database's own INSERT, which has `on_conflict_do_nothing` and `on_conflict_do_update`.

    With `from_select` on SQLite the SELECT needs a WHERE clause (`WHERE true` will do): its grammar
    otherwise reads ON CONFLICT as a join's ON. Row counts: use RETURNING, SQLite reports -1.
    """
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
