"""What must hold for `drumbeat report`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def report(project_root, tmp_path):
    """Calls the command in a copy of the reference project with a store of its own."""
    root = tmp_path / "shop"
    root.mkdir()
    for name in ("project.yaml", "segments.yaml"):
        shutil.copy(project_root / name, root)
    for name in ("campaigns", "triggers", "templates"):
        shutil.copytree(project_root / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {k: v for k, v in os.environ.items() if k != "DRUMBEAT_DATABASE_URL"}

    def call(*words):
        line = [sys.executable, "-m", "drumbeat", "report", *words]
        return subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True, check=False)

    return call


def test_it_prints_a_table_json_and_a_page(report, tmp_path):
    table = report()
    assert (table.returncode, table.stderr) == (0, "")
    assert "newsletter" in table.stdout
    page = tmp_path / "report.html"
    both = report("--json", "--html", str(page), "--as-of", "2011-12-05T09:00")
    assert both.returncode == 0
    assert json.loads(both.stdout)["as_of"] == "2011-12-05T09:00:00+00:00"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--campaign", "newslettr"), "unknown campaign 'newslettr'. Did you mean 'newsletter'?"),
        (("--since", "yesterday"), "cannot read 'yesterday' as a time"),
        (("--since", "2011-12-02", "--until", "2011-12-01"), "the period is empty"),
        (("--html", "no/such/folder/report.html"), "cannot write no/such/folder/report.html"),
    ],
)
def test_bad_input_gives_one_line(report, words, told):
    done = report(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
