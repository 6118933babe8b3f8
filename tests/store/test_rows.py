"""A table worked out in Python: its statement is compiled once, whatever its rows and however often it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import BigInteger, Text, select

from drumbeat.store.dialect.rows import rows
from drumbeat.store.engine import reading
from drumbeat.store.types import UtcDateTime


def _run(connection: Any, kind: Any, cells: list[Any]) -> list[Any]:
    given = rows("given", {"cell": kind}, [(cell,) for cell in cells])
    return list(connection.execute(select(given.c.cell).order_by(given.c.cell)).scalars())


@pytest.fixture
def compiled() -> dict[Any, Any]:
    """What SQLAlchemy keeps of statements that it has compiled."""
    return {}


def test_it_is_compiled_once_for_all_rows_of_the_same_types(store, compiled):
    with reading(store.execution_options(compiled_cache=compiled)) as connection:
        assert _run(connection, BigInteger(), [1]) == [1]
        assert _run(connection, BigInteger(), [3, 2]) == [2, 3]
    assert len(compiled) == 1


def test_other_types_are_another_statement(store, compiled):
    at = datetime(2026, 6, 15, 8, tzinfo=UTC)
    with reading(store.execution_options(compiled_cache=compiled)) as connection:
        assert _run(connection, Text(), ["7"]) == ["7"]
        assert _run(connection, BigInteger(), [7]) == [7]
        assert _run(connection, UtcDateTime(), [at]) == [at]
    assert len(compiled) == 3
