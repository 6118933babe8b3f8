"""`drumbeat import FILE --mapping MAPPING`: a file into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drumbeat.cli.options import json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, progress

if TYPE_CHECKING:
    from drumbeat.ingest.load import ImportResult


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-m",
    "--mapping",
    "mapping_file",
    required=True,
    metavar="MAPPING",
    type=click.Path(path_type=Path),
    help="The YAML file that says which column becomes what (docs/import.md).",
)
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where rejected rows are written. Default: FILE.rejected.csv beside the input.",
)
@project_option
@json_option
def command(
    file: Path, mapping_file: Path, rejects: Path | None, project_dir: Path | None, as_json: bool
) -> None:
    """Load customers, orders and events from a CSV, JSONL or Parquet FILE.

    All or nothing; importing the same file again changes nothing. Rejected rows go to a file with line
    and reason; the rest is imported and the exit code is 0.
    """
    from drumbeat.clock import SystemClock
    from drumbeat.ingest.load import import_file
    from drumbeat.ingest.mapping import read_mapping
    from drumbeat.privacy.keys import erased_of
    from drumbeat.store import audit
    from drumbeat.store.engine import writing

    project = open_project(project_dir)
    mapping = read_mapping(mapping_file, project.config.time_zone, project.config.country)
    engine, now = open_engine(project), SystemClock().now()
    try:
        with progress(f"importing {file.name}") as advance:
            result = import_file(
                engine,
                file,
                mapping,
                loaded_at=now,
                progress=advance,
                rejects=rejects,
                erased=erased_of(project),
            )
        with writing(engine) as connection:
            counts = {name: getattr(result, name) for name in ("inserted", "updated", "rejected")}
            audit.note(
                connection,
                now,
                audit.actor(),
                "import",
                None,
                {"file": file.name, "into": mapping.into, **counts},
            )
    finally:
        engine.dispose()
    if as_json:
        emit_json({**result.as_dict(), "file": str(file), "into": mapping.into})
    else:
        for line in summary(file, mapping.into, result):
            click.echo(line)


def summary(file: Path, into: str, result: ImportResult) -> list[str]:
    """Return what became of the rows, in lines for people."""
    parts = [f"{result.inserted:,} new", f"{result.updated:,} changed", f"{result.unchanged:,} unchanged"]
    if result.repeated:
        parts.append(f"{result.repeated:,} repeated")
    if result.removed:
        parts.append(f"{result.removed:,} lines removed")
    lines = [f"{file.name}: {result.read:,} rows read into {into}: {', '.join(parts)}"]
    if len(result.tables) > 1:
        made = (
            f"{name.replace('_', ' ')} {m.inserted:,} new, {m.updated:,} changed"
            for name, m in result.tables.items()
        )
        lines.append(f"  in the store: {'; '.join(made)}")
    lines += [f"  {count:,} left out: {reason}" for reason, count in result.skipped.items()]
    if result.rejected:
        lines.append(f"  {result.rejected:,} rejected; see {result.rejects_file}")
    return lines
