"""In CI a skipped test of a server is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest

@pytest.mark.postgresql
def test_needs_a_server():
    pytest.skip("no server here")

def test_is_only_a_matter_of_taste():
    pytest.skip("not today")
"""


@pytest.mark.parametrize(("value", "code"), [("", 0), ("1", 1)])
def test_a_skip_for_want_of_a_server_fails_where_none_may_be_skipped(
    project_root: Path, tmp_path: Path, value: str, code: int
) -> None:
    (tmp_path / "conftest.py").write_text((project_root / "tests" / "conftest.py").read_text())
    settings = f"[pytest]\nmarkers = postgresql\npythonpath = {project_root / 'tests'}\n"
    (tmp_path / "pytest.ini").write_text(settings)
    (tmp_path / "test_it.py").write_text(SKIPS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)],
        env={**os.environ, "DRUMBEAT_NO_SKIP": value},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("1 failed, 1 skipped" if value else "2 skipped") in done.stdout
    assert ("no server here" in done.stdout) is bool(value)
