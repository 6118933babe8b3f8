"""`drumbeat preview` writes a mail to look at, without campaigns or a database."""

from __future__ import annotations

import email
import email.policy
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from drumbeat.cli.preview import command
from drumbeat.errors import DrumbeatError


@pytest.fixture
def project(tmp_path: Path, project_root: Path) -> Path:
    """A project with nothing but project.yaml and templates."""
    root = tmp_path / "shop"
    shutil.copytree(project_root / "templates", root / "templates")
    shutil.copy(project_root / "project.yaml", root)
    return root


def run(root: Path, *words: str) -> str:
    result = CliRunner().invoke(command, ["-C", str(root), *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_it_writes_html_text_and_mail(project: Path, tmp_path: Path) -> None:
    shown = json.loads(run(project, "abandoned_cart", "--json", "--out", str(tmp_path / "out")))
    assert shown["subject"] == "Emma, your basket is still here 🧺"
    assert shown["issues"] == []
    assert set(shown["files"]) == {"html", "txt", "eml"}
    message = email.message_from_bytes(Path(shown["files"]["eml"]).read_bytes(), policy=email.policy.default)
    assert message["Subject"] == shown["subject"]
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert shown["html_bytes"] == Path(shown["files"]["html"]).stat().st_size


def test_it_shows_a_language(project: Path) -> None:
    out = run(project, "abandoned_cart", "--language", "de")
    assert "Jürgen, Ihr Warenkorb wartet noch" in out
    assert (project / ".drumbeat/preview/abandoned_cart.de.html").is_file()


def test_it_names_the_nearest_mail(project: Path) -> None:
    with pytest.raises(DrumbeatError, match="Did you mean 'newsletter'"):
        CliRunner().invoke(command, ["-C", str(project), "newsleter"], catch_exceptions=False)


def test_a_folder_that_cannot_be_written_is_one_line(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DrumbeatError, match=r"cannot write into .*; choose another folder with --out"):
        CliRunner().invoke(
            command,
            ["-C", str(project), "newsletter", "--out", str(tmp_path / "file" / "x")],
            catch_exceptions=False,
        )
