"""What must hold for `drumbeat serve` as a process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
import requests

from drumbeat.rendering.links import Links

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


def start(project, *words):
    environment = {k: v for k, v in os.environ.items() if k != "DRUMBEAT_DATABASE_URL"}
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
