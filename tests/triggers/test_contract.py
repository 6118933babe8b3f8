"""The contract check finds each breach, and the kind that the manual shows passes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from drumbeat.project.kinds import trigger_kinds
from drumbeat.store.tables import customers
from drumbeat.store.types import UtcDateTime
from drumbeat.triggers import COLUMNS, Moment, Trigger
from drumbeat.triggers.contract import check_trigger

AS_OF = datetime(2011, 12, 5, 9, tzinfo=UTC)
MOMENT = Moment(AS_OF, "Europe/London")
HOUR = timedelta(hours=1)


class Fixed(Trigger):
    """Everyone, with whatever a test puts into the columns."""

    kind: ClassVar[str] = "fixed"
    columns: ClassVar[dict[str, Any]] = {}
    context_gives: ClassVar[Any] = None

    def select(self, moment: Moment) -> Any:
        """Return the columns as told."""
        plain = {
            "customer_id": customers.c.id,
            "occasion": sa.literal("once"),
            "subject_id": sa.cast(sa.null(), sa.BigInteger),
            "due_at": sa.literal(moment.as_of - HOUR, UtcDateTime()),
            "expires_at": sa.literal(moment.as_of + HOUR, UtcDateTime()),
        }
        return sa.select(*(v.label(k) for k, v in {**plain, **self.columns}.items()))

    def context(self, connection: Any, subjects: Any, moment: Moment | None = None) -> Any:
        """Return what the test says, else what every trigger does."""
        given = type(self).context_gives
        return super().context(connection, subjects, moment) if given is None else given


def _instant(at: datetime) -> Any:
    return sa.literal(at, UtcDateTime())


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({}, None),
        ({"expires_at": sa.cast(sa.null(), UtcDateTime())}, None),
        (
            {"extra": sa.literal(1)},
            f"the columns are {', '.join(COLUMNS)}, extra; expected {', '.join(COLUMNS)}",
        ),
        ({"customer_id": customers.c.id * 0 + 1}, "an occasion is not unique: customer 1, occasion 'once'"),
        ({"occasion": sa.literal("")}, "customer_id or occasion is empty: customer"),
        ({"occasion": sa.cast(sa.null(), sa.Text)}, "customer_id or occasion is empty: customer"),
        ({"due_at": _instant(AS_OF + timedelta(microseconds=1))}, "due_at is after as_of: customer"),
        ({"due_at": sa.literal("2011-12-05")}, "due_at is '2011-12-05', not an aware instant"),
        ({"due_at": sa.cast(sa.null(), UtcDateTime())}, "due_at is None, not an aware instant"),
        ({"expires_at": _instant(AS_OF - HOUR)}, "expires_at is not after due_at: customer"),
        ({"expires_at": _instant(AS_OF)}, "expires_at is not after as_of: the occasion is over: customer"),
    ],
)
def test_each_breach_is_told(
    load: Callable[[Any], None], case_store: Engine, columns: dict[str, Any], fault: str | None
) -> None:
    """One sentence each; a sound trigger has none."""
    load({"customers": [{"id": "ann"}, {"id": "bob"}]})

    class Broken(Fixed):
        pass

    Broken.columns = columns
    found = check_trigger(Broken(), MOMENT, case_store)
    assert found == [] if fault is None else any(one.startswith(fault) for one in found), found


def test_a_context_that_leaves_subjects_out_is_told(load: Callable[[Any], None], case_store: Engine) -> None:
    """A mail without its context would fail when it is made."""
    load({"customers": [{"id": "ann"}]})

    class Silent(Fixed):
        context_gives: ClassVar[Any] = {}

    assert check_trigger(Silent(), MOMENT, case_store) == ["context leaves out 1 subjects, such as 'once'"]


def test_a_trigger_that_asks_the_clock_is_told(load: Callable[[Any], None], case_store: Engine) -> None:
    """Two answers at one moment would make two plans of it."""
    load({"customers": [{"id": "ann"}]})
    answers = iter(range(9))

    class Restless(Fixed):
        def select(self, moment: Moment) -> Any:
            type(self).columns = {"occasion": sa.literal(f"at:{next(answers)}")}
            return super().select(moment)

    assert check_trigger(Restless(), MOMENT, case_store) == [
        "asked twice at one moment, it gives two answers; use nothing but the store and `moment`"
    ]


def test_the_kind_that_the_manual_shows_keeps_the_contract(
    project_root: Path, tmp_path: Path, load: Callable[[Any], None], case_store: Engine
) -> None:
    """Who copies it starts from something that works."""
    manual = (project_root / "docs/triggers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# triggers/back_in_stock.py\n.*?)```", manual, re.DOTALL)
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers/back_in_stock.py").write_text(code, encoding="utf-8")
    (tmp_path / "triggers/__init__.py").write_text(
        "from .back_in_stock import BackInStock\nKINDS = {BackInStock.kind: BackInStock}\n", encoding="utf-8"
    )
    load({"events": [{"customer": "ann", "name": "back_in_stock", "at": "2011-12-05T08:00:00Z"}]})
    trigger = trigger_kinds(tmp_path)["back_in_stock"]()
    assert check_trigger(trigger, MOMENT, case_store) == []
    with case_store.connect() as connection:
        assert len(connection.execute(trigger.select(MOMENT)).all()) == 1
