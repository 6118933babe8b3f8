"""The send loop: claim, check, render, hand over, record. There is no other one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, insert

from drumbeat.clock import Clock
from drumbeat.delivery import Answer, Backend, Mail, Outcome
from drumbeat.delivery.backends import make_backend
from drumbeat.errors import RenderError, StoreError
from drumbeat.ledger.cap import CapRule
from drumbeat.ledger.handover import begin
from drumbeat.ledger.states import Reason, State
from drumbeat.outbox.batch import Item, load
from drumbeat.outbox.check import apply, check
from drumbeat.outbox.claim import claim, release, renew, worker_name
from drumbeat.outbox.letters import Letters
from drumbeat.outbox.record import not_rendered, record
from drumbeat.outbox.recover import recover
from drumbeat.project.load import Project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import runs

BATCH = 500
"""Messages claimed at once. Claiming alone gained little above 1,000; a kill leaves this many leased."""

FRESH = timedelta(minutes=1)
"""A batch that takes longer is checked again: a slow server must not send what was true an hour ago."""


@dataclass(frozen=True)
class Delivered:
    """What became of the messages that were taken up.

    `deferred` ones still wait: refused for now, outside their send window, or over the cap. `uncertain`
    ones include those a worker that died before this run left behind.
    """

    sent: int = 0
    refused: int = 0
    deferred: int = 0
    uncertain: int = 0
    skipped: int = 0
    expired: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """How many messages were taken up."""
        return sum(asdict(self).values())


class Writes(Protocol):
    """What turns claimed messages into mails."""

    def contexts(
        self, connection: Connection, items: Sequence[Item], at: datetime
    ) -> dict[int, dict[str, Any]]:
        """Return by message id what the trigger gives the templates, one query a campaign."""
        ...

    def write(self, item: Item, context: dict[str, Any], at: datetime) -> Mail:
        """Render one mail, dated `at`. Raises RenderError."""
        ...


def deliver(
    engine: Engine,
    project: Project,
    *,
    clock: Clock,
    backend: Backend | None = None,
    limit: int | None = None,
    worker: str | None = None,
    progress: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
    letters: Writes | None = None,
) -> Delivered:
    """Hand over what is due until nothing is, and return the counts.

    `limit`: hand over at most that many mails. `stop`: asked before each mail; True ends the run and gives
    the rest of the batch back. `progress`: called with how many messages are done. `worker`: the name the
    leases are taken under, unlike that of any other worker, alive or dead. Any number of workers may run at
    once.

    Raises DeliveryError where the backend as a whole cannot be used: nothing is lost and no attempt
    counted. Raises StoreError where the database fails; a mail in the middle of its hand-over becomes
    `uncertain` when its lease has run out.
    """
    run = _Run(
        engine=engine,
        project=project,
        clock=clock,
        backend=backend
        or make_backend(project.config.delivery.backend, project.config.delivery, project.root),
        letters=letters or Letters(project),
        worker=worker or worker_name(),
        stop=stop or (lambda: False),
        progress=progress or (lambda done: None),
        left=limit,
    )
    started = clock.now()
    try:
        run.all()
    finally:
        run.backend.close()
        with suppress(StoreError):
            run.note(started)
    return run.delivered


@dataclass
class _Run:
    """One worker's run: what it works with, and its counts so far."""

    engine: Engine
    project: Project
    clock: Clock
    backend: Backend
    letters: Writes
    worker: str
    stop: Callable[[], bool]
    progress: Callable[[int], None]
    left: int | None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def delivered(self) -> Delivered:
        return Delivered(**self.counts)

    @property
    def lease(self) -> timedelta:
        return self.project.config.delivery.lease

    @property
    def rule(self) -> CapRule:
        return CapRule(self.project.config.cap.messages, self.project.config.cap.per)

    def all(self) -> None:
        """Work batch by batch until nothing is due, the limit is reached or a stop was asked for."""
        while not self.stop() and (self.left is None or self.left > 0):
            now = self.clock.now()
            self._count("uncertain", recover(self.engine, at=now))
            size = BATCH if self.left is None else min(BATCH, self.left)
            claims = claim(self.engine, worker=self.worker, at=now, lease=self.lease, limit=size)
            if not claims:
                return
            try:
                self.backend.open()
                with reading(self.engine) as connection:
                    items = load(connection, claims)
                for item, context in self._ready(items, leased_at=now):
                    self._one(item, context)
            finally:
                release(self.engine, [c.message_id for c in claims], worker=self.worker)

    def _ready(self, items: list[Item], leased_at: datetime) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Give one mail after the other, checked not long ago and leased for long enough."""
        checked_at = leased_at
        queue = self._checked(items, checked_at)
        while queue and not self.stop():
            now = self.clock.now()
            if now - leased_at >= self.lease / 2:
                waiting = {item.message_id for item, _ in queue}
                ours = renew(self.engine, waiting, worker=self.worker, until=now + self.lease)
                queue, leased_at = deque(pair for pair in queue if pair[0].message_id in ours), now
            if now - checked_at >= FRESH:
                queue, checked_at = self._checked([item for item, _ in queue], now), now
            if queue:
                yield queue.popleft()

    def _checked(self, items: Sequence[Item], now: datetime) -> deque[tuple[Item, dict[str, Any]]]:
        """Sort out what must not go out any more, or not yet; return the rest with their contexts."""
        if not items:
            return deque()
        with reading(self.engine) as connection:
            checked = check(connection, self.project, items, now)
            contexts = self.letters.contexts(connection, checked.ready, now)
        if checked.settled or checked.postponed:
            with writing(self.engine) as connection:
                apply(connection, checked, worker=self.worker, at=now)
        for _, state, _ in checked.settled:
            self._count(state.value)
        self._count("deferred", len(checked.postponed))
        return deque((item, contexts[item.message_id]) for item in checked.ready)

    def _one(self, item: Item, context: dict[str, Any]) -> None:
        """Render one mail, hand it over, and commit how that ended."""
        try:
            mail = self.letters.write(item, context, self.clock.now())
        except RenderError as error:
            if not_rendered(self.engine, item, str(error), worker=self.worker, at=self.clock.now()):
                self._count("failed")
            return
        reason: Reason | None = None
        begun = False

        def before_content() -> bool:
            nonlocal reason, begun
            reason = begin(
                self.engine,
                item.message_id,
                worker=self.worker,
                at=self.clock.now(),
                rule=self.rule,
                email=item.address,
            )
            begun = reason is None
            return begun

        if self.left is not None:
            self.left -= 1
        try:
            answer = self.backend.hand_over(mail, before_content)
        except BaseException as error:
            if begun:
                with suppress(StoreError):
                    self._record(item, Answer(Outcome.UNCERTAIN, f"cut off: {error!r}"), begun=True)
            raise
        if answer.outcome is Outcome.WITHDRAWN:
            self._count(_WITHDRAWN.get(reason, "") if reason else "")
        else:
            self._record(item, answer, begun=begun)

    def _record(self, item: Item, answer: Answer, *, begun: bool) -> None:
        state = record(
            self.engine,
            item,
            answer,
            begun=begun,
            worker=self.worker,
            at=self.clock.now(),
            attempts=self.project.config.delivery.attempts,
        )
        if state is not None:
            self._count("deferred" if state is State.PLANNED else state.value)

    def _count(self, what: str, number: int = 1) -> None:
        if what and number:
            self.counts[what] += number
            self.progress(self.counts.total())

    def note(self, started: datetime) -> None:
        """Leave a row in `runs`, unless there was nothing to do."""
        if self.counts:
            with writing(self.engine) as connection:
                connection.execute(
                    insert(runs).values(
                        kind="deliver",
                        as_of=started,
                        started_at=started,
                        finished_at=self.clock.now(),
                        summary=asdict(self.delivered),
                    )
                )


_WITHDRAWN = {
    Reason.NO_ADDRESS: "skipped",
    Reason.NO_CONSENT: "skipped",
    Reason.SUPPRESSED: "skipped",
    Reason.TOO_LATE: "expired",
    Reason.CAPPED: "deferred",
}
"""How a mail counts that the last check held back; one whose lease was lost is another worker's to count."""
