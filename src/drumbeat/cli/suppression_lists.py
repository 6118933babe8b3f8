"""`drumbeat suppressions import` and `export`: lists of addresses, ours and other tools'."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drumbeat.cli.options import json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note
from drumbeat.cli.suppression_options import reason_name, reason_option, topic_name, topic_option
from drumbeat.errors import InputError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@topic_option
@reason_option("Of rows that name none. Default: what the kind of list means, else manual.")
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where rejected rows are written. Default: FILE.rejected.csv beside the list.",
)
@project_option
@json_option
def import_(
    file: Path,
    topic: str | None,
    reason: str | None,
    rejects: Path | None,
    project_dir: Path | None,
    as_json: bool,
) -> None:
    """Suppress every address of a list: our own export, one address a line, or another tool's CSV.

    Told by the names in the first line (docs/suppressions.md). All or nothing; the same list again changes nothing.
    """
    from drumbeat.clock import SystemClock
    from drumbeat.ingest.load import rejects_beside
    from drumbeat.responses.lists.load import Loaded, load_list
    from drumbeat.responses.lists.read import Defaults
    from drumbeat.store import audit

    project, now, actor = open_project(project_dir), SystemClock().now(), audit.actor()
    defaults = Defaults(
        reason=None if reason is None else reason_name(reason),
        topic=topic_name(project, topic),
        source=f"import:{file.name}",
        now=now,
    )

    def noted(connection: Connection, loaded: Loaded) -> None:
        detail = {"file": file.name, "new": loaded.new, "stronger": loaded.stronger, "shape": loaded.shape}
        audit.note(connection, now, actor, "suppressions import", None, detail)

    loaded = load_list(
        open_engine(project),
        file,
        defaults,
        rejects=rejects or rejects_beside(file),
        ours=rejects is None,
        note=noted,
    )
    if as_json:
        emit_json({"file": str(file), **loaded.as_dict()})
    else:
        click.echo(
            f"{file.name} ({loaded.shape}): {loaded.read:,} rows read: {loaded.new:,} new,"
            f" {loaded.stronger:,} for a stronger reason, {loaded.unchanged:,} unchanged,"
            f" {loaded.repeated:,} repeated"
        )
        if loaded.rejected:
            click.echo(f"  {loaded.rejected:,} rejected; see {loaded.rejects_file}")
    unknown = [name for name in loaded.topics if name not in project.config.topics]
    if unknown:
        note(f"The list names topics that project.yaml does not have: {', '.join(unknown[:5])}.")


@click.command("export")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to. Default: stdout.",
)
@project_option
@json_option
def export(output: Path | None, project_dir: Path | None, as_json: bool) -> None:
    """Write all suppressions as CSV: address, topic, reason, at, source. It can be imported again unchanged."""
    from drumbeat.clock import SystemClock
    from drumbeat.responses.lists.load import export_list
    from drumbeat.store import audit
    from drumbeat.store.engine import reading, writing

    if as_json and output is None:
        raise UsageError("--json tells what was written, so the list needs a file: say --output FILE")
    engine = open_engine(open_project(project_dir))
    with reading(engine) as connection:
        if output is None:
            number = export_list(connection, sys.stdout)
        else:
            try:
                with output.open("w", encoding="utf-8", newline="") as file:
                    number = export_list(connection, file)
            except OSError as error:
                raise InputError(f"cannot write {output} ({error.strerror or error})") from None
    with writing(engine) as connection:
        where = {"addresses": number, "file": None if output is None else output.name}
        audit.note(connection, SystemClock().now(), audit.actor(), "suppressions export", None, where)
    if as_json:
        emit_json({"file": str(output), "addresses": number})
    elif output is not None:
        click.echo(f"{number:,} suppressions written to {output}")
