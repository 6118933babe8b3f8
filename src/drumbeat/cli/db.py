"""`drumbeat db`: the version of the store's tables."""

from __future__ import annotations

from pathlib import Path

import click

from drumbeat.cli.options import json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json


@click.group("db")
def command() -> None:
    """Create the database's tables, or bring them up to date."""


@command.command("upgrade")
@project_option
@json_option
def upgrade(project_dir: Path | None, as_json: bool) -> None:
    """Bring the tables to this program's version, in one transaction. Safe to repeat."""
    from drumbeat.store import upgrade as store

    engine = open_engine(open_project(project_dir), check=False)
    before, after = store.upgrade(engine)
    if as_json:
        emit_json({"before": before, "after": after})
    elif before == after:
        click.echo(f"The tables are of version {after} already.")
    else:
        click.echo(f"The tables are now of version {after}" + (f", before {before}." if before else "."))


@command.command("status")
@project_option
@json_option
def status(project_dir: Path | None, as_json: bool) -> None:
    """Show the version of the tables. Exits with 5 where they need an upgrade."""
    from drumbeat.errors import StoreError
    from drumbeat.store.upgrade import HEAD, Schema, schema_state

    engine = open_engine(open_project(project_dir), check=False)
    where = engine.url.render_as_string(hide_password=True)
    state = schema_state(engine)
    if as_json:
        emit_json({"database": where, "state": state.schema, "revision": state.revision, "needed": HEAD})
    else:
        click.echo(f"{where}: {state.schema.value}, version {state.revision or 'none'}, needed {HEAD}")
    if state.schema is not Schema.CURRENT:
        raise StoreError(state.advice)
