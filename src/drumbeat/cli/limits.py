"""`drumbeat limits`: which domains, servers and senders are held back now, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drumbeat.cli.options import (
    as_of_option,
    clock_for,
    json_option,
    open_engine,
    open_project,
    project_option,
)
from drumbeat.cli.output import emit_json, show, table

if TYPE_CHECKING:
    from drumbeat.outbox.held import Held


@click.command("limits")
@project_option
@click.option("--clear", "cleared", metavar="KEY", help="Lift a block, such as domain:example.com, by hand.")
@as_of_option
@json_option
def command(project_dir: Path | None, cleared: str | None, as_of: str | None, as_json: bool) -> None:
    """Show what delivery leaves alone for now: domains and servers that asked us to wait, senders that warm up.

    Messages for them wait in the outbox, without an attempt counted. A block ends by itself; --clear ends it now.
    """
    from drumbeat.outbox.held import clear, held

    project = open_project(project_dir)
    engine = open_engine(project)
    now = clock_for(as_of, project).now()
    if cleared is not None:
        clear(engine, cleared, at=now)
        click.echo(f"{cleared} is not blocked any more; what waits for it is due")
        return
    found = held(engine, project, at=now)
    if as_json:
        emit_json([one._asdict() for one in found])
    elif found:
        show(table(("", "held back until", "in a row", "why"), [_row(one) for one in found]))
    else:
        click.echo("Nothing is held back.")


def _row(one: Held) -> tuple[object, ...]:
    why = one.why or ""
    if one.allowance is not None:
        why = f"warms up: {one.used:,} of {one.allowance:,} messages of day {one.day}"
    return (one.key, one.until, one.failures or None, why)
