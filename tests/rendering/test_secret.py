"""The key for links is made once, kept private and the same for everybody."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from drumbeat.errors import UsageError
from drumbeat.rendering.secret import SECRET_FILE, load_secret, load_secrets

NAME = "DRUMBEAT_TEST_SECRET"


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, f"{'a' * 20}\n {'b' * 20}")
    assert load_secret(tmp_path, NAME) == b"a" * 20
    assert load_secrets(tmp_path, NAME) == [b"a" * 20, b"b" * 20]
    assert not (tmp_path / SECRET_FILE).exists()


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    first = load_secret(tmp_path, NAME)
    assert len(first) == 64
    assert load_secret(tmp_path, NAME) == first
    assert stat.S_IMODE((tmp_path / SECRET_FILE).stat().st_mode) == 0o600
    assert [p.name for p in (tmp_path / SECRET_FILE).parent.iterdir()] == ["secret"]


def test_processes_that_make_it_at_once_get_the_same_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from drumbeat.rendering.secret import load_secret;"
        f"sys.stdin.readline(); print(load_secret(Path(sys.argv[1]), '{NAME}').decode())"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    keys = set()
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        keys.add(racer.communicate(timeout=60)[0].strip())
    assert len(keys) == 1
    assert len(keys.pop()) == 64


@pytest.mark.parametrize("value", ["short", "long-enough-first-key short"])
def test_a_short_key_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(UsageError, match=f"environment variable {NAME} holds no key of at least 16"):
        load_secrets(tmp_path, NAME)


def test_an_emptied_file_is_refused_and_not_replaced(tmp_path: Path) -> None:
    """Replacing it would break the links of every mail already sent."""
    (tmp_path / ".drumbeat").mkdir()
    (tmp_path / SECRET_FILE).write_text("")
    with pytest.raises(UsageError, match="holds no key"):
        load_secret(tmp_path, NAME)


def test_a_folder_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / ".drumbeat").write_text("a file where the folder belongs")
    with pytest.raises(UsageError, match=f"set {NAME} to a secret instead"):
        load_secret(tmp_path, NAME)
