"""The planner against SQL written by hand: the bench's store in small, every row of the ledger compared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def _work(root: Path, task: str, **order: str | int) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.work", json.dumps({"task": task, **order})],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
def test_the_planner_and_hand_written_sql_decide_the_same_about_every_candidate(
    store_url: str, project_root: Path, tmp_path: Path
) -> None:
    """Three campaigns over 6,000 customers: the same customers, occasions, times, states, reasons and outbox."""
    from_bench = project_root / "bench" / "project"
    project = tmp_path / "bench-project"
    shutil.copytree(from_bench, project)
    for part in ("triggers", "templates"):
        shutil.copytree(project_root / part, project / part)
    _work(project_root, "empty", url=store_url)
    _work(project_root, "fill", url=store_url, customers=6_000)
    planned = _work(project_root, "plan", url=store_url, project=str(project))
    _work(project_root, "undo", url=store_url)
    by_hand = _work(project_root, "plan_bare", url=store_url)
    assert planned["counts"] == by_hand["counts"]
    assert planned["digest"] == by_hand["digest"]
    reasons = {reason for _, _, reason, _ in planned["counts"]}
    assert reasons >= {None, "capped", "suppressed"}, "the store must give every rule something to decide"
