"""The proof: killed at any instant, no mail is doubled and none is lost.

A real `drumbeat deliver` process hands 2,000 mails to a real SMTP server process, which writes down each
mail before it answers 250. The delivering process is killed by SIGKILL twenty times at random moments and
started again each time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers.shop import fill, make_shop
from servers.smtp import smtp_server
from sqlalchemy import Engine, func, select

from drumbeat.store.engine import connect, reading
from drumbeat.store.tables import customers, messages, outbox
from drumbeat.store.upgrade import upgrade

pytestmark = [pytest.mark.slow, pytest.mark.smtp]

LEASE_S = 2
DEADLINE_S = 240


@pytest.fixture
def ledger(store_url: str) -> Iterator[Engine]:
    """A store as `drumbeat db upgrade` leaves it, on both databases."""
    engine = connect(store_url)
    upgrade(engine)
    yield engine
    engine.dispose()


class Worker:
    """Starts `drumbeat deliver` for a project again and again."""

    def __init__(self, root: Path, url: str) -> None:
        self.words = [sys.executable, "-m", "drumbeat", "deliver", "-C", str(root)]
        self.env = {**os.environ, "DRUMBEAT_DATABASE_URL": url, "DRUMBEAT_SECRET": "0123456789abcdef" * 2}

    def start(self) -> subprocess.Popen[bytes]:
        """Start a worker that ends when nothing is due."""
        return subprocess.Popen(
            self.words,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def finish(self) -> None:
        """Deliver until it ends by itself. Fails where it does not end well."""
        with self.start() as process:
            _, errors = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, errors.decode()

    def json(self, *more: str) -> Any:
        """Run it with --json and return what it prints."""
        words = [*self.words, "--json", *more]
        return json.loads(subprocess.run(words, env=self.env, check=True, capture_output=True).stdout)


def kill_again_and_again(
    worker: Worker, arrived: Callable[[], int], total: int, kills: int, seed: int
) -> int:
    """Kill the worker at `kills` random moments of the delivery; return how often a kill met it at work.

    A moment: after a random number of further mails has arrived, and a random few milliseconds more.
    """
    moments = random.Random(seed)
    deadline = time.monotonic() + DEADLINE_S
    done = 0
    while done < kills:
        assert time.monotonic() < deadline, f"only {done} kills in {DEADLINE_S} s"
        before = arrived()
        target = before + moments.randint(0, total // kills)
        with worker.start() as process:
            while process.poll() is None and arrived() < target:
                time.sleep(0.002)
            time.sleep(moments.uniform(0, 0.03))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
            else:
                assert process.returncode == 0, process.stderr.read().decode() if process.stderr else ""
                # All that is left is leased by workers that are dead; or the work is over too early.
                time.sleep(0.1)
                assert arrived() < total
    return done


def finish(worker: Worker, engine: Engine) -> None:
    """Deliver the rest; leases of the dead run out meanwhile."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        worker.finish()
        with reading(engine) as connection:
            if not connection.execute(select(func.count()).select_from(outbox)).scalar():
                return
        assert time.monotonic() < deadline, "the outbox does not become empty"
        time.sleep(0.2)


def ends(engine: Engine) -> Mapping[str, str]:
    """Return each address's final state."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(customers.c.email, messages.c.state).join(
                messages, messages.c.customer_id == customers.c.id
            )
        )
        return dict(rows.tuples().all())


def test_killed_twenty_times_no_mail_is_doubled_and_none_is_lost(
    ledger: Engine, store_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    total, kills = 2_000, 20
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails, to play the same moments again
    fill(ledger, total, datetime.now(UTC) - timedelta(minutes=1))
    with smtp_server(tmp_path / "mails.jsonl") as server:
        delivery = {"backend": "smtp", "smtp": {"port": server.port}, "lease": f"{LEASE_S}s"}
        worker = Worker(make_shop(tmp_path / "shop", delivery), store_url)
        kill_again_and_again(worker, Lines(server.log), total, kills, seed)
        finish(worker, ledger)
        addresses = Counter(server.addresses)
        listed = {mail["email"] for mail in worker.json("--list-uncertain")}
    states = ends(ledger)
    uncertain = {address for address, state in states.items() if state == "uncertain"}
    record_property("uncertain", len(uncertain))
    record_property("uncertain_but_arrived", len(uncertain & addresses.keys()))
    print(f"uncertain {len(uncertain)}, of which arrived {len(uncertain & addresses.keys())}")  # noqa: T201
    assert [address for address, times in addresses.items() if times > 1] == [], "doubled"
    assert set(states.values()) <= {"sent", "uncertain"}
    assert len(states) == total
    sent = {address for address, state in states.items() if state == "sent"}
    assert sent - addresses.keys() == set(), "lost: recorded as sent, but never arrived"
    assert states.keys() - addresses.keys() <= uncertain, "lost: neither arrived nor uncertain"
    assert listed == uncertain
    assert len(uncertain) <= kills


def test_killed_while_writing_a_maildir_no_mail_is_lost(
    ledger: Engine, store_url: str, tmp_path: Path
) -> None:
    """Each mail is a file of its own name, so that a double cannot be; nor is one half written."""
    total, kills = 400, 6
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails, to play the same moments again
    fill(ledger, total, datetime.now(UTC) - timedelta(minutes=1))
    root = make_shop(tmp_path / "shop", {"backend": "file", "lease": f"{LEASE_S}s"})
    worker = Worker(root, store_url)
    new = root / "mailbox/new"

    def arrived() -> int:
        return sum(1 for _ in new.iterdir()) if new.exists() else 0

    kill_again_and_again(worker, arrived, total, kills, seed)
    finish(worker, ledger)
    texts = [path.read_bytes() for path in new.iterdir()]
    found = {_recipient(text) for text in texts}
    assert all(text.endswith(b"--\r\n") for text in texts)
    states = ends(ledger)
    uncertain = {address for address, state in states.items() if state == "uncertain"}
    assert set(states.values()) <= {"sent", "uncertain"}
    assert {address for address, state in states.items() if state == "sent"} <= found
    assert states.keys() - found <= uncertain
    assert len(found) == len(texts)
    assert len(uncertain) <= kills


class Lines:
    """Counts the lines of a growing file, reading each byte once: the test must not slow the worker down."""

    def __init__(self, path: Path) -> None:
        self.path, self.read, self.found = path, 0, 0

    def __call__(self) -> int:
        with self.path.open("rb") as file:
            file.seek(self.read)
            more = file.read()
        self.read += len(more)
        self.found += more.count(b"\n")
        return self.found


def _recipient(text: bytes) -> str:
    line = next(line for line in text.split(b"\r\n") if line.startswith(b"To: "))
    return line.removeprefix(b"To: ").decode().rpartition("<")[2].rstrip(">")
