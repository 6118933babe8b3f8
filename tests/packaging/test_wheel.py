"""The built wheel, installed as a newcomer would: `drumbeat init my-shop` gives a project that runs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from drumbeat.cli.init import PARTS

pytestmark = pytest.mark.slow


def call(*words: str | Path, folder: Path) -> str:
    keep = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PREFECT_", "DRUMBEAT_", "PYTHON", "PIP_BUILD_"))
    }
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=keep,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", folder, project_root, folder=folder,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel in it; its dependencies are lent by this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    # This environment's editable Drumbeat stands in a .pth file, which is not read from a lent folder.
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    call(
        sys.executable, "-m", "pip", "--python", folder / "bin" / "python",
        "install", "--quiet", "--no-deps", "--no-index", wheel, folder=folder,
    )  # fmt: skip
    return folder / "bin"


def test_the_wheel_puts_nothing_but_drumbeat_into_site_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"drumbeat"}


def test_the_wheel_carries_the_whole_project_and_no_leftovers(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("drumbeat/_project/")]
    assert {name.split("/")[2] for name in names} == set(PARTS)
    assert not [
        name for name in names if "__pycache__" in name or ".rejected." in name or name.endswith(".db")
    ]


def test_a_new_project_from_the_wheel_is_sound_and_runs(installed: Path, tmp_path: Path) -> None:
    drumbeat = installed / "drumbeat"
    where = call(installed / "python", "-c", "import drumbeat; print(drumbeat.__file__)", folder=tmp_path)
    assert str(installed.parent) in where
    call(drumbeat, "init", "my-shop", folder=tmp_path)
    shop = tmp_path / "my-shop"
    assert "campaigns are sound" in call(drumbeat, "validate", folder=shop)
    newsletter = shop / "campaigns" / "newsletter.yaml"
    newsletter.write_text(newsletter.read_text() + "enabled: false\n")  # a thousand mails less
    out = call(drumbeat, "run", "--as-of", "2011-12-05T09:00+00:00", folder=shop)
    assert "No Prefect API is configured: running directly" in out
    assert len(list((shop / "mailbox" / "new").iterdir())) > 0
