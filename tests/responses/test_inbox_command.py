"""What must hold for `drumbeat inbox` and for the collect that works on what came in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, update

from drumbeat.responses.arrived import Arrived, store_arrived, store_mail
from drumbeat.store.engine import connect, writing
from drumbeat.store.tables import inbox
from drumbeat.store.upgrade import upgrade

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def shop(project_root, tmp_path):
    """A copy of the reference project with a store: its folder, the store, and how to call a command."""
    root = tmp_path / "shop"
    root.mkdir()
    for name in ("project.yaml", "segments.yaml"):
        shutil.copy(project_root / name, root)
    for name in ("campaigns", "triggers", "templates"):
        shutil.copytree(project_root / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / "project.yaml").read_text()
    (root / "project.yaml").write_text(text.partition("\nimports:")[0] + "\n")
    environment = {k: v for k, v in os.environ.items() if k != "DRUMBEAT_DATABASE_URL"}
    engine = connect(f"sqlite:///{root / 'drumbeat.db'}")
    upgrade(engine)

    def call(*words):
        line = [sys.executable, "-m", "drumbeat", *words]
        directly = {**environment, "PREFECT_API_URL": ""}
        done = subprocess.run(line, cwd=root, env=directly, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done

    yield engine, call
    engine.dispose()


def fail(engine, body=b"no json", error="the call is no JSON"):
    with writing(engine) as connection:
        store_arrived(connection, [Arrived("ses", f"ses:{body!r}", AT, body, {"content-type": "text/plain"})])
        connection.execute(update(inbox).values(state="failed", error=error, attempts=1))


def test_it_lists_shows_and_tries_again(shop):
    engine, call = shop
    fail(engine)
    listed = call("inbox")
    assert listed.returncode == 0
    assert "the call is no JSON" in listed.stdout
    assert "0 wait to be worked on, 1 could not be read." in listed.stdout
    told = json.loads(call("inbox", "--json").stdout)
    assert (told["new"], told["failed"], told["rows"][0]["error"]) == (0, 1, "the call is no JSON")
    row_id = str(told["rows"][0]["id"])
    shown = json.loads(call("inbox", "--show", row_id, "--json").stdout)
    assert set(shown) == {"id", "source", "state", "error", "received_at", "headers", "body", "events"}
    assert (shown["body"], shown["state"], shown["events"]) == ("no json", "failed", None)
    text = call("inbox", "--show", row_id).stdout
    assert "content-type: text/plain" in text
    assert "no json" in text
    assert json.loads(call("inbox", "--retry", "--id", row_id, "--json").stdout) == {"retried": 1}
    assert "1 wait to be worked on, 0 could not be read." in call("inbox").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--show", "77"), "the inbox has no row 77"),
        (("--show", "1", "--retry"), "choose one of them"),
        (("--id", "1"), "choose one of them"),
    ],
)
def test_bad_input_gives_one_line(shop, words, told):
    done = shop[1]("inbox", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_collect_works_on_what_came_in(shop):
    engine, call = shop
    store_mail(engine, b"Subject: out of office\nAuto-Submitted: auto-replied\n\nI am away.\n", AT)
    with writing(engine) as connection:
        connection.execute(
            insert(inbox).values(source="unheard_of", dedupe_key="x", received_at=AT, headers={}, body=b"")
        )
    done = call("run", "collect", "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    came_in = run["figures"]["came_in"]
    expected = {"done": 1, "failed": 0, "waiting": 0, "responses": 1, "suppressed": 0}
    assert {name: came_in[name] for name in expected} == expected
    assert json.loads(call("inbox", "--json").stdout)["new"] == 1, "nobody here reads what it is"
