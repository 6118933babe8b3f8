"""What a trigger kind is. The kinds themselves live in the project's `triggers/` folder, one a file.

A kind is a frozen pydantic model: its fields are the parameters a marketer writes under `trigger:`, its
`select` compiles them to ONE SELECT. `triggers/__init__.py` of the project lists the kinds by hand:

    KINDS = {kind.kind: kind for kind in (AbandonedCart, ExpiringPromo, Anniversary, Schedule)}

`sa` (sqlalchemy), `tables`, `types` (of drumbeat.store) and the dialect helpers `sql_*` are
given here lazily: checking a project must not pay for importing SQLAlchemy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict

from drumbeat.lazy import lazy_module
from drumbeat.settings import Duration

if TYPE_CHECKING:
    import sqlalchemy as sa

    from drumbeat.store import tables, types
    from drumbeat.store.dialect import json as sql_json
    from drumbeat.store.dialect import rows as sql_rows
    from drumbeat.store.dialect import time as sql_time
else:
    sa = lazy_module("sqlalchemy")
    tables = lazy_module("drumbeat.store.tables")
    types = lazy_module("drumbeat.store.types")
    sql_json = lazy_module("drumbeat.store.dialect.json")
    sql_rows = lazy_module("drumbeat.store.dialect.rows")
    sql_time = lazy_module("drumbeat.store.dialect.time")

__all__ = [
    "COLUMNS",
    "Duration",
    "Finding",
    "Moment",
    "Subject",
    "ToConfirm",
    "Trigger",
    "sa",
    "sql_json",
    "sql_rows",
    "sql_time",
    "tables",
    "types",
]

COLUMNS = ("customer_id", "occasion", "subject_id", "due_at", "expires_at")
"""The columns of every trigger's SELECT, in order: BIGINT, TEXT, BIGINT or NULL, instant, instant or NULL."""


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


class ToConfirm(NamedTuple):
    """Stands in a context for the link that confirms an opt-in: whoever writes the mail has the key to sign it."""

    opt_in_id: int


class Finding(NamedTuple):
    """One clause of a rule for one customer: what it asks and what was found, and whether it is met."""

    text: str
    met: bool


class Trigger(BaseModel):
    """Base of every trigger kind: parameters are fields, the rule is `select`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
    kind: ClassVar[str]
    gives: ClassVar[tuple[str, ...] | None] = None
    """The names that `context` gives to templates; None: not said, and then no campaign is checked for it."""

    @abstractmethod
    def select(self, moment: Moment) -> sa.Select[Any]:
        """Return the SELECT of every occasion that is due at `moment.as_of`.

        Columns: COLUMNS. (customer_id, occasion) must be unique in the result. No `now()` in SQL: bind
        `moment.as_of`. `due_at` is at or before `as_of`; a mail that cannot go out before `expires_at` is
        dropped.
        """

    def context(
        self, connection: sa.Connection, subjects: Sequence[Subject], moment: Moment | None = None
    ) -> dict[Subject, dict[str, Any]]:
        """Return what templates may use of each subject, for the whole batch in one query. Default: nothing.

        `moment` is when the mails are made, for what is said relative to it ("two days left"), with the
        project's zone; its `zones` are not needed here. A subject that is gone from the store gets {}.
        """
        del connection, moment
        return {subject: {} for subject in subjects}

    def findings(self, connection: sa.Connection, customer_id: int, moment: Moment) -> list[Finding]:
        """Return the clauses of the rule for one customer, for `drumbeat explain`. Default: none.

        Only asked when `select` gives no occasion for the customer: it tells which clause kept it away.
        """
        del connection, customer_id, moment
        return []
