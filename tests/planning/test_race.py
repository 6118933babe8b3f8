"""Eight planners and four workers at once: nobody is over four, twice or forgotten."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from drumbeat.delivery import Answer, Outcome
from drumbeat.ledger import cap as cap_module
from drumbeat.ledger.states import State
from drumbeat.outbox.deliver import deliver
from drumbeat.planning import plan as plan_module
from drumbeat.planning.plan import plan
from drumbeat.store.engine import connect, reading, writing
from drumbeat.store.tables import consents, customers, events, messages, metadata, outbox

pytestmark = pytest.mark.slow

PLANNERS, WORKERS, CUSTOMERS = 8, 4, 60
CAP, SPAN = 4, timedelta(hours=168)
CAMPAIGNS = {
    "hello": {"priority": 90},
    "again": {"priority": 50},
    "more": {"priority": 10, "send": {"when_capped": {"defer": "5d"}}},
}
fork = multiprocessing.get_context("fork")


@pytest.fixture
def shop(make_project):
    """Three campaigns. The lease is longer than the race: its clock jumps, and a jump is no dead worker."""
    config = """
project: shop
senders: {shop: {name: Shop, address: shop@shop.example, postal_address: London}}
topics: {offers: Offers}
delivery: {lease: 90d}
"""
    return make_project({"project.yaml": config}, campaigns=CAMPAIGNS)


class SharedClock:
    """One clock for all processes: microseconds since 1970 in shared memory."""

    def __init__(self, at: datetime) -> None:
        self._value = fork.Value("q", int(at.timestamp() * 1e6))

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._value.value / 1e6, UTC)

    def advance(self, by: timedelta) -> None:
        with self._value.get_lock():
            self._value.value += int(by.total_seconds() * 1e6)


class NotingBackend:
    """The receiving side: writes each accepted mail and the time into a file of its process."""

    name = "noting"
    eight_bit = False

    def __init__(self, folder: Path, clock: SharedClock) -> None:
        self.path, self.clock = folder / f"{os.getpid()}.jsonl", clock

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def hand_over(self, parcels, begin, done):
        for mail in parcels:
            if not begin(mail):
                done(mail, Answer(Outcome.WITHDRAWN))
                continue
            with self.path.open("a") as file:
                file.write(json.dumps([self.clock.now().isoformat(), mail.envelope_to, mail.key]) + "\n")
            done(mail, Answer(Outcome.ACCEPTED, "250 ok"))


def _plan_until(url, project, clock, stop, barrier, number, hold) -> None:
    """Plan one campaign after the other, each planner beginning with another one.

    Planners of the same campaign meet at the ledger's unique key; only planners of different campaigns
    depend on the lock alone.
    """
    names = list(CAMPAIGNS)
    names = names[number % 3 :] + names[: number % 3]
    engine = connect(url)
    while not stop.is_set():
        barrier.wait(60)
        as_of = clock.now()
        for name in names:
            plan(engine, project, as_of=as_of, campaigns=[name], inspect=lambda *_: time.sleep(hold))
        barrier.wait(60)
    engine.dispose()


def _deliver_until(url, project, clock, stop, folder) -> None:
    engine = connect(url)
    while True:
        last = stop.is_set()
        deliver(
            engine, project, clock=clock, backend=NotingBackend(folder, clock), worker=f"worker-{os.getpid()}"
        )
        if last:
            break
        time.sleep(0.01)
    engine.dispose()


def race(
    url: str, project, folder: Path, start: datetime, *, rounds: int = 12, hold: float = 0
) -> list[tuple[datetime, str, str]]:
    """Let all run against each other for `rounds` plans; return the hand-overs in order of time.

    `hold`: seconds that each plan keeps its transaction open, so that plans without a lock surely overlap.
    """
    folder.mkdir()
    engine = connect(url)
    metadata.create_all(engine)
    with writing(engine) as connection:
        rows = [
            {
                "external_id": f"c{i}",
                "email": f"c{i}@example.com",
                "email_key": f"c{i}@example.com",
                "person_id": i,
                "loaded_at": start,
            }
            for i in range(1, CUSTOMERS + 1)
        ]
        connection.execute(insert(customers), rows)
        ids = connection.execute(select(customers.c.id)).scalars().all()
        connection.execute(
            insert(consents),
            [
                {"customer_id": i, "topic": "offers", "granted": True, "at": start, "loaded_at": start}
                for i in ids
            ],
        )
        # Every customer wants 18 mails, and they fall due while the race is on: the last after 140 hours. Planners
        # ask the clock while it is moved on, so the last plan's time is 11 steps of 13 hours, or 12.
        connection.execute(
            insert(events),
            [
                {
                    "external_id": f"{name}-{i}-{n}",
                    "customer_id": i,
                    "name": name,
                    "at": start + timedelta(hours=28 * n),
                    "properties": {},
                    "loaded_at": start,
                }
                for i in ids
                for name in CAMPAIGNS
                for n in range(6)
            ],
        )
    engine.dispose()
    clock, stop, stop_workers = SharedClock(start), fork.Event(), fork.Event()
    barrier = fork.Barrier(PLANNERS + 1)
    planners = [
        fork.Process(target=_plan_until, args=(url, project, clock, stop, barrier, n, hold))
        for n in range(PLANNERS)
    ]
    workers = [
        fork.Process(target=_deliver_until, args=(url, project, clock, stop_workers, folder))
        for _ in range(WORKERS)
    ]
    for process in (*planners, *workers):
        process.start()
    try:
        for number in range(rounds):
            barrier.wait(60)
            clock.advance(timedelta(hours=13))
            if number == rounds - 1:
                stop.set()
            barrier.wait(60)
        for process in planners:
            process.join(60)
        stop_workers.set()
        for process in workers:
            process.join(120)
    finally:
        for process in (*planners, *workers):
            if process.is_alive():
                process.kill()
                process.join()
    assert {p.exitcode for p in (*planners, *workers)} == {0}
    noted = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted((datetime.fromisoformat(at), address, key) for at, address, key in noted)


def most_in_any_span(history) -> int:
    by_address = defaultdict(list)
    for at, address, _ in history:
        by_address[address].append(at)
    return max(
        sum(1 for other in times if at - SPAN < other <= at) for times in by_address.values() for at in times
    )


def test_nobody_is_over_four_nobody_gets_two_and_nobody_is_forgotten(store_url, shop, tmp_path, now):
    history = race(store_url, shop, tmp_path / "noted", now - timedelta(days=3))
    assert most_in_any_span(history) == CAP, "the cap is used up, and no more"
    assert max(Counter(key for _, _, key in history).values()) == 1
    engine = connect(store_url)
    with reading(engine) as connection:
        by_state = dict(
            connection.execute(select(messages.c.state, func.count()).group_by(messages.c.state)).all()
        )
        waiting = connection.execute(select(func.count()).select_from(outbox)).scalar()
    engine.dispose()
    assert set(by_state) <= {State.SENT, State.SKIPPED, State.DEFERRED, State.EXPIRED}
    assert by_state[State.SENT] == len(history), "every mail of the ledger reached its reader, and no other"
    assert waiting == 0
    assert sum(by_state.values()) == CUSTOMERS * 18, "every occasion of every customer has its row"


@pytest.mark.postgresql
def test_without_the_lock_the_same_race_breaks_the_cap(postgresql_url, shop, tmp_path, now, monkeypatch):
    """The race can fail: take the planners' lock (and the last check) away and somebody gets five."""
    monkeypatch.setattr(plan_module, "lock_sender", lambda *_: None)
    monkeypatch.setattr("drumbeat.ledger.handover._Cap.has_place", lambda *_: True)
    history = race(postgresql_url, shop, tmp_path / "noted", now - timedelta(days=3), rounds=6, hold=0.3)
    assert most_in_any_span(history) > CAP


@pytest.mark.postgresql
def test_with_a_calendar_week_the_same_race_breaks_the_cap(postgresql_url, shop, tmp_path, now, monkeypatch):
    real_counts = cap_module.counts

    def calendar_week(rule, at):
        monday = (at - timedelta(days=at.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
        return real_counts(rule._replace(per=at - monday), at)

    monkeypatch.setattr(cap_module, "counts", calendar_week)
    monkeypatch.setattr("drumbeat.ledger.handover._Cap.has_place", lambda *_: True)
    history = race(postgresql_url, shop, tmp_path / "noted", now - timedelta(days=3))
    assert most_in_any_span(history) > CAP
