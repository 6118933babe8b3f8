"""The options that commands share, and what they open: the project, its store, the clock.

@click.command("plan")
@project_option
@as_of_option
@json_option
def command(project_dir: Path | None, as_of: str | None, as_json: bool) -> None:
    project = open_project(project_dir)
    engine = open_engine(project)
    now = clock_for(as_of, project).now()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drumbeat.clock import Clock, FixedClock, ShiftedClock, SystemClock, parse_instant

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.project.load import Project

project_option = click.option(
    "-C",
    "--project",
    "project_dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The project's folder. Default: found upwards from here.",
)
"""Gives `project_dir: Path | None`."""

as_of_option = click.option(
    "--as-of",
    "as_of",
    metavar="TIME",
    help="Act as if it were this time, e.g. 2011-12-05T09:00+00:00; without offset: the project's zone.",
)
"""Gives `as_of: str | None`, for `clock_for`."""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs (docs/commands.md)."
)
"""Gives `as_json: bool`."""


def open_project(path: Path | None = None) -> Project:
    """Load and check the project in `path`, or the one the current folder is in.

    Raises UsageError where there is none, ProjectError with all faults where it is wrong.
    """
    from drumbeat.project.load import load_project

    return load_project(project_root(path))


def project_root(path: Path | None = None) -> Path:
    """Return the folder of the project without loading it. Raises UsageError where there is none."""
    from drumbeat.project.load import find_root

    return path.resolve() if path is not None else find_root(Path.cwd())


def open_engine(project: Project, *, check: bool = True) -> Engine:
    """Open the project's store and check that its tables are of this version; see project.store.open_store.

    It is closed when the command ends. `check=False` leaves the version to the caller.
    """
    from drumbeat.project.store import open_store

    engine = open_store(project, check=check)
    if (context := click.get_current_context(silent=True)) is not None:
        context.call_on_close(engine.dispose)
    return engine


def clock_for(as_of: str | None, project: Project | None = None, *, standing: bool = False) -> Clock:
    """Return the machine's clock, or under `--as-of` one that starts there and runs on.

    `standing=True` gives one that stands still instead. A time without offset is in the project's zone.
    """
    if as_of is None:
        return SystemClock()
    start = parse_instant(as_of, project.config.time_zone if project is not None else "UTC")
    return FixedClock(start) if standing else ShiftedClock(start)
