"""Store hits before they are answered, many in one transaction: group commit.

Each request waits for its own hit to be durable; requests that arrive while one transaction is being
committed go together into the next. So a lone hit waits for nobody, and a crowd costs few commits (one
commit a hit stores 0.5k a second on PostgreSQL, batches of 1,000 store 34k).
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Sequence
from concurrent.futures import Future
from enum import Enum
from threading import Thread
from time import monotonic
from typing import NamedTuple

from sqlalchemy import Engine

from drumbeat.errors import StoreError
from drumbeat.responses.kinds import Kind
from drumbeat.responses.machines import mark_bursts
from drumbeat.responses.record import BATCH, Response, record
from drumbeat.responses.suppress import unsubscribe
from drumbeat.store.engine import writing
from drumbeat.web.spill import Spill

log = logging.getLogger("drumbeat.web")

QUEUE_LIMIT = 50_000
"""Hits that may wait in memory; more go straight to the spill file."""

RETRY_S = 1.0
"""While the database is away it is tried once in this span; hits in between are spilled without waiting."""


class Kept(Enum):
    """Where a hit is safe by the time it is answered."""

    STORED = "stored"
    SPILLED = "spilled"
    NOWHERE = "nowhere"


class _Waiting(NamedTuple):
    hit: Response
    done: Future[Kept]


class Writer:
    """One thread that stores what requests bring. `start` it, `close` it; `submit` from any thread."""

    def __init__(self, engine: Engine, spill: Spill) -> None:
        self._engine = engine
        self._spill = spill
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(QUEUE_LIMIT)
        self._thread = Thread(target=self._run, name="drumbeat-responses", daemon=True)
        self._try_again_at = 0.0

    def start(self) -> None:
        """Begin; what an earlier server spilled is read back first."""
        self._thread.start()

    def close(self) -> None:
        """Store what was submitted, then stop."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, hit: Response) -> Future[Kept]:
        """Hand a hit over; the result says where it was kept. Never raises, nor does the result."""
        done: Future[Kept] = Future()
        try:
            self._queue.put_nowait(_Waiting(hit, done))
        except queue.Full:
            done.set_result(self.spill([hit]))
        return done

    def spill(self, hits: Sequence[Response]) -> Kept:
        """Write hits to the spill file; safe to do for hits that may be stored as well."""
        try:
            self._spill.append(hits)
        except OSError as error:
            log.error(
                "cannot keep %d responses: %s; check the disk of %s", len(hits), error, self._spill.folder
            )
            return Kept.NOWHERE
        return Kept.SPILLED

    def _run(self) -> None:
        self._read_back()
        while True:
            try:
                first = self._queue.get(timeout=RETRY_S)
            except queue.Empty:
                self._read_back()
                continue
            batch, stop = self._collect(first)
            if batch:
                self._keep(batch)
            if stop:
                return

    def _collect(self, first: _Waiting | None) -> tuple[list[_Waiting], bool]:
        """Return what waits right now, up to BATCH, and whether to stop after it."""
        batch: list[_Waiting] = []
        entry = first
        while entry is not None:
            batch.append(entry)
            if len(batch) == BATCH:
                return batch, False
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _keep(self, batch: Sequence[_Waiting]) -> None:
        hits = [waiting.hit for waiting in batch]
        kept = self._store(hits) if monotonic() >= self._try_again_at else None
        if kept is None:
            kept = [self.spill(hits)] * len(hits)
        for waiting, where in zip(batch, kept, strict=True):
            waiting.done.set_result(where)
        if Kept.STORED in kept:
            self._read_back()

    def _store(self, hits: Sequence[Response]) -> list[Kept] | None:
        """Store hits and say where each is; None where the database is away."""
        try:
            store(self._engine, hits)
        except StoreError as error:
            log.warning("responses are spilled to %s: %s", self._spill.folder, error)
            self._try_again_at = monotonic() + RETRY_S
            return None
        except Exception:
            if len(hits) == 1:
                log.exception("a response cannot be stored and is kept nowhere: %r", hits[0])
                return [Kept.NOWHERE]
            # One bad row must not take its neighbours along.
            return [where for hit in hits for where in self._store([hit]) or [self.spill([hit])]]
        return [Kept.STORED] * len(hits)

    def _read_back(self) -> None:
        """Store what was spilled, as soon as the database lets us."""
        if monotonic() < self._try_again_at:
            return
        try:
            for path in self._spill.take():
                hits = self._spill.read(path)
                for start in range(0, len(hits), BATCH):
                    if self._store(hits[start : start + BATCH]) is None:
                        return
                self._spill.forget(path)
                log.info("read %d spilled responses back", len(hits))
        except OSError as error:
            log.error("cannot read spilled responses back: %s", error)
            self._try_again_at = monotonic() + RETRY_S


def store(engine: Engine, hits: Sequence[Response]) -> None:
    """Store hits of every kind in one transaction: bursts are classed, unsubscribes honoured."""
    plain = [hit for hit in hits if hit.kind is not Kind.UNSUBSCRIBED]
    refusals = [hit for hit in hits if hit.kind is Kind.UNSUBSCRIBED]
    with writing(engine) as connection:
        if plain:
            record(connection, plain)
            mark_bursts(connection, plain)
        if refusals:
            unsubscribe(connection, refusals, source="link")
