"""What a trigger kind is. The kinds themselves live in the project's `triggers/` folder, one a file.

A kind is a frozen pydantic model: its fields are the parameters a marketer writes under `trigger:`, its
`select` compiles them to ONE SELECT. `triggers/__init__.py` of the project lists the kinds by hand:

    KINDS = {kind.kind: kind for kind in (AbandonedCart, ExpiringPromo, Anniversary, Schedule)}

`sa` (sqlalchemy), `tables` (drumbeat.store.tables) and `dialect` helpers are given here lazily: checking a
project must not pay for importing SQLAlchemy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from drumbeat.clock import format_duration, parse_duration
from drumbeat.errors import UsageError
from drumbeat.lazy import lazy_module

if TYPE_CHECKING:
    import sqlalchemy as sa

    from drumbeat.store import tables
    from drumbeat.store.dialect import time as sql_time
else:
    sa = lazy_module("sqlalchemy")
    tables = lazy_module("drumbeat.store.tables")
    sql_time = lazy_module("drumbeat.store.dialect.time")

__all__ = ["COLUMNS", "Duration", "Moment", "Subject", "Trigger", "sa", "sql_time", "tables"]

COLUMNS = ("customer_id", "occasion", "subject_id", "due_at", "expires_at")
"""The columns of every trigger's SELECT, in this order: BIGINT, TEXT, BIGINT or NULL, instant, instant or NULL."""


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
    raise ValueError(f"cannot read {value!r} as a duration; expected a number with s, m, h, d or w, such as 4h")


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\s*\d+\s*[smhdw])+\s*$", "examples": ["30m", "4h", "3d", "2w"]}),
]
"""A span of time as a marketer writes it: `30m`, `4h`, `3d`, `1d12h`. A day is 24 hours."""


@dataclass(frozen=True)
class Moment:
    """The time at which triggers are evaluated, and the zones there are.

    `as_of`: aware, UTC. `time_zone`: the project's, for customers without one. `zones`: every distinct
    `customers.time_zone` in the store (never NULL); with them local dates are worked out in Python, one
    row a zone, and joined.
    """

    as_of: datetime
    time_zone: str
    zones: tuple[str, ...] = ()


class Subject(NamedTuple):
    """One occasion whose context a mail needs."""

    customer_id: int
    occasion: str
    subject_id: int | None


class Trigger(BaseModel):
    """Base of every trigger kind: parameters are fields, the rule is `select`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]

    @abstractmethod
    def select(self, moment: Moment) -> sa.Select[Any]:
        """Return the SELECT of every occasion that is due at `moment.as_of`.

        Columns: COLUMNS. (customer_id, occasion) must be unique in the result. No `now()` in SQL: bind
        `moment.as_of`. `due_at` is at or before `as_of`; a mail that cannot go out before `expires_at` is dropped.
        """

    def context(self, connection: sa.Connection, subjects: Sequence[Subject]) -> dict[Subject, dict[str, Any]]:
        """Return what templates may use of each subject, for the whole batch in one query. Default: nothing."""
        del connection
        return {subject: {} for subject in subjects}
