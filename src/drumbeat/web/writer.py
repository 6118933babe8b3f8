"""Store what requests bring before they are answered, many in one transaction: group commit.

Each request waits for its own item to be durable; requests that arrive while one transaction is being
committed go together into the next. So a lone hit waits for nobody, and a crowd costs few commits (one
commit a hit stores 0.5k a second on PostgreSQL, batches of 1,000 store 34k).

All of it happens on the server's event loop but for the work on the store and the disk, which has one thread
each. A batch costs the loop two steps, however many requests wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from time import monotonic
from typing import NamedTuple

from sqlalchemy import Engine

from drumbeat.errors import StoreError
from drumbeat.responses.arrived import Arrived, store_arrived
from drumbeat.responses.evidence import weigh
from drumbeat.responses.kinds import Kind
from drumbeat.responses.record import BATCH, LINK, Response, record
from drumbeat.responses.suppress import unsubscribe
from drumbeat.store.engine import writing
from drumbeat.web.spill import Item, Spill

log = logging.getLogger("drumbeat.web")

PATIENCE_S = 2.0
"""Nobody waits longer than this for the database; then the item is spilled."""

QUEUE_LIMIT = 50_000
"""Items that may wait in memory; more go straight to the spill file."""

BATCH_BYTES = 16 * 2**20
"""A batch holds no more of calls' bodies than this, but for one that is larger by itself."""

RETRY_S = 1.0
"""While the database is away it is tried once in this span; what comes in between is spilled without waiting."""


class Kept(Enum):
    """Where an item is safe by the time it is answered."""

    STORED = "stored"
    SPILLED = "spilled"
    NOWHERE = "nowhere"


class _Waiting(NamedTuple):
    item: Item
    done: asyncio.Future[Kept]
    since: float


