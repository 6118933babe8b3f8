"""The bench of hits runs, in small, and counts what it loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CODE = """
import json, sys
from pathlib import Path
from bench.hits import measure
print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), connections=4, seconds=0.3, readers=600)))
"""


@pytest.mark.slow
def test_every_answered_hit_of_every_load_is_stored(store_url, tmp_path, project_root):
    words = [sys.executable, "-c", CODE, store_url, str(tmp_path)]
    done = subprocess.run(words, cwd=project_root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == ["opens", "clicks", "all", "calls"]
    for load in figures.values():
        assert load["answered"] > 0
        assert load["per_second"] > 0
        assert 0 < load["p50_ms"] <= load["p99_ms"]
        assert load["server_us"] > 0
        assert ("database_us" in load) is store_url.startswith("postgresql")
