"""`drumbeat retention`: what is over its time, shown or removed."""

from __future__ import annotations

from pathlib import Path

import click

from drumbeat.cli.options import as_of_option, json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note, progress, show, table
from drumbeat.clock import SystemClock, parse_instant
from drumbeat.errors import UsageError


@click.command("retention")
@click.option("--dry-run", is_flag=True, help="Only show how many rows would go.")
@click.option("--vacuum", is_flag=True, help="Drop what deleted rows leave in the database's files, after.")
@project_option
@as_of_option
@json_option
def command(dry_run: bool, vacuum: bool, project_dir: Path | None, as_of: str | None, as_json: bool) -> None:
    """Remove what is over its time by `retention:` of project.yaml; `drumbeat run collect` does it once a day.

    Rows go a thousand at a time, so that others can work meanwhile. Figures of reports stay as they are.
    """
    from drumbeat import runs
    from drumbeat.privacy.registry import TOUCHED
    from drumbeat.store.dialect import space

    project = open_project(project_dir)
    engine = open_engine(project)
    at = parse_instant(as_of, project.config.time_zone) if as_of is not None else None
    if at is not None and at > SystemClock().now() and not dry_run:
        raise UsageError(
            "what is over its time only later must not go yet; a later --as-of goes with --dry-run"
        )
    with progress("Removing") as advance:
        account = runs.retention(
            engine, project, clock=runs.clock_at(at, project), dry_run=dry_run, progress=advance
        )
    left = space.vacuum(engine, TOUCHED) if vacuum and not dry_run else None
    if as_json:
        emit_json({"as_of": account.as_of, **account.figures, "left_behind": left})
        return
    click.echo(account.headline)
    show(table(account.columns, account.rows))
    for one in account.figures["rules"]:
        if one["left"]:
            note(f"{one['rule']}: {one['left']:,} have a message on its way and wait for the next run")
    if left is not None:
        note(f"Deleted rows may still stand in the database's files: {left}")
