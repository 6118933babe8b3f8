"""A JSON object made inside SQL, to be stored in a JSON column."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from drumbeat.store.types import Json


class _Object(FunctionElement[Any]):
    name = "drumbeat_object"
    inherit_cache = True
    type = Json


def json_object(**values: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return an object with the given entries; a NULL is JSON null in it. Values: text or numbers."""
    return _Object(*(part for name, value in values.items() for part in (literal(name), value)))


@compiles(_Object)
def _postgresql(element: _Object, compiler: SQLCompiler, **kw: Any) -> str:
    parts = list(element.clauses)
    written = [
        # jsonb_build_object cannot tell the type of a bare parameter.
        f"CAST({compiler.process(part, **kw)} AS text)" if number % 2 == 0 else compiler.process(part, **kw)
        for number, part in enumerate(parts)
    ]
    return f"jsonb_build_object({', '.join(written)})"


@compiles(_Object, "sqlite")
def _sqlite(element: _Object, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_object({compiler.process(element.clauses, **kw)})"
