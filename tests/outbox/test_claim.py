"""Claims: many workers, nobody twice."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from servers import claimer
from servers.shop import fill, states, waiting
from sqlalchemy import Engine, event, update

from drumbeat.outbox.claim import claim, release, renew, worker_name
from drumbeat.outbox.recover import recover
from drumbeat.store.engine import writing
from drumbeat.store.tables import messages, outbox

LEASE = timedelta(minutes=10)
PROGRAM = Path(claimer.__file__)


def ids(store: Engine, worker: str, at: datetime, limit: int = 100) -> list[int]:
    """Claim and return the messages."""
    return [c.message_id for c in claim(store, worker=worker, at=at, lease=LEASE, limit=limit)]


def test_a_claimed_message_is_nobody_elses_until_the_lease_is_over(store: Engine, now: datetime) -> None:
    fill(store, 3, now)
    assert ids(store, "a", now, limit=2) == [1, 2]
    assert ids(store, "b", now) == [3]
    assert ids(store, "c", now + LEASE - timedelta(microseconds=1)) == []
    assert ids(store, "c", now + LEASE) == [1, 2, 3]
    assert {w.lease_owner for w in waiting(store)} == {"c"}


def test_what_is_not_due_is_not_claimed(store: Engine, now: datetime) -> None:
    fill(store, 1, now + timedelta(microseconds=1))
    assert ids(store, "a", now) == []


def test_released_messages_can_be_claimed_at_once_but_only_by_their_owner_released(
    store: Engine, now: datetime
) -> None:
    fill(store, 2, now)
    ids(store, "a", now)
    release(store, [1, 2], worker="b")
    assert ids(store, "b", now) == []
    release(store, [2], worker="a")
    assert ids(store, "b", now) == [2]


def test_a_message_that_is_being_handed_over_is_neither_released_nor_claimed(
    store: Engine, now: datetime
) -> None:
    """Even without a lease and long due: only recovery may touch it."""
    fill(store, 1, now)
    ids(store, "a", now)
    with writing(store) as connection:
        connection.execute(update(messages).values(state="handing_over"))
    release(store, [1], worker="a")
    assert waiting(store)[0].lease_owner == "a"
    assert ids(store, "b", now + 2 * LEASE) == []


def test_a_lease_is_renewed_only_by_its_owner(store: Engine, now: datetime) -> None:
    fill(store, 2, now)
    ids(store, "a", now, limit=1)
    assert renew(store, [1, 2], worker="a", until=now + 2 * LEASE) == {1}
    assert renew(store, [1], worker="b", until=now) == set()
    assert ids(store, "b", now + LEASE) == [2]


def test_recovery_waits_for_the_lease_and_then_calls_each_mail_uncertain_once(
    store: Engine, now: datetime
) -> None:
    fill(store, 2, now)
    ids(store, "a", now)
    with writing(store) as connection:
        connection.execute(update(messages).where(messages.c.id == 1).values(state="handing_over"))
    assert recover(store, at=now + LEASE - timedelta(microseconds=1)) == 0
    assert recover(store, at=now + LEASE) == 1
    assert recover(store, at=now + LEASE) == 0
    assert states(store) == {"uncertain": 1, "planned": 1}
    assert [w.message_id for w in waiting(store)] == [2]


def test_a_message_left_without_a_lease_in_the_middle_is_uncertain_too(store: Engine, now: datetime) -> None:
    fill(store, 1, now)
    with writing(store) as connection:
        connection.execute(update(messages).values(state="handing_over"))
        connection.execute(update(outbox).values(lease_until=None))
    assert recover(store, at=now) == 1


def test_one_statement_serves_both_databases(store: Engine, now: datetime) -> None:
    """PostgreSQL skips what others have locked; SQLite has no such words and needs none."""
    asked: list[str] = []
    event.listen(store, "before_cursor_execute", lambda *a: asked.append(a[2]))
    ids(store, "a", now)
    (statement,) = [words for words in asked if "UPDATE outbox" in words]
    assert ("FOR UPDATE OF outbox SKIP LOCKED" in statement) == (store.dialect.name == "postgresql")


def test_no_two_workers_have_one_name() -> None:
    assert worker_name() != worker_name()


@pytest.mark.slow
def test_four_processes_claim_every_message_once(store: Engine, now: datetime) -> None:
    fill(store, 2_000, now)
    words = [sys.executable, str(PROGRAM), store.url.render_as_string(hide_password=False), now.isoformat()]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(4)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        claimed = [[int(line) for line in worker.stdout or ()] for worker in workers]
        assert [worker.wait() for worker in workers] == [0] * 4
    assert sorted(message_id for mine in claimed for message_id in mine) == list(range(1, 2_001))
    assert sum(bool(mine) for mine in claimed) >= 2
