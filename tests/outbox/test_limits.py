"""Limits on handing over hold over all workers: rates, connections, blocks after a refusal, warm-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers.shop import fill, make_shop, message, states, waiting
from sqlalchemy import Engine, select, update

from drumbeat.clock import FixedClock
from drumbeat.delivery import Answer, Begin, Done, Mail, Outcome, Scope
from drumbeat.errors import UsageError
from drumbeat.outbox.deliver import Delivered, deliver
from drumbeat.outbox.held import clear, held
from drumbeat.outbox.limits import free_slots, take_slots
from drumbeat.project.load import Project, load_project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import audit, customers, throttles
from drumbeat.testing import RecordingBackend

SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
BUSY = Answer(Outcome.DEFERRED, "421 4.7.28 too many", code=421, scope=Scope.DOMAIN)


class Answering(RecordingBackend):
    """Answers by a function of the mail, and notes when each was accepted."""

    def __init__(
        self, clock: FixedClock, answer: Callable[[Mail], Answer | None] = lambda mail: None
    ) -> None:
        super().__init__()
        self.clock, self.answer = clock, answer
        self.times: list[tuple[datetime, str]] = []

    def hand_over(self, parcels: Sequence[Mail], begin: Begin, done: Done) -> None:
        for mail in parcels:
            self.tried.append(mail)
            answer = self.answer(mail)
            if answer is None and begin(mail):
                self.times.append((self.clock.now(), mail.domain))
                answer = Answer(Outcome.ACCEPTED, "250 ok")
            done(mail, answer or Answer(Outcome.WITHDRAWN))


@pytest.fixture
def limited(tmp_path: Path) -> Callable[..., Project]:
    """Make a shop with limits: `limited(domains={...}, warm_up={...})`."""

    def make(domains: dict[str, Any] | None = None, warm_up: dict[str, Any] | None = None) -> Project:
        delivery = {"backend": "file", "limits": {"domains": domains or {}}}
        root = make_shop(tmp_path / "shop", delivery)
        if warm_up is not None:
            text = (root / "project.yaml").read_text()
            (root / "project.yaml").write_text(
                text.replace('"name": "Shop"', f'"name": "Shop", "warm_up": {warm_up!r}'.replace("'", '"'))
            )
        return load_project(root)

    return make


def live_at(store: Engine, domain: str, *ids: int) -> None:
    """Give customers addresses of another domain."""
    with writing(store) as connection:
        for number in ids:
            address = f"r{number}@{domain}"
            connection.execute(
                update(customers).where(customers.c.id == number).values(email=address, email_key=address)
            )


def run(store: Engine, project: Project, clock: FixedClock, backend: Any, **more: Any) -> Delivered:
    return deliver(store, project, clock=clock, backend=backend, **more)


def most_within(times: Sequence[datetime], span: timedelta) -> int:
    """Return the most that fell within any span of that length."""
    return max(sum(1 for other in times if at <= other < at + span) for at in times)


def test_a_domains_rate_is_kept_and_other_mail_does_not_wait_for_it(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited({"slow.example": {"rate": "2/s"}})
    fill(store, 40, now)
    live_at(store, "slow.example", *range(1, 31))
    backend = Answering(clock)
    delivered = run(store, project, clock, backend, sleep=lambda s: clock.advance(timedelta(seconds=s)))
    assert delivered.sent == 40
    slow = [at for at, domain in backend.times if domain == "slow.example"]
    quick = [at for at, domain in backend.times if domain != "slow.example"]
    assert max(quick) == now
    assert most_within(slow, SECOND) <= 2 * 2
    assert most_within(slow, 5 * SECOND) <= 2 * 6
    assert timedelta(seconds=13) <= max(slow) - now <= timedelta(seconds=20), "and not slower than that"
    assert {w.attempts for w in waiting(store)} <= {0}


def test_a_rate_holds_over_several_workers(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited({"*": {"rate": "60/m"}})
    fill(store, 50, now)
    live_at(store, "slow.example", *range(1, 51))
    backends = [Answering(clock), Answering(clock)]
    for _ in range(30):
        for backend in backends:
            run(store, project, clock, backend)
        clock.advance(SECOND)
    times = sorted(at for backend in backends for at, _ in backend.times)
    assert most_within(times, 10 * SECOND) <= 11
    assert 28 <= len(times) <= 32


def test_what_a_rate_puts_off_waits_with_no_attempt_counted_and_comes_due_spread_out(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited({"*": {"rate": "60/h"}})
    fill(store, 5, now)
    assert run(store, project, clock, Answering(clock)) == Delivered(sent=1)
    rows = waiting(store)
    assert [(w.attempts, w.lease_owner) for w in rows] == [(0, None)] * 4
    assert [(w.due_at - now + SECOND) // MINUTE for w in rows] == [1, 2, 3, 4]


def test_a_domain_that_asks_us_to_wait_is_left_alone_a_growing_while(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    """One, two, four minutes; mail elsewhere goes on; the first accepted mail clears it."""
    project = limited()
    fill(store, 12, now)
    live_at(store, "busy.example", *range(1, 11))
    busy = True
    backend = Answering(clock, lambda mail: BUSY if busy and mail.domain == "busy.example" else None)
    pauses = []
    for _ in range(4):
        run(store, project, clock, backend)
        with reading(store) as connection:
            row = connection.execute(select(throttles).where(throttles.c.key == "domain:busy.example")).one()
        pauses.append((row.blocked_until - clock.now()) // MINUTE)
        assert row.answer == BUSY.text
        assert run(store, project, clock, backend) == Delivered()
        clock.at = max(row.blocked_until, min(w.due_at for w in waiting(store)))
    assert pauses == [1, 2, 4, 8]
    assert states(store) == {"planned": 10, "sent": 2}
    busy = False
    clock.advance(5 * HOUR)
    assert run(store, project, clock, backend) == Delivered(sent=10)
    with reading(store) as connection:
        row = connection.execute(select(throttles).where(throttles.c.key == "domain:busy.example")).one()
    assert (row.failures, row.blocked_until, row.answer) == (0, None, None)


def test_mail_to_a_blocked_domain_is_not_even_tried(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited()
    fill(store, 30, now)
    backend = Answering(clock, lambda mail: BUSY)
    run(store, project, clock, backend)
    tried = len(backend.tried)
    assert tried == 8, "the first chunk; after its answer the rest waits untried"
    assert sum(w.attempts for w in waiting(store)) == tried


def test_a_domain_that_names_a_time_is_left_alone_for_that_long(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited()
    fill(store, 2, now)
    asked = Answer(Outcome.DEFERRED, "451 later", scope=Scope.DOMAIN, retry_after=17 * MINUTE)
    run(store, project, clock, Answering(clock, lambda mail: asked))
    with reading(store) as connection:
        until = connection.execute(select(throttles.c.blocked_until)).scalar_one()
    assert until == now + 17 * MINUTE


def test_a_server_that_asks_us_to_wait_stops_all_mail_through_it(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited()
    fill(store, 20, now)
    backend = Answering(clock, lambda mail: Answer(Outcome.DEFERRED, "421 closing", scope=Scope.SERVER))
    run(store, project, clock, backend)
    assert len(backend.tried) == 8
    clock.advance(59 * SECOND)
    assert run(store, project, clock, backend) == Delivered()
    assert len(backend.tried) == 8
    backend.answer = lambda mail: None
    clock.advance(5 * MINUTE)
    assert run(store, project, clock, backend).sent == 20


def test_a_greylisted_mail_comes_back_when_it_was_asked_to(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    """And the domain's other mail is not held up."""
    project = limited()
    ids = fill(store, 3, now)
    grey = Answer(Outcome.DEFERRED, "451 4.7.1 greylisted", retry_after=5 * MINUTE)
    seen: set[str] = set()

    def first_time(mail: Mail) -> Answer | None:
        new = mail.envelope_to == "r1@example.com" and mail.envelope_to not in seen
        seen.add(mail.envelope_to)
        return grey if new else None

    backend = Answering(clock, first_time)
    assert run(store, project, clock, backend) == Delivered(sent=2, deferred=1)
    (row,) = waiting(store)
    assert (row.due_at, row.attempts) == (now + 5 * MINUTE, 1)
    clock.advance(5 * MINUTE)
    assert run(store, project, clock, backend) == Delivered(sent=1)
    assert message(store, ids[0]).state == "sent"


