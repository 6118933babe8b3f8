"""`drumbeat deliver` as a process: stopping it, its output, and errors of one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from servers.shop import fill, make_shop, states, waiting
from servers.smtp import smtp_server
from sqlalchemy import Engine, update

from drumbeat.store.engine import connect, writing
from drumbeat.store.tables import messages, outbox
from drumbeat.store.upgrade import upgrade

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project whose store is SQLite in its own folder."""
    return make_shop(tmp_path / "shop")


@pytest.fixture
def engine(shop: Path) -> Iterator[Engine]:
    """The project's store."""
    engine = connect(f"sqlite:///{shop}/drumbeat.db")
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def due() -> datetime:
    """A minute ago."""
    return datetime.now(UTC) - timedelta(minutes=1)


@pytest.fixture
def start(shop: Path) -> Start:
    """Start `drumbeat deliver` with options."""
    env = {k: v for k, v in os.environ.items() if k != "DRUMBEAT_DATABASE_URL"}

    def run(*options: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "drumbeat", "deliver", "-C", str(shop), *options]
        return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return run


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end; return the exit code and what was printed."""
    with process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_it_says_what_it_did(engine: Engine, start: Start, shop: Path, due: datetime) -> None:
    fill(engine, 3, due)
    assert ended(start()) == (0, "3 sent\n", "")
    assert len(list((shop / "mailbox/new").iterdir())) == 3
    assert ended(start()) == (0, "", "Nothing is due.\n")


def test_json_has_every_count(engine: Engine, start: Start, due: datetime) -> None:
    fill(engine, 2, due)
    code, out, _ = ended(start("--json", "--limit", "1"))
    expected = dict.fromkeys(("refused", "deferred", "uncertain", "skipped", "expired", "failed"), 0)
    assert (code, json.loads(out)) == (0, {"sent": 1, **expected, "uncertain_mails": []})


def test_uncertain_mails_are_listed_after_the_run_and_on_demand(
    engine: Engine, start: Start, due: datetime
) -> None:
    fill(engine, 1, due)
    assert ended(start("--list-uncertain")) == (0, "No mail is uncertain.\n", "")
    with writing(engine) as connection:
        connection.execute(update(messages).values(state="handing_over"))
        connection.execute(update(outbox).values(lease_until=due, lease_owner="dead"))
    code, out, _ = ended(start())
    assert code == 0
    assert out.startswith("1 uncertain\n")
    for shown in (out, ended(start("--list-uncertain"))[1]):
        assert all(word in shown for word in ("c1", "r1@example.com", "reminder", "cart:a1"))
    (listed,) = json.loads(ended(start("--list-uncertain", "--json"))[1])
    assert (listed["customer"], listed["campaign"]) == ("c1", "reminder")


def test_a_mail_that_failed_says_why(engine: Engine, start: Start, shop: Path, due: datetime) -> None:
    """Somebody who runs it by hand must not have to ask the ledger what is wrong with a template."""
    fill(engine, 1, due)
    (shop / "templates/reminder/body.txt.j2").write_text("{{ colour }}{{ unsubscribe_url }}")
    code, out, err = ended(start())
    assert (code, out) == (0, "1 failed\n")
    assert err.startswith("One that failed: reminder for customer c1: templates/reminder/body.txt.j2:1:")
    assert err.count("\n") == 1


def test_as_of_lets_a_past_day_be_delivered(engine: Engine, start: Start) -> None:
    fill(engine, 1, datetime(2011, 12, 5, 9, tzinfo=UTC))
    assert ended(start("--as-of", "2011-12-05T08:00")) == (0, "", "Nothing is due.\n")
    code, out, _ = ended(start("--as-of", "2011-12-05T09:00", "--backend", "console"))
    assert (code, out.splitlines()[0], out.splitlines()[-1]) == (0, "To: r1@example.com", "1 sent")


def test_a_mail_server_that_is_away_is_one_line_and_burns_nothing(
    engine: Engine, start: Start, shop: Path, due: datetime
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        make_shop(shop, {"backend": "smtp", "smtp": {"port": unused.getsockname()[1]}})
        fill(engine, 2, due)
        code, out, err = ended(start())
    assert (code, out) == (7, "")
    assert err.startswith("drumbeat: cannot reach the mail server 127.0.0.1:")
    assert err.count("\n") == 1
    assert {(w.attempts, w.lease_owner) for w in waiting(engine)} == {(0, None)}


@pytest.mark.smtp
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("options", [[], ["--watch"]], ids=["once", "watch"])
def test_a_signal_lets_it_finish_its_mail_and_give_the_rest_back(
    engine: Engine, start: Start, shop: Path, due: datetime, tmp_path: Path, number: int, options: list[str]
) -> None:
    """Nothing is uncertain, nothing stays leased, and the counts are those of the server."""
    with smtp_server(tmp_path / "mails.jsonl", "--delay-ms", "30") as server:
        make_shop(shop, {"backend": "smtp", "smtp": {"port": server.port}})
        fill(engine, 500, due)
        process = start(*options)
        deadline = time.monotonic() + 60
        while len(server.mails) < 5:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        code, out, err = ended(process)
        arrived = len(server.mails)
    assert 5 <= arrived < 500
    assert states(engine) == {"sent": arrived, "planned": 500 - arrived}
    assert {(w.lease_owner, w.lease_until) for w in waiting(engine)} == {(None, None)}
    assert (code, out) == (0, f"{arrived} sent\n")
    assert "Stopped; what is still due waits for the next run." in err


@pytest.mark.smtp
def test_a_watching_worker_takes_up_what_becomes_due(
    engine: Engine, start: Start, shop: Path, due: datetime, tmp_path: Path
) -> None:
    with smtp_server(tmp_path / "mails.jsonl") as server:
        make_shop(shop, {"backend": "smtp", "smtp": {"port": server.port}})
        fill(engine, 1, due)
        process = start("--watch")
        deadline = time.monotonic() + 60
        for more in (1, 2):
            while len(server.mails) < more:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            if more == 1:
                fill(engine, 1, due)
        process.terminate()
        assert ended(process)[:2] == (0, "2 sent\n")
