"""Limits on handing over that hold over all workers: rates, connections, blocks after a refusal, warm-up.

They live in the tables `throttles` and `slots`, so any number of workers keeps them together. What may not go
now waits in the outbox for its time, without an attempt counted, and leaves the worker free for other mail.

- Rate of a domain or server: GCRA. `next_at` is when the next message may begin; each one moves it on by the interval, and
  a message goes that is at most BURST early. So over any longer span the rate is kept to the message, whoever
  asks, and a pause is not made up for.
- What is put off is spread out at the same rate after what was put off before (`queued_until`), so it does not
  come due all at once, to be put off again.
- A temporary refusal that is about a whole domain or server blocks it: 1, 2, 4 ... 60 minutes, or what the
  server asked for; the first accepted message clears that.
- Warm-up of a sender: so many a day, counted by the project's days.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, select

from drumbeat.clock import start_of_day, zone
from drumbeat.delivery import Answer, Outcome, Scope
from drumbeat.ledger.reach import MAIL
from drumbeat.outbox.batch import Item
from drumbeat.project.limits import Limits, WarmUp
from drumbeat.project.load import Project
from drumbeat.settings import interval
from drumbeat.store.dialect.insert import insert
from drumbeat.store.dialect.locks import lock
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import slots, throttles

FIRST_BLOCK = timedelta(minutes=1)
LONGEST_BLOCK = timedelta(hours=1)
BURST = timedelta(seconds=1)
"""What a chunk may take ahead: without it each chunk would hold one message of a limited domain."""
SOON = timedelta(milliseconds=50)
"""What is put off waits at least as long: a wait of nothing would be asked again at the same instant, for ever."""
SLOT_WAIT = timedelta(seconds=5)
"""How long a message waits whose domain has as many connections as it may have."""

COLUMNS = ("next_at", "queued_until", "blocked_until", "failures", "answer", "days", "day", "used")


@dataclass
class Throttle:
    """One row of `throttles`, as far as it is known."""

    key: str
    next_at: datetime | None = None
    queued_until: datetime | None = None
    blocked_until: datetime | None = None
    failures: int = 0
    answer: str | None = None
    days: int = 0
    day: date | None = None
    used: int = 0

    def room(self, gap: timedelta, at: datetime) -> int:
        """Return how many messages a rate with that interval lets through at `at`."""
        return max(0, math.ceil((at + BURST - max(self.next_at or at, at)) / gap))

    def use(self, count: int, gap: timedelta, at: datetime) -> None:
        """Count messages that go at `at`."""
        self.next_at = max(self.next_at or at, at) + count * gap


@dataclass
class Admitted:
    """What may go now, and until when the rest waits."""

    go: list[Item] = field(default_factory=list)
    wait: list[tuple[Item, datetime]] = field(default_factory=list)


def admit(engine: Engine, project: Project, items: Sequence[Item], *, at: datetime) -> Admitted:
    """Sort messages by what the limits of their domains and senders allow at `at`, and use up what goes."""
    limits = project.config.delivery.limits
    warm = {
        name: sender.warm_up for name, sender in project.config.senders.items() if sender.warm_up is not None
    }
    keys = {_domain_key(item) for item in items if item.domain}
    counted = {f"warm_up:{item.sender}" for item in items if _warms_up(item, warm)}
    limited = any(limits.of(item.domain) is not None for item in items if item.domain)
    if not limited and not counted:
        with reading(engine) as connection:
            known = load(connection, keys)
        return _sorted(items, known, limits, warm, project, at)
    with writing(engine) as connection:
        lock(connection, "throttles")
        known = load(connection, keys | counted)
        admitted = _sorted(items, known, limits, warm, project, at)
        save(connection, known.values())
    return admitted


def _sorted(
    items: Sequence[Item],
    known: dict[str, Throttle],
    limits: Limits,
    warm: Mapping[str, WarmUp],
    project: Project,
    at: datetime,
) -> Admitted:
    admitted = Admitted()
    for item in items:
        until = _until(item, known, limits, warm, project, at)
        if until is None:
            admitted.go.append(item)
        else:
            admitted.wait.append((item, until))
    return admitted


def _until(
    item: Item,
    known: dict[str, Throttle],
    limits: Limits,
    warm: Mapping[str, WarmUp],
    project: Project,
    at: datetime,
) -> datetime | None:
    """Return until when a message waits; None to go, and then what it uses up is noted in `known`."""
    domain = known.get(_domain_key(item)) if item.domain else None
    limit = limits.of(item.domain) if item.domain else None
    if domain is not None and domain.blocked_until is not None and domain.blocked_until > at:
        return domain.blocked_until
    if limit is not None and limit.rate is not None:
        domain = known.setdefault(_domain_key(item), Throttle(_domain_key(item)))
        gap = interval(limit.rate)
        if not domain.room(gap, at):
            domain.queued_until = max(domain.next_at or at, domain.queued_until or at) + gap
            return max(domain.queued_until - gap - BURST, at + SOON)
    if _warms_up(item, warm):
        over = _warm_up(item.sender, known, warm[item.sender], project, at)
        if over is not None:
            return over
    if limit is not None and limit.rate is not None and domain is not None:
        domain.use(1, interval(limit.rate), at)
    return None


def _warms_up(item: Item, warm: Mapping[str, WarmUp]) -> bool:
    """Say whether the message is one by which mailbox providers get to know its sender."""
    return item.channel == MAIL and item.sender in warm


def _warm_up(
    sender: str, known: dict[str, Throttle], rule: WarmUp, project: Project, at: datetime
) -> datetime | None:
    """Use up one of the sender's messages of the day; where there is none left, return when the next day begins."""
    key = f"warm_up:{sender}"
    row = known.setdefault(key, Throttle(key))
    today = at.astimezone(zone(project.config.time_zone)).date()
    if row.day != today:
        row.days, row.day, row.used = row.days + 1, today, 0
    allowance = rule.allowance(row.days - 1)
    if allowance is not None and row.used >= allowance:
        return start_of_day(today + timedelta(days=1), project.config.time_zone)
    row.used += 1
    return None


