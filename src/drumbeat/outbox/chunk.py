"""A chunk: some messages marked in one commit, handed over by one call of the backend, recorded in another commit.

How the life of one message reads here: write · mark (store) · begin (journal) · content leaves · end (journal) ·
record (store). Killed anywhere, the journal tells the next start what is certain; see outbox.journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from drumbeat.clock import Clock
from drumbeat.delivery import Answer, Backend, Outcome, Parcel
from drumbeat.errors import RenderError, StoreError
from drumbeat.ledger.cap import CapRule
from drumbeat.ledger.handover import Wanted, begin, check_again
from drumbeat.ledger.states import Reason, State
from drumbeat.outbox.batch import Item
from drumbeat.outbox.journal import Journal
from drumbeat.outbox.record import Ended, not_rendered, record

FRESH = timedelta(seconds=1)
"""A message whose content leaves later than this after its chunk was marked is judged once more by itself."""

STILL_ELIGIBLE = timedelta(minutes=1)
"""Later than this, trigger, segment and window are looked at again too: the cart may be bought by now."""

WITHDRAWN: dict[Reason, str] = {
    Reason.NO_ADDRESS: "skipped",
    Reason.NO_CONSENT: "skipped",
    Reason.SUPPRESSED: "skipped",
    Reason.PAUSED: "skipped",
    Reason.NO_LONGER_ELIGIBLE: "skipped",
    Reason.TOO_LATE: "expired",
    Reason.CAPPED: "deferred",
}
"""How a message counts that the last check held back; one whose lease was lost is another worker's to count."""


class Writes(Protocol):
    """What turns claimed messages into parcels."""

    def contexts(
        self, connection: Connection, items: Sequence[Item], at: datetime
    ) -> dict[int, dict[str, Any]]:
        """Return by message id what the trigger gives the templates, one query a campaign."""
        ...

    def write(self, item: Item, context: dict[str, Any], at: datetime, *, eight_bit: bool = False) -> Parcel:
        """Render one message, dated `at`. Raises RenderError."""
        ...


@dataclass(frozen=True)
class Desk:
    """What every chunk of a run works with."""

    engine: Engine
    clock: Clock
    letters: Writes
    worker: str
    journal: Journal
    rules: Sequence[CapRule]
    lease: timedelta
    attempts: int
    stop: Callable[[], bool]
    count: Callable[[str], None]
    learn: Callable[[Connection, Sequence[tuple[Item, Answer, datetime]]], None]
    still_eligible: Callable[[Item, datetime], bool]


@dataclass
class Chunk:
    """One chunk of a channel's messages on its way; `hand_over` it once."""

    desk: Desk
    backend: Backend
    channel: str
    _items: dict[str, Item] = field(default_factory=dict)
    _parcels: list[Parcel] = field(default_factory=list)
    _marked_at: datetime | None = None
    _begun: set[str] = field(default_factory=set)
    _ended: dict[str, tuple[Answer, datetime]] = field(default_factory=dict)
    _settled: set[str] = field(default_factory=set)

    def hand_over(self, work: Sequence[tuple[Item, dict[str, Any]]]) -> int:
        """Hand messages over and record how each ended; return how many were not withdrawn.

        Where the backend breaks off, what was begun and has no answer is UNCERTAIN, the rest waits as before;
        the error goes on to the caller. Where the store breaks off, the journal is left for the next start.
        """
        self._write(work)
        self._mark()
        if not self._parcels:
            self.desk.journal.clear()
            return 0
        try:
            self.backend.hand_over(self._parcels, self._begin, self._done)
        except BaseException as error:
            self._cut_off(error)
            with suppress(StoreError):
                self._record()
            raise
        self._record()
        return sum(answer.outcome is not Outcome.WITHDRAWN for answer, _ in self._ended.values())

    def _write(self, work: Sequence[tuple[Item, dict[str, Any]]]) -> None:
        desk, failed = self.desk, []
        eight_bit = self.backend.eight_bit
        for item, context in work:
            try:
                parcel = desk.letters.write(item, context, desk.clock.now(), eight_bit=eight_bit)
            except RenderError as error:
                failed.append((item.message_id, str(error)))
                continue
            self._items[parcel.key] = item
            self._parcels.append(parcel)
        for _ in not_rendered(desk.engine, failed, worker=desk.worker, at=desk.clock.now()):
            desk.count("failed")

    def _mark(self) -> None:
        """Mark what may go; what may not is taken out."""
        desk = self.desk
        wanted = [self._wanted(parcel) for parcel in self._parcels]
        desk.journal.chunk([one.message_id for one in wanted])
        self._marked_at = desk.clock.now()
        reasons = begin(
            desk.engine,
            wanted,
            worker=desk.worker,
            at=self._marked_at,
            rules=desk.rules,
            channel=self.channel,
        )
        for reason in filter(None, reasons.values()):
            desk.count(WITHDRAWN.get(reason, ""))
        self._parcels = [p for p in self._parcels if reasons[self._items[p.key].message_id] is None]

    def _wanted(self, parcel: Parcel) -> Wanted:
        item = self._items[parcel.key]
        return Wanted(item.message_id, item.sender, item.address)

    def _begin(self, parcel: Parcel) -> bool:
        """Be the point of no return: say whether the content may leave, and note that it does."""
        desk = self.desk
        if desk.stop():
            return False
        now = desk.clock.now()
        if self._marked_at is None or now - self._marked_at > FRESH:
            age = now - (self._marked_at or now)
            eligible = age <= STILL_ELIGIBLE or desk.still_eligible(self._items[parcel.key], now)
            reason = check_again(
                desk.engine,
                self._wanted(parcel),
                worker=desk.worker,
                at=now,
                lease_until=now + desk.lease,
                channel=self.channel,
                eligible=eligible,
            )
            if reason is not None:
                if reason is not Reason.LEASE_LOST:
                    self._settled.add(parcel.key)
                    desk.count(WITHDRAWN.get(reason, ""))
                return False
        desk.journal.begin(self._items[parcel.key].message_id)
        self._begun.add(parcel.key)
        return True

    def _done(self, parcel: Parcel, answer: Answer) -> None:
        if parcel.key in self._settled:
            return
        now = self.desk.clock.now()
        self.desk.journal.end(self._items[parcel.key].message_id, answer, now)
        self._ended[parcel.key] = (answer, now)

    def _cut_off(self, error: BaseException) -> None:
        """Say how the messages ended that the backend said nothing of."""
        now = self.desk.clock.now()
        for parcel in self._parcels:
            if parcel.key not in self._ended and parcel.key not in self._settled:
                begun = parcel.key in self._begun
                text = f"cut off: {error!r}" if begun else ""
                answer = Answer(Outcome.UNCERTAIN if begun else Outcome.WITHDRAWN, text)
                self._ended[parcel.key] = (answer, now)

    def _record(self) -> None:
        desk = self.desk
        items = [(self._items[key], answer, at) for key, (answer, at) in self._ended.items()]
        ended = [
            Ended(item.message_id, item.attempts, item.priority, answer, at) for item, answer, at in items
        ]
        states = record(
            desk.engine, ended, attempts=desk.attempts, more=lambda connection: desk.learn(connection, items)
        )
        desk.journal.clear()
        for item, answer, _ in items:
            state = states.get(item.message_id)
            if state is State.PLANNED:
                desk.count("deferred" if answer.outcome is Outcome.DEFERRED else "")
            elif state is not None:
                desk.count(state.value)