class Writer:
    """Stores what requests bring. Its methods are called on the event loop that `start` was called on."""

    def __init__(self, engine: Engine, spill: Spill) -> None:
        self._engine, self._spill = engine, spill
        self._waiting: list[_Waiting] = []
        self._store_thread = ThreadPoolExecutor(1, "drumbeat-store")
        self._spill_thread = ThreadPoolExecutor(1, "drumbeat-spill")
        self._busy = self._stuck = self._spilling = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._try_again_at = 0.0

    def start(self) -> None:
        """Begin; what an earlier server spilled is read back first."""
        self._loop = asyncio.get_running_loop()
        self._look_at_spill(self._loop)

    async def close(self) -> None:
        """Store what was given, then stop."""
        if self._tick is not None:
            self._tick.cancel()
        while self._busy or self._spilling or self._waiting:
            self._moved.clear()
            self._push()
            await self._moved.wait()
        self._store_thread.shutdown()
        self._spill_thread.shutdown()

    def keep(self, item: Item) -> asyncio.Future[Kept]:
        """Take an item over; the future says where it is durable. It never raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Kept] = loop.create_future()
        self._waiting.append(_Waiting(item, done, loop.time()))
        if len(self._waiting) > QUEUE_LIMIT:
            self._spill_waiting()
        else:
            self._push()
        return done

    def _push(self) -> None:
        """Give the store its next batch, where it is free; the disk, where the store is stuck."""
        if self._stuck:
            self._spill_waiting()
        if self._busy or not self._waiting or self._loop is None:
            return
        batch = self._next_batch()
        self._busy = True
        patience = self._loop.call_at(batch[0].since + PATIENCE_S, self._too_slow, batch)
        stored = self._loop.run_in_executor(self._store_thread, self._keep, [each.item for each in batch])
        stored.add_done_callback(partial(self._kept, batch, patience))

    def _next_batch(self) -> list[_Waiting]:
        size = 0
        for count, waiting in enumerate(self._waiting):
            size += len(waiting.item.body) if isinstance(waiting.item, Arrived) else 0
            if count == BATCH or (count and size > BATCH_BYTES):
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                return batch
        batch, self._waiting = self._waiting, []
        return batch

    def _kept(
        self, batch: list[_Waiting], patience: asyncio.TimerHandle, stored: asyncio.Future[list[Kept]]
    ) -> None:
        patience.cancel()
        self._busy = self._stuck = False
        _answer(batch, stored.result())
        self._push()
        self._moved.set()

    def _too_slow(self, batch: list[_Waiting]) -> None:
        """Let nobody wait any longer: what the store may still get is spilled as well, twice stores it once."""
        self._stuck = True
        self._waiting = [*batch, *self._waiting]
        self._spill_waiting()

    def _spill_waiting(self) -> None:
        if self._spilling or not self._waiting or self._loop is None:
            return
        batch, self._waiting = self._waiting, []
        self._spilling = True
        spilled = self._loop.run_in_executor(self._spill_thread, self._to_disk, [e.item for e in batch])
        spilled.add_done_callback(partial(self._spilled, batch))

    def _spilled(self, batch: list[_Waiting], spilled: asyncio.Future[Kept]) -> None:
        self._spilling = False
        _answer(batch, [spilled.result()] * len(batch))
        if self._stuck:
            self._spill_waiting()
        self._moved.set()

    def _look_at_spill(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once in a while read back what was spilled, where nobody waits for the store."""
        self._tick = loop.call_later(RETRY_S, self._look_at_spill, loop)
        if not self._busy:
            self._busy = True
            patience = loop.call_later(PATIENCE_S, self._too_slow, [])
            done = loop.run_in_executor(self._store_thread, self._read_back)
            done.add_done_callback(partial(self._looked, patience))

    def _looked(self, patience: asyncio.TimerHandle, done: asyncio.Future[None]) -> None:
        patience.cancel()
        done.result()
        self._busy = self._stuck = False
        self._push()
        self._moved.set()

    # What follows runs in the threads.

    def _keep(self, items: Sequence[Item]) -> list[Kept]:
        kept = self._store(items) if monotonic() >= self._try_again_at else None
        return kept if kept is not None else [self._to_disk(items)] * len(items)

    def _to_disk(self, items: Sequence[Item]) -> Kept:
        try:
            self._spill.append(items)
        except OSError as error:
            log.error(
                "cannot keep %d responses: %s; check the disk of %s", len(items), error, self._spill.folder
            )
            return Kept.NOWHERE
        return Kept.SPILLED

    def _store(self, items: Sequence[Item]) -> list[Kept] | None:
        """Store items and say where each is; None where the database is away."""
        try:
            store(self._engine, items)
        except StoreError as error:
            log.warning("responses are spilled to %s: %s", self._spill.folder, error)
            self._try_again_at = monotonic() + RETRY_S
            return None
        except Exception as error:  # noqa: BLE001 - whatever a driver says to one row, the others go on
            if len(items) == 1:
                # Neither the item nor the statement: they hold what no reader would want in a log.
                words = str(getattr(error, "orig", error)).strip().splitlines() or [type(error).__name__]
                log.error("a response cannot be stored: %s: %s", items[0].dedupe_key, words[0])
                return [Kept.NOWHERE]
            # One bad row must not take its neighbours along.
            middle = len(items) // 2
            halves = (items[:middle], items[middle:])
            return [k for half in halves for k in self._store(half) or [self._to_disk(half)] * len(half)]
        return [Kept.STORED] * len(items)

    def _read_back(self) -> None:
        """Store what was spilled, as soon as the database lets us."""
        if monotonic() < self._try_again_at:
            return
        try:
            for path in self._spill.take():
                count = 0
                for items in self._spill.read(path, BATCH):
                    kept = self._store(items)
                    if kept is None:
                        return
                    self._spill.set_aside([i for i, k in zip(items, kept, strict=True) if k is Kept.NOWHERE])
                    count += len(items)
                self._spill.forget(path)
                log.info("read %d spilled responses back", count)
        except OSError as error:
            log.error("cannot read spilled responses back: %s", error)
            self._try_again_at = monotonic() + RETRY_S


def _answer(batch: Sequence[_Waiting], kept: Sequence[Kept]) -> None:
    for waiting, where in zip(batch, kept, strict=True):
        # Cancelled where the caller hung up; done where it was spilled before the store had it.
        if not waiting.done.done():
            waiting.done.set_result(where)


def store(engine: Engine, items: Sequence[Item]) -> None:
    """Store items of every kind in one transaction: bursts are classed, unsubscribes honoured."""
    hits = [item for item in items if isinstance(item, Response)]
    plain = [hit for hit in hits if hit.kind is not Kind.UNSUBSCRIBED]
    refusals = [hit for hit in hits if hit.kind is Kind.UNSUBSCRIBED]
    with writing(engine) as connection:
        store_arrived(connection, [item for item in items if isinstance(item, Arrived)])
        if plain:
            record(connection, plain)
            weigh(connection, plain)
        if refusals:
            unsubscribe(connection, refusals, source=LINK)