def test_a_new_senders_mails_grow_from_day_to_day(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    """10, 20, 40 a day, then as many as there are; a day without mail does not count."""
    project = limited(warm_up={"start": 10, "factor": 2, "days": 3})
    fill(store, 200, now)
    backend = Answering(clock)
    sent = []
    for pause in (DAY, 3 * DAY, DAY, DAY):
        sent.append(run(store, project, clock, backend).sent)
        assert run(store, project, clock, backend) == Delivered(), "the day's mails are used up"
        clock.advance(pause)
    assert sent == [10, 20, 40, 130]
    assert states(store) == {"sent": 200}


def test_what_is_over_the_days_mails_waits_for_midnight_of_the_project(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited(warm_up={"start": 1})
    fill(store, 3, now)
    run(store, project, clock, Answering(clock))
    assert {w.due_at for w in waiting(store)} == {now.replace(hour=0) + DAY}


def test_no_more_connections_than_a_domain_allows_over_all_workers(store: Engine, now: datetime) -> None:
    def take(worker: str, wanted: int, at: datetime = now) -> int:
        return take_slots(store, "domain:x", worker=worker, wanted=wanted, most=3, at=at, until=at + MINUTE)

    assert [take("a", 2), take("b", 2), take("c", 1)] == [2, 1, 0]
    assert take("a", 2) == 2, "its own are renewed, not counted against it"
    free_slots(store, worker="a")
    assert take("c", 9) == 2
    assert take("d", 9, now + 61 * SECOND) == 3, "those of the dead come free"


def test_mails_to_a_domain_whose_connections_are_all_taken_wait_a_little(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited({"slow.example": {"connections": 1}})
    fill(store, 4, now)
    live_at(store, "slow.example", 1, 2)
    held = {"worker": "other", "wanted": 1, "most": 1, "at": now, "until": now + MINUTE}
    assert take_slots(store, "domain:slow.example", **held) == 1
    backend = Answering(clock)
    assert run(store, project, clock, backend) == Delivered(sent=2)
    assert [(w.message_id, w.due_at - now, w.attempts) for w in waiting(store)] == [
        (1, 5 * SECOND, 0),
        (2, 5 * SECOND, 0),
    ]
    clock.advance(MINUTE)
    assert run(store, project, clock, backend) == Delivered(sent=2)


@pytest.mark.parametrize("rate", ["10", "0/s", "10/y", "-1/s", 5, "1.5/s"])
def test_a_rate_that_is_none_is_a_fault_of_one_line(limited: Callable[..., Project], rate: Any) -> None:
    from drumbeat.errors import ProjectError

    with pytest.raises(
        ProjectError, match=r"project\.yaml:.* cannot read .* as a rate; expected for example 10/s"
    ):
        limited({"*": {"rate": rate}})


class TwoServers(Answering):
    """A backend with two servers that notes through which of them each mail goes."""

    servers = ("slow:25", "quick:25")

    def __init__(self, clock: FixedClock) -> None:
        super().__init__(clock)
        self.name = "smtp"
        self.allowed: dict[str, int] = {}
        self.through: list[tuple[datetime, str]] = []

    def allow(self, connections: dict[str, int]) -> None:
        self.allowed = connections

    def hand_over(self, parcels: Sequence[Mail], begin: Begin, done: Done) -> None:
        usable = [name for name, number in self.allowed.items() if number]
        for number, mail in enumerate(parcels):
            assert begin(mail)
            name = usable[number % len(usable)]
            self.through.append((self.clock.now(), name))
            done(mail, Answer(Outcome.ACCEPTED, "250 ok", via=name))


def two_servers(root: Path, **slow: Any) -> Project:
    servers = [{"host": "slow", "port": 25, **slow}, {"host": "quick", "port": 25}]
    return load_project(make_shop(root, {"backend": "smtp", "smtp": {"servers": servers}}))


def test_a_servers_rate_is_kept_and_the_other_server_takes_the_rest(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    project = two_servers(tmp_path / "shop", rate="2/s")
    fill(store, 60, now)
    backend = TwoServers(clock)
    assert run(store, project, clock, backend).sent == 60
    slow = [at for at, name in backend.through if name == "slow:25"]
    assert len(slow) == 2, "a second's worth at the one instant that there was"
    assert len(backend.through) == 60


def test_where_every_server_has_a_rate_the_rest_waits(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    smtp = {"host": "slow", "port": 25, "rate": "5/s"}
    project = load_project(make_shop(tmp_path / "shop", {"backend": "smtp", "smtp": smtp}))
    fill(store, 60, now)
    backend = TwoServers(clock)
    backend.servers = ("slow:25",)
    delivered = run(store, project, clock, backend, sleep=lambda s: clock.advance(timedelta(seconds=s)))
    assert delivered.sent == 60
    times = [at for at, _ in backend.through]
    assert most_within(times, 5 * SECOND) <= 5 * 6
    assert 10 * SECOND <= max(times) - now <= 14 * SECOND
    assert {w.attempts for w in waiting(store)} <= {0}


def test_a_server_that_asks_us_to_wait_is_passed_over_while_the_other_goes_on(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    project = two_servers(tmp_path / "shop")
    fill(store, 10, now)
    with writing(store) as connection:
        row = {"key": "server:slow:25", "blocked_until": now + HOUR, "failures": 1, "days": 0, "used": 0}
        connection.execute(throttles.insert().values(row))
    backend = TwoServers(clock)
    assert run(store, project, clock, backend).sent == 10
    assert {name for _, name in backend.through} == {"quick:25"}


def test_all_workers_together_hold_no_more_connections_than_a_server_allows(
    store: Engine, clock: FixedClock, now: datetime, tmp_path: Path
) -> None:
    project = two_servers(tmp_path / "shop", connections=3, total_connections=4)
    fill(store, 10, now)
    held = {"worker": "other", "wanted": 3, "most": 4, "at": now, "until": now + HOUR}
    assert take_slots(store, "server:slow:25", **held) == 3
    backend = TwoServers(clock)
    assert run(store, project, clock, backend).sent == 10
    assert backend.allowed == {"slow:25": 1, "quick:25": 1}
    assert take_slots(store, "server:slow:25", **{**held, "worker": "third"}) == 1, "given back at the end"


def test_what_is_held_back_is_shown_and_a_block_can_be_lifted_by_hand(
    store: Engine, limited: Callable[..., Project], clock: FixedClock, now: datetime
) -> None:
    project = limited(warm_up={"start": 10})
    fill(store, 3, now)
    backend = Answering(clock, lambda mail: BUSY)
    run(store, project, clock, backend)
    domain, warm = held(store, project, at=now)
    assert (domain.key, domain.until, domain.failures, domain.why) == (
        "domain:example.com",
        now + MINUTE,
        1,
        BUSY.text,
    )
    assert (warm.key, warm.day, warm.allowance, warm.used) == ("warm_up:shop", 1, 10, 3)
    with pytest.raises(UsageError, match=r"'domain:example\.org' is not blocked\. Did you mean"):
        clear(store, "domain:example.org", at=now)
    clear(store, "domain:example.com", at=now)
    assert [one.key for one in held(store, project, at=now)] == ["warm_up:shop"]
    with reading(store) as connection:
        assert connection.execute(select(audit.c.action, audit.c.subject)).all() == [
            ("limits clear", "domain:example.com")
        ]
