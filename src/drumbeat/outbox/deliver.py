"""The send loop: claim, check, render, hand over, record. There is no other one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from time import monotonic
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, insert

from drumbeat.clock import Clock
from drumbeat.delivery import Answer, Backend
from drumbeat.errors import DeliveryError, StoreError
from drumbeat.ledger.cap import rules_of
from drumbeat.ledger.reach import MAIL
from drumbeat.outbox.aftermath import settle_abandoned
from drumbeat.outbox.backends import Backends, server_limits
from drumbeat.outbox.batch import Item, load
from drumbeat.outbox.check import apply, check
from drumbeat.outbox.chunk import Chunk, Desk, Writes
from drumbeat.outbox.claim import claim, release, renew, worker_name
from drumbeat.outbox.given import settle_tasks
from drumbeat.outbox.journal import Journal
from drumbeat.outbox.letters import SIGNED_HERE, Letters
from drumbeat.outbox.limits import SLOT_WAIT, admit, by_limited_domain, free_slots, learn, take_slots
from drumbeat.outbox.pace import Connections, Pace
from drumbeat.outbox.record import put_off
from drumbeat.outbox.recover import recover
from drumbeat.outbox.refusals import learn_refusals
from drumbeat.project.load import Project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import runs

BATCH = 2_000
"""Messages claimed at once; on this machine they are given back at the next start after a kill."""

FRESH = timedelta(minutes=1)
"""A batch that takes longer is checked again: a slow server must not send what was true an hour ago."""

UNUSABLE_FOR = timedelta(minutes=1)
"""How long messages of a channel wait whose backend cannot be used."""

RECOVER = timedelta(minutes=1)
"""How often a run looks for what workers left behind that died meanwhile."""

PATIENCE_S = 30.0
"""The longest wait within a run for messages that limits put off."""

Work: TypeAlias = "list[tuple[Item, dict[str, Any]]]"
"""Messages with what their trigger gives the templates."""


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


def deliver(
    engine: Engine,
    project: Project,
    *,
    clock: Clock,
    backend: Backend | None = None,
    others: Mapping[str, Backend] | None = None,
    limit: int | None = None,
    worker: str | None = None,
    progress: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
    sleep: Callable[[float], None] | None = None,
    letters: Writes | None = None,
) -> Delivered:
    """Hand over what is due until nothing is, and return the counts.

    `backend`: what hands mails over, where project.yaml is not to say it; `others`: the same for other channels,
    by channel. `limit`: hand over at most that many messages. `stop`: asked before each mail; True ends the run and
    gives the rest of the batch back. `sleep`: called with seconds to wait for messages that limits put off for a short
    while; left out, they wait for the next run. `progress`: called with how many messages are done. `worker`: the name the
    leases are taken under, unlike that of any other worker, alive or dead. Any number of workers may run at
    once.

    Raises DeliveryError where a backend as a whole cannot be used: nothing is lost and no attempt
    counted; in a project with several channels the others are worked through first. Raises StoreError where the
    database fails; a mail in the middle of its hand-over becomes `uncertain` when its lease has run out.
    """
    run = _Run(
        engine=engine,
        project=project,
        clock=clock,
        backends=Backends(engine, project, {**(others or {}), **({MAIL: backend} if backend else {})}),
        letters=letters or Letters(project, sign=project.config.delivery.backend in SIGNED_HERE),
        worker=worker or worker_name(),
        stop=stop or (lambda: False),
        progress=progress or (lambda done: None),
        sleep=sleep,
        left=limit,
    )
    started = clock.now()
    try:
        run.all()
    finally:
        run.backends.close()
        with suppress(StoreError):
            run.note(started)
    for error in run.unusable.values():
        raise error
    return run.delivered


@dataclass
class _Run:
    """One worker's run: what it works with, and its counts so far."""

    engine: Engine
    project: Project
    clock: Clock
    backends: Backends
    letters: Writes
    worker: str
    stop: Callable[[], bool]
    progress: Callable[[int], None]
    sleep: Callable[[float], None] | None
    left: int | None
    counts: Counter[str] = field(default_factory=Counter)
    paces: dict[str, Pace] = field(default_factory=dict)
    _due_again: list[datetime] = field(default_factory=list)
    _open: set[int] = field(default_factory=set)
    unusable: dict[str, DeliveryError] = field(default_factory=dict)
    """Why channels cannot be used, by channel; the run goes on with the others first."""
    _recovered_at: datetime | None = None

    def __post_init__(self) -> None:
        delivery = self.project.config.delivery
        self.lease = delivery.lease
        self.journal = Journal(self.project.root, self.worker)
        self.desk = Desk(
            engine=self.engine,
            clock=self.clock,
            letters=self.letters,
            worker=self.worker,
            journal=self.journal,
            rules=rules_of(self.project.config.cap),
            lease=delivery.lease,
            attempts=delivery.attempts,
            stop=self.stop,
            count=self._count,
            learn=self._learn,
            still_eligible=self._still_eligible,
        )

    @property
    def delivered(self) -> Delivered:
        return Delivered(**self.counts)

    def all(self) -> None:
        """Work batch by batch until nothing is due, the limit is reached or a stop was asked for."""
        self.journal.open()
        try:
            self._batches()
        finally:
            self.journal.close()

    def _batches(self) -> None:
        while not self.stop() and (self.left is None or self.left > 0):
            now = self.clock.now()
            self._recover(now)
            size = BATCH if self.left is None else min(BATCH, self.left)
            claims = claim(self.engine, worker=self.worker, at=now, lease=self.lease, limit=size)
            if not claims:
                if not self._wait_for_put_off(now):
                    return
                continue
            self._open = {claimed.message_id for claimed in claims}
            try:
                with reading(self.engine) as connection:
                    items = load(connection, claims)
                for channel, group in _by_channel(items).items():
                    self._channel_or_wait(channel, group, leased_at=now)
            finally:
                release(self.engine, self._open, worker=self.worker)

    def _recover(self, now: datetime) -> None:
        """Settle what others left behind: at the start, and now and then, as it looks at the whole outbox."""
        if self._recovered_at is not None and now - self._recovered_at < min(RECOVER, self.lease / 2):
            return
        self._recovered_at = now
        attempts = self.project.config.delivery.attempts
        found = settle_abandoned(self.engine, self.project.root, at=now, attempts=attempts)
        found["uncertain"] += recover(self.engine, at=now)
        if found["uncertain"]:
            found.update(settle_tasks(self.engine, at=now, attempts=attempts))
        for what, number in found.items():
            self._count(what, number)

    def _channel_or_wait(self, channel: str, items: list[Item], leased_at: datetime) -> None:
        """Hand a batch's messages of one channel over; one that is unusable must not keep the others from going."""
        if channel not in self.unusable:
            try:
                self._channel(channel, items, leased_at)
            except DeliveryError as error:
                if len({c.settings.message.channel for c in self.project.planned_campaigns}) < 2:
                    raise
                self.unusable[channel] = error
        if channel in self.unusable:
            # What was in the chunk that failed is due at once; it is claimed again and comes here.
            until = self.clock.now() + UNUSABLE_FOR
            self._put_off([(item, until) for item in items if item.message_id in self._open])

    def _channel(self, channel: str, items: list[Item], leased_at: datetime) -> None:
        """Hand a batch's messages of one channel over, chunk by chunk."""
        backend = self.backends.open(channel)
        limits = server_limits(self.project, backend)
        connections = Connections(self.engine, backend, limits, worker=self.worker, lease=self.lease)
        try:
            for work in self._portions(channel, items, leased_at):
                until = connections.renew(self.clock.now())
                if until is not None:
                    self._put_off([(item, until) for item, _ in work])
                    continue
                self._by_limits(channel, backend, connections, work)
        finally:
            connections.close()

    def _portions(self, channel: str, items: list[Item], leased_at: datetime) -> Iterator[Work]:
        """Give one portion after the other, checked not long ago and leased for long enough."""
        pace = self.paces.setdefault(channel, Pace())
        checked_at = leased_at
        queue = self._checked(items, checked_at)
        while queue and not self.stop() and (self.left is None or self.left > 0):
            now = self.clock.now()
            if now - leased_at >= self.lease / 2:
                waiting = {item.message_id for item, _ in queue}
                ours = renew(self.engine, waiting, worker=self.worker, until=now + self.lease)
                queue, leased_at = deque(pair for pair in queue if pair[0].message_id in ours), now
            if now - checked_at >= FRESH:
                queue, checked_at = self._checked([item for item, _ in queue], now), now
            most = min(pace.size, len(queue), self.left if self.left is not None else pace.size)
            if most:
                yield [queue.popleft() for _ in range(most)]

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
        for item, state, _ in checked.settled:
            self._open.discard(item.message_id)
            self._count(state.value)
        self._open -= {item.message_id for item, _ in checked.postponed}
        self._count("deferred", len(checked.postponed))
        return deque((item, contexts[item.message_id]) for item in checked.ready)

    def _still_eligible(self, item: Item, now: datetime) -> bool:
        with reading(self.engine) as connection:
            return bool(check(connection, self.project, [item], now).ready)

    def _by_limits(self, channel: str, backend: Backend, connections: Connections, work: Work) -> None:
        """Hand over what the limits let through; the rest waits."""
        now = self.clock.now()
        admitted = admit(self.engine, self.project, [item for item, _ in work], at=now)
        self._put_off(admitted.wait)
        contexts = {item.message_id: context for item, context in work}
        limits = self.project.config.delivery.limits
        for domain, items in by_limited_domain(admitted.go, limits).items():
            portion = [(item, contexts[item.message_id]) for item in items]
            limit = limits.of(domain) if domain else None
            if limit is None or limit.connections is None:
                self._in_lots(channel, backend, connections, portion, None)
                continue
            key = f"domain:{domain}"
            got = take_slots(
                self.engine,
                key,
                worker=self.worker,
                wanted=connections.total,
                most=limit.connections,
                at=now,
                until=now + self.lease,
            )
            if not got:
                self._put_off([(item, now + SLOT_WAIT) for item in items])
                continue
            try:
                self._in_lots(channel, backend, connections, portion, got)
            finally:
                free_slots(self.engine, worker=self.worker, key=key)

    def _in_lots(
        self, channel: str, backend: Backend, connections: Connections, work: Work, most: int | None
    ) -> None:
        """Hand over through the servers as their rates allow; what is over waits until more may go."""
        lots, then = connections.lots(len(work), self.clock.now(), most)
        start = 0
        for lot in lots:
            connections.use(lot)
            self._one_chunk(channel, backend, work[start : start + lot.messages])
            start += lot.messages
        self._put_off([(item, then) for item, _ in work[start:]])

    def _one_chunk(self, channel: str, backend: Backend, work: Work) -> None:
        if not work:
            return
        chunk = Chunk(self.desk, backend, channel)
        started = monotonic()
        handed = chunk.hand_over(work)
        self.paces[channel].took(len(work), monotonic() - started)
        self._open -= {item.message_id for item, _ in work}
        if self.left is not None:
            self.left -= handed

    def _put_off(self, waits: Sequence[tuple[Item, datetime]]) -> None:
        if not waits:
            return
        with writing(self.engine) as connection:
            put_off(connection, [(item.message_id, until) for item, until in waits], worker=self.worker)
        for item, until in waits:
            self._open.discard(item.message_id)
            heappush(self._due_again, until)

    def _wait_for_put_off(self, now: datetime) -> bool:
        """Sleep until the next of what limits put off is due, where that is soon; return whether to look again."""
        while self._due_again and self._due_again[0] <= now:
            heappop(self._due_again)
        if self.sleep is None or not self._due_again:
            return False
        wait = (self._due_again[0] - now).total_seconds()
        if wait > PATIENCE_S:
            return False
        # What comes due within the same twentieth of a second goes out together.
        self.sleep(max(wait, 0.05))
        return True

    def _learn(self, connection: Connection, answers: Sequence[tuple[Item, Answer, datetime]]) -> None:
        """Note what a chunk says about domains, servers and dead addresses, in the transaction that records it."""
        if answers:
            channel = answers[0][0].channel
            learn(
                connection,
                [(item.domain, answer) for item, answer, _ in answers],
                server=self.backends.name(channel),
                at=self.clock.now(),
            )
            learn_refusals(connection, answers, server=self.backends.name(channel))

    def _count(self, what: str, number: int = 1) -> None:
        for _ in range(number if what else 0):
            self.counts[what] += 1
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


def _by_channel(items: Sequence[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.channel, []).append(item)
    return groups
