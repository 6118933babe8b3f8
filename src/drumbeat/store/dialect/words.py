"""Looking for text inside text, by exact characters: LIKE ignores the case on SQLite and has wildcards."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, func, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement


class _Contains(FunctionElement[bool]):
    name = "contains_text"
    inherit_cache = True
    type = Boolean()


def contains(text: ColumnElement[Any], wanted: str) -> ColumnElement[bool]:
    """Return whether `wanted` stands in the text; NULL where the text is."""
    return _Contains(text, literal(wanted))


def starts_with(text: ColumnElement[Any], wanted: str) -> ColumnElement[bool]:
    """Return whether the text begins with `wanted`; NULL where the text is NULL."""
    # Both databases count characters as Python does: by code points.
    return func.substr(text, 1, len(wanted)) == wanted


@compiles(_Contains)
def _postgresql(element: _Contains, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(strpos({compiler.process(element.clauses, **kw)}) > 0)"


@compiles(_Contains, "sqlite")
def _sqlite(element: _Contains, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(instr({compiler.process(element.clauses, **kw)}) > 0)"


class domain_of(FunctionElement[str]):  # noqa: N801 - reads as an SQL function
    """`domain_of(column)`: what stands behind the address's @; NULL where the column is."""

    name = "domain_of"
    inherit_cache = True
    type = Text()


@compiles(domain_of)
def _domain_postgresql(element: domain_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"split_part({compiler.process(element.clauses, **kw)}, '@', 2)"


@compiles(domain_of, "sqlite")
def _domain_sqlite(element: domain_of, compiler: SQLCompiler, **kw: Any) -> str:
    address = compiler.process(element.clauses, **kw)
    return f"substr({address}, instr({address}, '@') + 1)"
