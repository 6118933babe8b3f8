"""The command line as a whole: help, errors, exit codes, and what it imports."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from drumbeat.cli import COMMANDS, cli
from drumbeat.cli.output import guarded
from drumbeat.errors import DrumbeatError, InputError, ProjectError, StoreError, UsageError
from drumbeat.issues import Issue, Place

HEAVY = ("sqlalchemy", "prefect", "rich", "alembic", "fastapi", "requests", "psycopg2")


def imported_by(*arguments: str, folder: Path) -> set[str]:
    """The heavy modules that a call of the command imports."""
    code = (
        "import sys\nfrom drumbeat.cli import cli\nfrom drumbeat.cli.output import guarded\n"
        f"code = guarded(cli, {list(arguments)!r})\n"
        f"print('\\nLOADED', *[m for m in {HEAVY!r} if m in sys.modules])\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("arguments", [("--help",), ("validate",), ("validate", "--json"), ("--version",)])
def test_help_and_validate_import_nothing_heavy(arguments: tuple[str, ...], project_root: Path) -> None:
    """They answer within 0.4 s, as no database, Prefect or table printer is imported."""
    assert imported_by(*arguments, folder=project_root) == set()


def test_help_names_every_command_without_importing_it(project_root: Path) -> None:
    code = (
        "import sys\nfrom drumbeat.cli import COMMANDS, cli\nfrom drumbeat.cli.output import guarded\nguarded(cli, ['--help'])\n"
        "sys.exit(any(entry.module in sys.modules for entry in COMMANDS.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, entry in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert entry.help in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_module_exists_and_bears_its_name(name: str) -> None:
    command = importlib.import_module(COMMANDS[name].module).command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_manual(name: str, project_root: Path) -> None:
    assert f"### `drumbeat {name}" in (project_root / "docs" / "commands.md").read_text()


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no project"), 2),
        (InputError("bad file"), 4),
        (StoreError("old tables"), 5),
        (DrumbeatError("plain"), 1),
        (ValueError("a surprise"), 1),
        (click.UsageError("no such option"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["drumbeat"])
    assert guarded(failing(error), []) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("drumbeat: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_an_error_of_several_lines_is_still_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(failing(StoreError("first\n   second")), [])
    assert capsys.readouterr().err == "drumbeat: first second\n"


def test_a_surprise_is_called_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(failing(ValueError("a surprise")), [])
    assert "bug" in capsys.readouterr().err


def test_faults_of_the_project_are_a_line_each_and_a_sum(capsys: pytest.CaptureFixture[str]) -> None:
    issues = [
        Issue(Place(Path("a.yaml"), 3, 5), "DB001", "is odd."),
        Issue(Place(Path("b.yaml")), "DB002", "too."),
    ]
    assert guarded(failing(ProjectError(issues)), []) == 3
    assert capsys.readouterr().err.splitlines() == [
        "a.yaml:3:5 DB001 is odd.",
        "b.yaml:1:1 DB002 too.",
        "drumbeat: 2 faults in the project; nothing was done",
    ]


@pytest.mark.parametrize("arguments", [["-v", "validate"], ["validate", "-v"]])
def test_verbose_gives_the_traceback_wherever_it_stands(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["drumbeat"])
    assert guarded(cli, arguments) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("drumbeat: no project.yaml")


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(cli, ["exlpain"]) == 2
    assert "Did you mean 'explain'?" in capsys.readouterr().err


def test_output_into_a_closed_pipe_ends_quietly(project_root: Path) -> None:
    code = (
        "from drumbeat.cli.output import guarded; import click, sys\n"
        "@click.command()\ndef c():\n  for i in range(100000): click.echo('x' * 50)\n"
        "sys.exit(guarded(c, []))"
    )
    words = [sys.executable, "-c", code]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=project_root)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 141
    assert err == b""


def test_the_exit_codes_are_in_the_manual(project_root: Path) -> None:
    manual = (project_root / "docs" / "commands.md").read_text()

    def tree(kind: type[DrumbeatError]) -> list[type[DrumbeatError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]

    for kind in tree(DrumbeatError):
        assert f"| {kind.exit_code} |" in manual


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a file into a small project in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_bad_yaml_is_named_by_file_line_and_column(
    shop: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shop("project.yaml", "project: x\n  senders: [\n")
    shop("segments.yaml", "{}\n")
    shop("triggers/__init__.py", "KINDS = {}\n")
    assert guarded(cli, ["validate"]) == 3
    assert capsys.readouterr().err.startswith("project.yaml:2:")
