"""Arithmetic on instants inside SQL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from drumbeat.store.types import UtcDateTime


class shifted(FunctionElement[Any]):  # noqa: N801 - reads as an SQL function
    """`shifted(column, span)`: the instant moved by a timedelta, or by a column of whole microseconds."""

    name = "shifted"
    inherit_cache = True
    type = UtcDateTime()

    def __init__(self, instant: ColumnElement[Any], by: timedelta | ColumnElement[int]) -> None:
        span = literal(by // timedelta(microseconds=1)) if isinstance(by, timedelta) else by
        super().__init__(instant, span)


@compiles(shifted)
def _postgresql(element: shifted, compiler: SQLCompiler, **kw: Any) -> str:
    instant, span = element.clauses
    return f"({compiler.process(instant, **kw)} + {compiler.process(span, **kw)} * interval '1 microsecond')"


@compiles(shifted, "sqlite")
def _sqlite(element: shifted, compiler: SQLCompiler, **kw: Any) -> str:
    instant, span = element.clauses
    return f"({compiler.process(instant, **kw)} + {compiler.process(span, **kw)})"


class quarter_hours(FunctionElement[Any]):  # noqa: N801 - reads as an SQL function
    """`quarter_hours(column)`: the whole quarter hours from 1970-01-01 UTC to the instant, an integer.

    Every zone's days begin on one, so local days can be summed up from them in Python.
    """

    name = "quarter_hours"
    inherit_cache = True
    type = BigInteger()


@compiles(quarter_hours)
def _quarter_hours_postgresql(element: quarter_hours, compiler: SQLCompiler, **kw: Any) -> str:
    (instant,) = element.clauses
    return f"CAST(floor(extract(epoch FROM {compiler.process(instant, **kw)}) / 900) AS bigint)"


@compiles(quarter_hours, "sqlite")
def _quarter_hours_sqlite(element: quarter_hours, compiler: SQLCompiler, **kw: Any) -> str:
    (instant,) = element.clauses
    return f"({compiler.process(instant, **kw)} / 900000000)"
