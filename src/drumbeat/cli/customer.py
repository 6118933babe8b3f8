"""`drumbeat customer`: what is held about a person: in short, as one document, and gone."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from drumbeat.cli.customer_erase import erase
from drumbeat.cli.options import json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note, show, table
from drumbeat.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drumbeat.clock import Clock
    from drumbeat.project.load import Project


@click.group("customer")
def command() -> None:
    """Show, export and erase what is held about a person. ID: your own id, an e-mail address or a phone number."""


command.add_command(erase)


@command.command("show")
@click.argument("id", metavar="ID")
@project_option
@json_option
def show_(id: str, project_dir: Path | None, as_json: bool) -> None:  # noqa: A002 - as click shows it
    """Tell who ID is and how much is held about them."""
    from drumbeat.privacy.keys import erased_of, link_secrets
    from drumbeat.privacy.overview import overview
    from drumbeat.privacy.person import find_person
    from drumbeat.privacy.tokens import names_of
    from drumbeat.store.engine import reading

    project = open_project(project_dir)
    with reading(open_engine(project)) as connection:
        person = find_person(connection, id, erased_of(project))
        names = names_of(connection, person, link_secrets(project))
        counts = overview(connection, person, names)
    told = {
        "asked_for": person.asked,
        "customers": person.external_ids,
        "addresses": sorted(person.addresses),
        "shared_addresses": sorted(person.shared),
        "rows": counts,
    }
    if as_json:
        emit_json(told)
        return
    click.echo(f"customers: {', '.join(person.external_ids) or 'none has this address'}")
    click.echo(f"addresses: {', '.join(sorted(person.addresses)) or 'none'}")
    if person.shared:
        click.echo(f"addresses that other people have too: {', '.join(sorted(person.shared))}")
    show(
        table(["of", "rows"], [(name.replace("_", " "), number) for name, number in counts.items() if number])
    )


@command.command("export")
@click.argument("id", metavar="ID")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to, readable by you alone. Default: stdout.",
)
@project_option
def export(id: str, output: Path | None, project_dir: Path | None) -> None:  # noqa: A002 - as click shows it
    """Write everything that is held about a person as one JSON document (docs/privacy.md tells its shape)."""
    from drumbeat.clock import SystemClock
    from drumbeat.privacy.export import export as written
    from drumbeat.privacy.keys import erased_of, link_secrets
    from drumbeat.privacy.person import find_person
    from drumbeat.privacy.tokens import names_of
    from drumbeat.store import audit
    from drumbeat.store.engine import reading, writing

    project, clock = open_project(project_dir), SystemClock()
    engine, now = open_engine(project), clock.now()
    read = _reader(project, clock)
    with reading(engine) as connection:
        person = find_person(connection, id, erased_of(project))
        names = names_of(connection, person, link_secrets(project))
        with _opened(output) as file:
            for text in written(connection, person, names, project=project.config.project, at=now, read=read):
                file.write(text)
    with writing(engine) as connection:
        subject = person.external_ids[0] if person.rows else person.asked
        where = {"file": None if output is None else output.name, "customers": len(person.rows)}
        audit.note(connection, now, audit.actor(), "customer export", subject, where)
    if output is not None:
        note(f"Everything about {', '.join(person.external_ids) or person.asked} is in {output}")


def _reader(project: Project, clock: Clock) -> Any:
    """Return what takes stored calls and mails apart; None where the project cannot."""
    from drumbeat.errors import DrumbeatError
    from drumbeat.runs import incoming

    try:
        desk, _ = incoming(project, clock=clock)
    except DrumbeatError as error:
        note(f"Stored calls and mails are told without their content: {error}")
        return None
    return desk.read


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    """Give the file to write to; it appears whole, and for its owner alone. Raises InputError."""
    import os
    import sys

    if output is None:
        yield sys.stdout
        return
    draft = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with os.fdopen(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            yield file
        draft.replace(output)
    except OSError as error:
        raise InputError(f"cannot write {output} ({error.strerror or error}); name another file") from None
    finally:
        draft.unlink(missing_ok=True)
