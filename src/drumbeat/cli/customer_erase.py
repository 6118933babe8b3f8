"""`drumbeat customer erase`: a person's data gone everywhere, the figures whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drumbeat.cli.options import json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note, show, table
from drumbeat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine

    from drumbeat.clock import Clock
    from drumbeat.privacy.erase import Erasure, Terms
    from drumbeat.privacy.files import Found
    from drumbeat.privacy.names import Names
    from drumbeat.privacy.person import GoneError
    from drumbeat.project.load import Project


@click.command("erase")
@click.argument("id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
@click.option("--dry-run", is_flag=True, help="Do it, show what would go, and take it all back.")
@click.option(
    "--vacuum/--no-vacuum",
    default=None,
    help="Drop what deleted rows leave in the database's files. Default: yes for SQLite, no for PostgreSQL.",
)
@project_option
@json_option
def erase(
    id: str,  # noqa: A002 - as click shows it
    yes: bool,
    dry_run: bool,
    vacuum: bool | None,
    project_dir: Path | None,
    as_json: bool,
) -> None:
    """Erase a person's data everywhere, with --yes. Figures stay as they are, and the addresses stay without mail.

    What is still in progress is brought to its end before: hand-overs of dead workers, spilled responses, calls and
    mails that were not worked on. It cannot be taken back.
    """
    from drumbeat.clock import SystemClock
    from drumbeat.privacy.erase import Terms
    from drumbeat.privacy.erase import erase as make_anonymous
    from drumbeat.privacy.files import look
    from drumbeat.privacy.keys import secrets_of
    from drumbeat.privacy.names import Names
    from drumbeat.privacy.person import GoneError, address_keys
    from drumbeat.store import audit

    if not yes and not dry_run:
        raise UsageError(
            f"this erases '{id}' for good; see what would go with --dry-run, and say --yes to do it"
        )
    project, clock = open_project(project_dir), SystemClock()
    engine = open_engine(project)
    # Before anything is touched: without the secret the addresses could not be kept as erased ones.
    secrets_of(project)
    if not dry_run:
        _bring_to_an_end(engine, project, clock)
    terms = Terms.of(project, clock.now(), audit.actor())
    try:
        names, messages = _names(engine, id, terms)
        # Before the database: what fails here leaves everything to be found again.
        files = look(project, names, messages, remove=not dry_run)
        erasure = make_anonymous(engine, id, terms, dry_run=dry_run)
    except GoneError as error:
        # On another machine files may still name the address.
        files = look(project, Names(address_keys(id.strip())), {}, remove=not dry_run)
        _tell_gone(error, files, dry_run=dry_run, as_json=as_json)
        return
    left = None if dry_run else _vacuumed(engine, vacuum)
    _tell(erasure, files, project, left, dry_run=dry_run, as_json=as_json)


def _bring_to_an_end(engine: Engine, project: Project, clock: Clock) -> None:
    """Let nothing that is under way write about them afterwards."""
    from drumbeat.outbox.aftermath import settle_abandoned
    from drumbeat.outbox.recover import recover
    from drumbeat.responses.inbox import work
    from drumbeat.runs import incoming

    settle_abandoned(engine, project.root, at=clock.now(), attempts=project.config.delivery.attempts)
    recover(engine, at=clock.now())
    _read_spill_back(engine, project)
    desk, _ = incoming(project, clock=clock)
    work(engine, desk)


def _read_spill_back(engine: Engine, project: Project) -> None:
    from sqlalchemy.exc import DBAPIError

    from drumbeat.responses.record import BATCH
    from drumbeat.web.spill import Spill
    from drumbeat.web.writer import store

    spill = Spill(project.root / ".drumbeat" / "spill")
    for path in spill.take():
        for items in spill.read(path, BATCH):
            try:
                store(engine, items)
            except DBAPIError:  # one bad row must not take its neighbours along
                for item in items:
                    try:
                        store(engine, [item])
                    except DBAPIError:
                        spill.set_aside([item])
        spill.forget(path)


def _names(engine: Engine, asked: str, terms: Terms) -> tuple[Names, Mapping[str, int]]:
    from drumbeat.privacy.person import find_person
    from drumbeat.privacy.tokens import file_names, names_of
    from drumbeat.store.engine import reading

    with reading(engine) as connection:
        person = find_person(connection, asked, terms.erased)
        return names_of(connection, person, terms.secrets), file_names(connection, person, terms.secrets)


def _vacuumed(engine: Engine, wanted: bool | None) -> str | None:
    from drumbeat.privacy.registry import TOUCHED
    from drumbeat.store.dialect.space import cut_log, vacuum, vacuums_by_itself

    if wanted if wanted is not None else vacuums_by_itself(engine.dialect):
        return vacuum(engine, TOUCHED)
    return cut_log(engine)


def _tell_gone(error: GoneError, files: Sequence[Found], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        found = [vars(one) for one in files]
        emit_json({"stub": None, "erased_at": error.at, "customers": [], "rows": {}, "files": found})
        return
    note(str(error))
    for one in files:
        click.echo(f"  {_about(one, dry_run=dry_run)}")


def _tell(
    erasure: Erasure,
    files: Sequence[Found],
    project: Project,
    left: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from drumbeat.privacy.files import imports

    if as_json:
        emit_json(
            {
                **vars(erasure),
                "stub": None if dry_run else erasure.stub,
                "files": [vars(one) for one in files],
                "imports": imports(project),
                "left_behind": left,
                "dry_run": dry_run,
            }
        )
        return
    who = ", ".join(erasure.customers) or ", ".join(erasure.addresses)
    click.echo(
        f"Would erase {who}" if dry_run else f"Erased {who}; what is left bears the name {erasure.stub}"
    )
    rows = [(name.replace("_", " "), number) for name, number in erasure.rows.items()]
    if erasure.withdrawn:
        rows.append(("messages that waited, withdrawn", erasure.withdrawn))
    if rows:
        show(table(["rows of", "changed or deleted"], rows))
    for one in files:
        click.echo(f"  {_about(one, dry_run=dry_run)}")
    if erasure.shared:
        note(f"Kept, since other people have them too: {', '.join(erasure.shared)}")
    if imports(project):
        note(
            "The files that `collect` imports are yours, and bring back whom they still name (without mail): "
            + ", ".join(str(path.relative_to(project.root)) for path in imports(project))
        )
    if left is not None:
        note(
            f"Erased, but deleted rows may still stand in the database's files: {left}; run it with --vacuum later"
        )


def _about(found: Found, *, dry_run: bool) -> str:
    if found.what == "unreadable":
        return f"cannot be read as a table of rejected rows, look at it yourself: {found.path}"
    done = "would go" if dry_run else "removed"
    what = found.what if found.lines is None else f"{found.lines} {found.what}"
    return f"{what} {done}: {found.path}"
