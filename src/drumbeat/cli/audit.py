"""`drumbeat audit`: who of us did what to whose data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.cli.options import json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note, show, table
from drumbeat.clock import parse_instant

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from drumbeat.project.load import Project

SHOWN = 100


@click.command("audit")
@click.option(
    "--since", metavar="TIME", help="Only entries from then on, e.g. 2026-01-31; the project's zone."
)
@click.option("--subject", metavar="ID", help="Only what concerns a customer (id, address or phone number).")
@click.option("--action", metavar="TEXT", help="Only what begins so, e.g. suppressions.")
@click.option("--limit", default=SHOWN, show_default=True, type=click.IntRange(1), help="Most to show.")
@project_option
@json_option
def command(
    since: str | None,
    subject: str | None,
    action: str | None,
    limit: int,
    project_dir: Path | None,
    as_json: bool,
) -> None:
    """Show who did what to whose data, newest first. No command changes an entry, but for names that are erased."""
    from sqlalchemy import func, select

    from drumbeat.store.dialect.words import starts_with
    from drumbeat.store.engine import reading
    from drumbeat.store.tables import audit

    project = open_project(project_dir)
    rules: list[Any] = []
    if since is not None:
        rules.append(audit.c.at >= parse_instant(since, project.config.time_zone))
    if action is not None:
        rules.append(starts_with(audit.c.action, action))
    with reading(open_engine(project)) as connection:
        if subject is not None:
            rules.append(audit.c.subject.in_(sorted(_subjects(connection, project, subject))))
        newest = select(audit).where(*rules).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
        rows = connection.execute(newest).all()
        total = connection.execute(select(func.count()).select_from(audit).where(*rules)).scalar_one()
    entries = [dict(row._mapping) for row in rows]
    if as_json:
        emit_json({"total": total, "entries": entries})
        return
    if not rows:
        click.echo("No such entry." if rules else "Nothing is written down yet.")
        return
    cells = [(row.at, row.actor, row.action, row.subject, _told(row.detail)) for row in rows]
    show(table(["at", "who", "did", "of", "what else"], cells))
    if total > len(rows):
        note(f"{total - len(rows):,} more; --limit shows more")


def _subjects(connection: Connection, project: Project, asked: str) -> set[str]:
    """Return what entries may call the person: as asked, and by every id and address of theirs."""
    from drumbeat.errors import UsageError
    from drumbeat.privacy.keys import erased_of
    from drumbeat.privacy.person import find_person

    try:
        return {asked, *find_person(connection, asked, erased_of(project)).subjects}
    except UsageError:
        return {asked}


def _told(detail: Any) -> str:
    if not detail:
        return ""
    return ", ".join(f"{name}: {value}" for name, value in detail.items() if value not in (None, "", {}, []))
