"""`drumbeat init DIR`: a new project from the reference project."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from drumbeat.errors import UsageError

PARTS = (
    "project.yaml",
    "segments.yaml",
    "campaigns",
    "templates",
    "triggers",
    "flows",
    "deployments",
    "mappings",
    "data",
)
"""What a project consists of; pyproject.toml puts the same into the wheel as drumbeat/_project."""

IGNORED = """\
drumbeat.db*
.drumbeat/
mailbox/
notes/
*.rejected.csv
__pycache__/
"""


def reference_project() -> Path:
    """Return the folder of the reference project: the wheel's copy, or the root of a source checkout."""
    package = Path(__file__).resolve().parent.parent
    carried = package / "_project"
    if (carried / "project.yaml").is_file():
        return carried
    checkout = package.parent.parent
    if (checkout / "project.yaml").is_file():
        return checkout
    raise UsageError("this installation of Drumbeat carries no reference project; install the wheel again")


def make_project(folder: Path) -> list[str]:
    """Copy the reference project into `folder`, which must be empty or missing; return what was copied.

    Raises UsageError where something is there already, or where it cannot be written.
    """
    source = reference_project()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty; choose a new folder, for example {folder}-2")
    copied = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            if (source / part).is_dir():
                shutil.copytree(
                    source / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
                )
            elif (source / part).is_file():
                shutil.copy2(source / part, folder / part)
            else:
                continue
            copied.append(part)
        (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {error.filename or folder}: {error.strerror}; choose another folder"
        ) from None
    return copied


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Make a new project in DIR, with campaigns, templates, triggers and flows to start from."""
    copied = make_project(folder)
    click.echo(f"Made a project in {folder}: {', '.join(copied)}")
    click.echo(
        f"""
Next:
  cd {folder}
  drumbeat validate                        check every file
  drumbeat run --as-of 2011-12-05T10:00    import the data, plan, and write the mails into mailbox/
  drumbeat report --as-of 2011-12-06       see what became of each campaign

The data in data/ is a slice of real orders with made-up people; put your own into project.yaml under imports.
Secrets come from the environment: DRUMBEAT_SECRET signs the links in the mails."""
    )
