"""`drumbeat inbox`: what came in and could not be read, for a person."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.cli.options import clock_for, json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, show, table
from drumbeat.errors import DrumbeatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drumbeat.project.load import Project
    from drumbeat.responses.arrived import Arrived
    from drumbeat.responses.webhooks import Event

LISTED = 100
"""Rows that are listed; the latest ones tell what is wrong."""


@click.command("inbox")
@project_option
@click.option("--show", "shown", metavar="ID", type=click.IntRange(1), help="Print one as it came.")
@click.option("--retry", "again", is_flag=True, help="Let those that failed be tried again.")
@click.option(
    "--id", "ids", metavar="ID", multiple=True, type=click.IntRange(1), help="With --retry: only this one."
)
@json_option
def command(
    project_dir: Path | None, shown: int | None, again: bool, ids: tuple[int, ...], as_json: bool
) -> None:
    """List webhook calls and mails that could not be read, show one, or let them be tried again.

    They are worked on by `drumbeat serve`, every second, and by `drumbeat run collect`.
    """
    from drumbeat.responses import inbox

    if (shown is not None and again) or (ids and not again):
        raise UsageError("--show prints one, --retry [--id ID] tries again; choose one of them")
    project = open_project(project_dir)
    engine = open_engine(project)
    if shown is not None:
        state, error, arrived = inbox.row_of(engine, shown)
        _show(project, shown, state, error, arrived, as_json)
    elif again:
        count = inbox.retry(engine, ids)
        if as_json:
            emit_json({"retried": count})
        else:
            click.echo(f"{count} will be tried again by `drumbeat serve` or `drumbeat run collect`.")
    else:
        counts, rows = inbox.waiting(engine), inbox.failed(engine, limit=LISTED)
        if as_json:
            emit_json({**counts, "rows": [row._asdict() for row in rows]})
            return
        if rows:
            show(table(rows[0]._fields, rows))
        click.echo(f"{counts['new']:,} wait to be worked on, {counts['failed']:,} could not be read.")


def _show(
    project: Project, row_id: int, state: str, error: str | None, arrived: Arrived, as_json: bool
) -> None:
    events, trouble = _events(project, arrived)
    if as_json:
        emit_json(
            {
                "id": row_id,
                "source": arrived.source,
                "state": state,
                "error": error,
                "received_at": arrived.received_at,
                "headers": dict(arrived.headers),
                "body": _text(arrived.body),
                "events": None if events is None else [_plain(event) for event in events],
            }
        )
        return
    click.echo(f"{row_id} from {arrived.source}, {state}, {arrived.received_at.isoformat()}")
    for name, value in arrived.headers.items():
        click.echo(f"{name}: {value}")
    click.echo(f"\n{_text(arrived.body)}\n")
    click.echo(f"Stored error: {error}" if error else "No error is stored.")
    if events is None:
        click.echo(f"Now: {trouble}")
    for event in events or ():
        click.echo(f"Now: {', '.join(f'{name} {value}' for name, value in _plain(event).items())}")


def _events(project: Project, arrived: Arrived) -> tuple[Sequence[Event] | None, str]:
    """Return what is understood of it by now, or why nothing is."""
    from drumbeat.runs import incoming

    try:
        desk, unserved = incoming(project, clock=clock_for(None))
        if arrived.source in unserved:
            return None, f"webhooks of {arrived.source} are not served: {unserved[arrived.source]}"
        return desk.read(arrived), ""
    except DrumbeatError as error:
        return None, str(error)


def _plain(event: Event) -> dict[str, Any]:
    return {name: value for name, value in asdict(event).items() if value not in (None, "", {})}


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return f"base64:{b64encode(body).decode()}"
