"""Work on what arrived: read it, store the facts, do what follows. Any number of workers may do it at once.

    new ──▶ done      its effects and the mark are one transaction: a crash repeats it, harmlessly
     └────▶ failed    it could not be read; it stays, with the error, for a person (`drumbeat inbox`)

A row whose provider wants something done beside its events (SNS: confirm the subscription) is `new` until that
worked, with `worked_at` set: its effects are stored already. So is one that names a message only by an id that
the ledger does not know yet.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from time import monotonic
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, func, or_, select, update
from sqlalchemy.exc import DBAPIError, OperationalError

from drumbeat.clock import Clock
from drumbeat.errors import InputError, StoreError, UsageError
from drumbeat.rendering.links import Links
from drumbeat.responses.arrived import MAIL, Arrived
from drumbeat.responses.arrived import store_mail as store_mail
from drumbeat.responses.events import Applied, Telling, apply
from drumbeat.responses.machines import Machines
from drumbeat.responses.told import clean
from drumbeat.responses.webhooks import Event, Webhook
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import inbox

log = logging.getLogger("drumbeat.responses")

NEW, DONE, FAILED = "new", "done", "failed"

BATCH = 100
"""Rows in one transaction, at most."""

BATCH_BYTES = 16 * 2**20
"""Bodies in memory at a time, but for one that is larger by itself."""

READ_FOR_S = 0.02
"""A transaction takes on no more rows after this: on SQLite nobody else writes meanwhile."""

AGAIN_AFTER = timedelta(seconds=30)
"""A row that waits for something outside is tried again after this."""

PATIENCE = timedelta(minutes=15)
"""So long a row waits for its message's id, or for its provider to take what it asked for."""


@dataclass
class Worked:
    """What was done. `kinds`: of the responses that were told, by number; `more`: rows may be left."""

    done: int = 0
    failed: int = 0
    waiting: int = 0
    stored: int = 0
    suppressed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    more: bool = False

    def add(self, applied: Applied) -> None:
        """Count what came of events."""
        self.stored += applied.stored
        self.suppressed += applied.suppressed
        self.kinds.update(applied.kinds)


@dataclass(frozen=True)
class Desk:
    """What work needs beside the rows. Rows of providers that are not in `webhooks` are left alone."""

    links: Links
    clock: Clock
    webhooks: Mapping[str, Webhook] = field(default_factory=dict)
    machines: Machines | None = None
    soft_bounces: int = 5

    def read(self, arrived: Arrived) -> Sequence[Event]:
        """Read one thing that arrived. Raises InputError where it cannot be read."""
        if arrived.source == MAIL:
            from drumbeat.responses.bounces import read_mail

            return read_mail(arrived.body, arrived.received_at)
        return self.webhooks[arrived.source].events(arrived.as_call())


class _Taken(NamedTuple):
    """A row that is being worked on, with what it tells, or why that cannot be read."""

    id: int
    arrived: Arrived
    events: Sequence[Event] = ()
    error: str | None = None
    waits: bool = False
    """It names a message only by an id that may be known in a moment."""


def work(engine: Engine, desk: Desk, *, limit: int | None = None) -> Worked:
    """Work on new rows until there are none, or on `limit`. Raises StoreError; what is done by then is done.

    One bad row never stops the others.
    """
    worked = Worked()
    while True:
        seen = worked.done + worked.failed + worked.waiting
        if limit is not None and seen >= limit:
            worked.more = True
            return worked
        if _batch(engine, desk, BATCH if limit is None else min(BATCH, limit - seen), worked) == 0:
            return worked


def waiting(engine: Engine) -> dict[str, int]:
    """Return how many rows are new and how many failed."""
    with reading(engine) as connection:
        counted = connection.execute(
            select(inbox.c.state, func.count()).where(inbox.c.state != DONE).group_by(inbox.c.state)
        )
        return {NEW: 0, FAILED: 0, **dict(counted.tuples().all())}


class Failed(NamedTuple):
    """A row that could not be read, for a person."""

    id: int
    source: str
    received_at: datetime
    attempts: int
    error: str | None


def failed(engine: Engine, *, limit: int = 100) -> list[Failed]:
    """Return the rows that failed, the latest first, at most `limit`."""
    columns = [inbox.c[name] for name in Failed._fields]
    with reading(engine) as connection:
        rows = connection.execute(
            select(*columns).where(inbox.c.state == FAILED).order_by(inbox.c.id.desc()).limit(limit)
        )
        return [Failed(*row) for row in rows]


def row_of(engine: Engine, row_id: int) -> tuple[str, str | None, Arrived]:
    """Return a row's state, its error and what arrived. Raises UsageError where there is none."""
    with reading(engine) as connection:
        row = connection.execute(select(inbox).where(inbox.c.id == row_id)).first()
    if row is None:
        raise UsageError(f"the inbox has no row {row_id}; `drumbeat inbox` lists those that failed")
    return (
        row.state,
        row.error,
        Arrived(row.source, row.dedupe_key, row.received_at, bytes(row.body), row.headers),
    )


def retry(engine: Engine, ids: Sequence[int] = ()) -> int:
    """Make failed rows new again: those of `ids`, without ids all; return how many."""
    again = update(inbox).where(inbox.c.state == FAILED)
    if ids:
        again = again.where(inbox.c.id.in_(ids))
    with writing(engine) as connection:
        done = connection.execute(again.values(state=NEW, worked_at=None, error=None).returning(inbox.c.id))
        return len(done.all())