def take_rate(engine: Engine, key: str, rate: str, *, wanted: int, at: datetime) -> tuple[int, datetime]:
    """Use up to `wanted` of the messages that a rate lets through at `at`; return how many, and when the next may go."""
    gap = interval(rate)
    with writing(engine) as connection:
        lock(connection, "throttles")
        row = load(connection, {key}).get(key) or Throttle(key)
        got = min(wanted, row.room(gap, at))
        row.use(got, gap, at)
        save(connection, [row])
    return got, max((row.next_at or at) - BURST, at + SOON)


def blocked(engine: Engine, servers: Iterable[str], *, at: datetime) -> dict[str, datetime]:
    """Return until when each of the servers asked us to leave it alone; those that did not are left out."""
    with reading(engine) as connection:
        known = load(connection, {f"server:{name}" for name in servers})
    return {
        key.removeprefix("server:"): row.blocked_until
        for key, row in known.items()
        if row.blocked_until is not None and row.blocked_until > at
    }


def learn(
    connection: Connection, answers: Sequence[tuple[str, Answer]], *, server: str, at: datetime
) -> None:
    """Note what a chunk's answers say about domains and servers. `answers`: each with the recipient's domain.

    `server`: the name that counts where an answer does not say which one gave it.
    """
    refusals: dict[str, Answer] = {}
    accepted: set[str] = set()
    for domain, answer in answers:
        via = f"server:{answer.via or server}"
        if answer.outcome is Outcome.DEFERRED and answer.scope is Scope.SERVER:
            refusals[via] = answer
        elif answer.outcome is Outcome.DEFERRED and answer.scope is Scope.DOMAIN and domain:
            refusals[f"domain:{domain}"] = answer
        elif answer.outcome is Outcome.ACCEPTED:
            accepted |= {via, f"domain:{domain}"}
    keys = accepted | refusals.keys()
    with_failures = select(throttles.c.key).where(throttles.c.key.in_(keys), throttles.c.failures > 0)
    failing = set(connection.execute(with_failures).scalars())
    if not refusals and not failing:
        return
    lock(connection, "throttles")
    known = load(connection, failing | refusals.keys())
    for key, answer in refusals.items():
        row = known.setdefault(key, Throttle(key))
        if row.blocked_until is not None and row.blocked_until > at:
            continue  # one block is told by many mails of a chunk
        row.failures += 1
        pause = answer.retry_after or min(FIRST_BLOCK * 2 ** min(row.failures - 1, 10), LONGEST_BLOCK)
        row.blocked_until, row.answer = at + pause, answer.text
    for key in failing - refusals.keys():
        known[key].failures, known[key].blocked_until, known[key].answer = 0, None, None
    save(connection, known.values())


def load(connection: Connection, keys: Iterable[str]) -> dict[str, Throttle]:
    """Return the rows that there are of the keys."""
    wanted = sorted(keys)
    if not wanted:
        return {}
    rows = connection.execute(select(throttles).where(throttles.c.key.in_(wanted)))
    return {row.key: Throttle(row.key, *(getattr(row, name) for name in COLUMNS)) for row in rows}


def save(connection: Connection, rows: Iterable[Throttle]) -> None:
    """Write rows back; the caller holds the lock `throttles`."""
    values = [
        {"key": row.key, **{name: getattr(row, name) for name in COLUMNS}}
        for row in sorted(rows, key=lambda row: row.key)
    ]
    if not values:
        return
    statement = insert(connection, throttles)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["key"], set_={name: statement.excluded[name] for name in COLUMNS}
        ),
        values,
    )


def take_slots(
    engine: Engine, key: str, *, worker: str, wanted: int, most: int, at: datetime, until: datetime
) -> int:
    """Hold up to `wanted` of the `most` connections that all workers together may have; return how many.

    Held until `until`, or `free_slots`; taken again by the same worker they are renewed. Those of a dead
    worker come free when their time is over.
    """
    with writing(engine) as connection:
        lock(connection, "slots", key)
        others = connection.execute(
            select(func.coalesce(func.sum(slots.c.taken), 0)).where(
                slots.c.key == key, slots.c.worker != worker, slots.c.until > at
            )
        ).scalar_one()
        got = max(0, min(wanted, most - int(others)))
        statement = insert(connection, slots).values(key=key, worker=worker, taken=got, until=until)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["key", "worker"],
                set_={"taken": statement.excluded.taken, "until": statement.excluded.until},
            )
        )
        return got


def free_slots(engine: Engine, *, worker: str, key: str | None = None) -> None:
    """Give back what the worker holds, of one key or of all."""
    with writing(engine) as connection:
        mine = delete(slots).where(slots.c.worker == worker)
        connection.execute(mine if key is None else mine.where(slots.c.key == key))


def by_limited_domain(items: Sequence[Item], limits: Limits) -> dict[str, list[Item]]:
    """Return the messages whose domain has a limit of connections, by domain; the others under ''."""
    sorted_out: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        limit = limits.of(item.domain) if item.domain else None
        sorted_out[item.domain if limit is not None and limit.connections is not None else ""].append(item)
    return sorted_out


def _domain_key(item: Item) -> str:
    return f"domain:{item.domain}"
