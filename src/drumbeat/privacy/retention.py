"""Retention: what is over its time goes, in short transactions and flat memory; figures of reports stay the same.

Runs once a day as part of `collect`, and by hand as `drumbeat retention`. What it did is a row of `runs` of the kind
`retention`, and an entry of the audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Select, func, insert, select

from drumbeat.clock import format_duration, zone
from drumbeat.errors import UsageError
from drumbeat.privacy.erase import Terms, erase
from drumbeat.privacy.late import look, sweep
from drumbeat.privacy.progress import Busy
from drumbeat.privacy.rules import PARTS
from drumbeat.privacy.silent import inactive, made_by_sign_up
from drumbeat.project.privacy import Retention
from drumbeat.store.audit import note
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import runs

BATCH = 1_000
"""Rows in one transaction: on SQLite nobody else writes meanwhile (30 ms on a busy machine with two cores)."""

MOST_A_RUN, AT_ONCE = 5_000, 250
"""Customers that are made anonymous in one run, the rest on the next days: each is a transaction of its own."""

KIND = "retention"
ERASED = "erased"
"""The name of the rule that has no period: what came in about people who were erased."""

Progress = Callable[[int], None]


@dataclass
class Outcome:
    """What a rule did or would do. `before`: older than that; None: it keeps everything. `left`: in use just now."""

    rule: str
    period: timedelta | None
    before: datetime | None
    rows: int = 0
    left: int = 0

    @property
    def kept_for(self) -> str:
        """Return the period in words."""
        if self.rule == ERASED:
            return "not at all"
        return "for ever" if self.period is None else format_duration(self.period)

    def as_json(self) -> dict[str, Any]:
        """Return it in the shape of docs/commands.md."""
        period = None if self.period is None else self.period.total_seconds()
        before = None if self.before is None else self.before.isoformat()
        return {"rule": self.rule, "kept_for": period, "before": before, "rows": self.rows, "left": self.left}


@dataclass
class Result:
    """What retention did at `at`, rule by rule."""

    at: datetime
    dry_run: bool
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many rows were emptied or deleted, and customers made anonymous."""
        return sum(outcome.rows for outcome in self.outcomes)

    def figures(self) -> dict[str, int]:
        """Return the rows by rule."""
        return {outcome.rule: outcome.rows for outcome in self.outcomes}


def due(engine: Engine, at: datetime, time_zone: str) -> bool:
    """Say whether retention did not run yet on the local day of `at`."""
    with reading(engine) as connection:
        # One by hand, as of a later time, is no reason to leave it out until then.
        ran = select(func.max(runs.c.as_of)).where(runs.c.kind == KIND, runs.c.as_of <= at)
        last = connection.execute(ran).scalar()
    where = zone(time_zone)
    return last is None or last.astimezone(where).date() < at.astimezone(where).date()


def retain(
    engine: Engine,
    settings: Retention,
    terms: Terms,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Remove what is over its time at `terms.at`; with `dry_run`, only count it.

    Raises StoreError; what is done by then is done, and the next run goes on from there.
    """
    run = _Run(engine, terms, dry_run=dry_run, progress=progress or (lambda _rows: None))
    for rule in PARTS:
        run.rule(rule, getattr(settings, rule))
    run.late()
    if not dry_run:
        run.write_down()
    return run.result


class _RollBack(Exception):  # noqa: N818 - not an error: the way out of a dry run's transaction
    pass


class _Run:
    """One run of all rules."""

    def __init__(self, engine: Engine, terms: Terms, *, dry_run: bool, progress: Progress) -> None:
        self._engine, self._progress = engine, progress
        self._terms = replace(terms, action=None, remember=False, thorough=False)
        self._at, self._dry_run = terms.at, dry_run
        self._memory = _memory(engine)
        self._done_before: dict[str, str] = {}
        self._seen: Mapping[str, int] = self._memory.get("seen", {})
        self.result = Result(terms.at, dry_run)

    def rule(self, name: str, period: timedelta | None) -> None:
        outcome = Outcome(name, period, None if period is None else self._at - period)
        self.result.outcomes.append(outcome)
        if outcome.before is None:
            return
        before, done = outcome.before, self._done(name, outcome.before)
        for part in PARTS[name]:
            if self._dry_run:
                with reading(self._engine) as connection:
                    outcome.rows += part.count(connection, before, done)
                continue
            last = 0
            while True:
                with writing(self._engine) as connection:
                    ids = part.do(connection, before, done, last, BATCH)
                if not ids:
                    break
                last = ids[-1]
                self._counted(outcome, len(ids))
        if name == "unconfirmed":
            self._anonymous(outcome, made_by_sign_up)
        if name == "inactive_customers":
            self._anonymous(outcome, lambda after: inactive(before, after))
        self._done_before[name] = before.isoformat()

    def _done(self, name: str, before: datetime) -> datetime | None:
        """Return up to which instant the last run has done a rule's work; None where that says nothing now."""
        text = self._memory.get("before", {}).get(name)
        done = datetime.fromisoformat(text) if text else None
        return done if done is not None and done <= before else None

    def _anonymous(self, outcome: Outcome, whom: Callable[[int], Select[tuple[int]]]) -> None:
        """Make customers anonymous, one in a transaction; one with a message on its way is left for the next run."""
        last, most = 0, outcome.rows + MOST_A_RUN
        while self._dry_run or outcome.rows < most:
            with reading(self._engine) as connection:
                ids: Sequence[int] = connection.execute(whom(last).limit(AT_ONCE)).scalars().all()
            if not ids:
                return
            last = ids[-1]
            if self._dry_run:
                outcome.rows += len(ids)
                continue
            for customer_id in ids:
                try:
                    erase(self._engine, customer_id, self._terms, wait_s=0)
                except (Busy, UsageError):  # merged away, or in use
                    outcome.left += 1
                else:
                    self._counted(outcome, 1)

    def late(self) -> None:
        """Empty what came in about erased people."""
        outcome = Outcome(ERASED, None, self._at)
        self.result.outcomes.append(outcome)
        with reading(self._engine) as connection:
            found = look(connection, self._terms.erased, self._seen)
        if self._dry_run:
            with suppress(_RollBack), writing(self._engine) as connection:
                outcome.rows = sweep(connection, found)
                raise _RollBack
            return
        with writing(self._engine) as connection:
            self._counted(outcome, sweep(connection, found))
        self._seen = found.seen

    def _counted(self, outcome: Outcome, rows: int) -> None:
        outcome.rows += rows
        self._progress(self.result.total)

    def write_down(self) -> None:
        """Leave a row of `runs`, and an entry of the audit log where anything went."""
        figures = self.result.figures()
        summary = {"rows": figures, "before": self._done_before, "seen": dict(self._seen)}
        with writing(self._engine) as connection:
            connection.execute(
                insert(runs).values(
                    kind=KIND, as_of=self._at, started_at=self._at, finished_at=self._at, summary=summary
                )
            )
            went = {rule: rows for rule, rows in figures.items() if rows}
            if went:
                note(connection, self._at, self._terms.actor, KIND, None, went)


def _memory(engine: Engine) -> dict[str, Any]:
    """Return what the last run wrote down."""
    with reading(engine) as connection:
        summary = connection.execute(
            select(runs.c.summary).where(runs.c.kind == KIND).order_by(runs.c.id.desc()).limit(1)
        ).scalar()
    return dict(summary or {})