def _batch(engine: Engine, desk: Desk, most: int, worked: Worked) -> int:
    """Work on one transaction's rows; return how many."""
    with writing(engine) as connection:
        taken = _take(connection, desk, most)
        if not taken:
            return 0
        now = desk.clock.now()
        taken = _apply_all(connection, desk, taken, now, worked)
        # A call that tells nothing asks for something, such as to confirm a subscription.
        asking = [row for row in taken if not row.events and not row.error and row.arrived.source != MAIL]
        pending = {row.id for row in taken if row.waits} | {row.id for row in asking}
        _mark(connection, DONE, [r.id for r in taken if not r.error and r.id not in pending], now)
        _mark(connection, NEW, sorted(pending), now)
        for row in taken:
            if row.error:
                _mark(connection, FAILED, [row.id], now, row.error)
    worked.failed += sum(row.error is not None for row in taken)
    worked.waiting += sum(row.waits for row in taken)
    worked.done += sum(row.error is None and row.id not in pending for row in taken)
    for row in taken:
        if not row.error and not row.waits and row.arrived.source != MAIL:
            _follow_up(engine, desk, row, worked, asking=row.id in pending)
    return len(taken)


def _take(connection: Connection, desk: Desk, most: int) -> list[_Taken]:
    """Lock rows that no other worker has, and read them, but no longer than READ_FOR_S."""
    due = or_(inbox.c.worked_at.is_(None), inbox.c.worked_at <= desk.clock.now() - AGAIN_AFTER)
    sizes = connection.execute(
        select(inbox.c.id, func.length(inbox.c.body).label("size"))
        .where(inbox.c.state == NEW, inbox.c.source.in_([MAIL, *desk.webhooks]), due)
        .order_by(inbox.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    total = accumulate(row.size for row in sizes)
    ids = [row.id for row, size in zip(sizes, total, strict=True) if size <= BATCH_BYTES] or [
        row.id for row in sizes[:1]
    ]
    taken = []
    until = monotonic() + READ_FOR_S
    for row in connection.execute(select(inbox).where(inbox.c.id.in_(ids)).order_by(inbox.c.id)):
        taken.append(_read(desk, row))
        if monotonic() > until:
            break
    return taken


def _read(desk: Desk, row: Row[Any]) -> _Taken:
    arrived = Arrived(row.source, row.dedupe_key, row.received_at, bytes(row.body), row.headers)
    try:
        return _Taken(row.id, arrived, events=tuple(desk.read(arrived)))
    except InputError as error:
        return _Taken(row.id, arrived, error=clean(str(error)))
    except Exception as error:
        log.exception("inbox row %d cannot be read", row.id)
        return _Taken(row.id, arrived, error=_fault(error))


def _apply_all(
    connection: Connection, desk: Desk, taken: Sequence[_Taken], now: datetime, worked: Worked
) -> list[_Taken]:
    """Apply the rows' events together; where that cannot be done, row by row, and the bad ones are left out."""
    readable = [row for row in taken if row.events]
    others = [row for row in taken if not row.events]
    try:
        return [*_apply(connection, desk, readable, now, worked), *others]
    except StoreError:
        raise
    except Exception as error:
        if _away(error):
            raise
        if len(readable) == 1:
            log.exception("inbox row %d cannot be worked on", readable[0].id)
            return [readable[0]._replace(error=_fault(error)), *others]
    return [row for one in readable for row in _apply_all(connection, desk, [one], now, worked)] + others


def _apply(
    connection: Connection, desk: Desk, rows: Sequence[_Taken], now: datetime, worked: Worked
) -> list[_Taken]:
    if not rows:
        return []
    places = [(row, event) for row in rows for event in row.events]
    with connection.begin_nested():
        applied = apply(
            connection,
            desk.links,
            [Telling(row.arrived.source, event) for row, event in places],
            at=now,
            soft_bounces=desk.soft_bounces,
            machines=desk.machines,
            patient=[p for p, (row, _) in enumerate(places) if now - row.arrived.received_at < PATIENCE],
        )
    worked.add(applied)
    waits = {places[place][0].id for place in applied.unmatched}
    return [row._replace(waits=row.id in waits) for row in rows]


def _follow_up(engine: Engine, desk: Desk, row: _Taken, worked: Worked, *, asking: bool) -> None:
    """Do what the provider asked for; where that fails it is tried again, for as long as PATIENCE.

    `asking`: the row is not done before that worked. A call with events is; what it wants besides is tried once.
    """
    try:
        desk.webhooks[row.arrived.source].follow_up(row.arrived.as_call())
        state, error = DONE, None
    except Exception as fault:  # noqa: BLE001 - the network, or whatever a provider's answer does to us
        error = clean(f"what {row.arrived.source} asked for did not work: {fault}")
        state = FAILED if desk.clock.now() - row.arrived.received_at >= PATIENCE else NEW
        log.warning("inbox row %d: %s", row.id, error)
    if asking:
        with writing(engine) as connection:
            _mark(connection, state, [row.id], desk.clock.now(), error)
        worked.done += state is DONE
        worked.failed += state is FAILED
        worked.waiting += state is NEW


def _mark(
    connection: Connection, state: str, ids: Sequence[int], now: datetime, error: str | None = None
) -> None:
    if ids:
        connection.execute(
            update(inbox)
            .where(inbox.c.id.in_(ids))
            .values(state=state, worked_at=now, attempts=inbox.c.attempts + 1, error=error)
        )


def _away(error: Exception) -> bool:
    """Say whether the database as a whole is the trouble, and not what one row holds."""
    return isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def _fault(error: Exception) -> str:
    words = str(getattr(error, "orig", error)).strip().splitlines() or [""]
    return clean(f"a fault in Drumbeat: {type(error).__name__}: {words[0]}")
