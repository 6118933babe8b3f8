"""What must hold for `drumbeat serve` as a process."""

from __future__ import annotations

import hmac
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
from sqlalchemy import select

from drumbeat.rendering.links import Links
from drumbeat.store.engine import connect, reading
from drumbeat.store.tables import suppressions

SECRET = "a secret for tests, long enough".replace(" ", "-")


@pytest.fixture
def project(project_root, tmp_path):
    """A copy of the reference project's files, with a store of its own."""
    root = tmp_path / "shop"
    root.mkdir()
    for name in ("project.yaml", "segments.yaml"):
        shutil.copy(project_root / name, root)
    for name in ("campaigns", "triggers", "templates"):
        shutil.copytree(project_root / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def start(project, *words, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "DRUMBEAT_DATABASE_URL"} | variables
    return subprocess.Popen(
        [sys.executable, "-m", "drumbeat", "serve", "-C", str(project), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "DRUMBEAT_SECRET": SECRET, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_answers_and_stops_cleanly(project, stop):
    process = start(project, "--port", "0", "--as-of", "2011-12-05T09:00")
    try:
        line = process.stdout.readline()
        url = re.match(r"Listening on (http://127\.0\.0\.1:\d+); the links in mails lead to http", line)[1]
        health = requests.get(f"{url}/health", timeout=30)
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        link = Links(url, SECRET.encode()).unsubscribe(1)
        page = requests.get(link, timeout=30)
        assert page.status_code == 200
        assert "Hearthside" in page.text
        assert "What is new in the shop" in page.text
        process.send_signal(stop)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (0, "")
    assert err.strip().splitlines()[-1].startswith("Stopped;")
    assert "Traceback" not in err


def test_a_port_in_use_is_told_in_one_line(project):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(project, "--port", str(taken.getsockname()[1]))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(r"drumbeat: cannot listen on 127\.0\.0\.1 port \d+: .*choose another --port\n", err)


def test_a_bounce_told_by_a_webhook_suppresses_within_seconds(project):
    """A real process: the call is stored, answered, and worked on by the server itself."""
    text = (project / "project.yaml").read_text()
    set_up = "  mailgun: {domain: mg.example.com, webhook_key_env: TEST_MAILGUN_KEY}\n"
    (project / "project.yaml").write_text(text.replace("  backend: file\n", f"  backend: file\n{set_up}", 1))
    process = start(project, "--port", "0", "--trusted-proxy", "127.0.0.1", TEST_MAILGUN_KEY=SECRET)
    try:
        url = re.match(r"Listening on (\S+);", process.stdout.readline())[1]
        stamp = str(int(time.time()))
        signature = hmac.new(SECRET.encode(), f"{stamp}token".encode(), "sha256").hexdigest()
        told = {"event": "complained", "id": "1", "timestamp": time.time(), "recipient": "a@example.com"}
        body = {
            "signature": {"timestamp": stamp, "token": "token", "signature": signature},
            "event-data": told,
        }
        assert requests.post(f"{url}/hooks/mailgun", json=body, timeout=30).status_code == 200
        assert requests.post(f"{url}/hooks/sendgrid", json=body, timeout=30).status_code == 404
        engine = connect(f"sqlite:///{project / 'drumbeat.db'}")
        end = time.monotonic() + 20
        found = []
        while not found and time.monotonic() < end:
            time.sleep(0.1)
            with reading(engine) as connection:
                found = connection.execute(select(suppressions.c.email_key, suppressions.c.reason)).all()
        engine.dispose()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert [tuple(row) for row in found] == [("a@example.com", "complained")]
    assert "/hooks/ of: mailgun" in err
    assert "a call of sendgrid is not served: " in err
    assert "Traceback" not in err


def test_a_proxy_that_is_no_network_is_told_in_one_line(project):
    process = start(project, "--port", "0", "--trusted-proxy", "10.0.0.0/99")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert (
        err == "drumbeat: '10.0.0.0/99' is no network; expected for example 192.0.2.0/24 or 2001:db8::/32\n"
    )


def test_a_fault_in_machines_yaml_is_told_with_its_place(project):
    (project / "machines.yaml").write_text("- {rule: x, class: robot}\n")
    process = start(project, "--port", "0")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    assert err.startswith("machines.yaml:1:20 DB020 0.class: found 'robot'")
