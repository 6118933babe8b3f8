"""`drumbeat tasks`: what campaigns ask our own people to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.cli.options import (
    as_of_option,
    clock_for,
    json_option,
    open_engine,
    open_project,
    project_option,
)
from drumbeat.cli.output import emit_json, note, show, table

if TYPE_CHECKING:
    from drumbeat.outbox.tasks import Task

STATES = ("open", "done", "cancelled", "all")

number = click.argument("number", metavar="TASK", type=click.IntRange(min=1))
words = click.option("--note", "text", metavar="TEXT", help="What came of it; kept with the task.")


@click.group("tasks")
def command() -> None:
    """List the tasks of people, and mark them as done."""


@command.command("list")
@project_option
@click.option("--assignee", metavar="NAME", help="Only the tasks of one person.")
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True, help="Which tasks.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@as_of_option
@json_option
def list_(
    project_dir: Path | None,
    assignee: str | None,
    state: str,
    limit: int | None,
    as_of: str | None,
    as_json: bool,
) -> None:
    """Show tasks, those due first in front."""
    from drumbeat.outbox.tasks import list_tasks
    from drumbeat.store.engine import reading

    project = open_project(project_dir)
    now = clock_for(as_of, project, standing=True).now()
    with reading(open_engine(project)) as connection:
        found = list_tasks(
            connection, at=now, assignee=assignee, state=None if state == "all" else state, limit=limit
        )
    if as_json:
        emit_json([one._asdict() for one in found])
    elif found:
        late = sum(one.overdue for one in found)
        show(
            table(
                ("task", "assignee", "due (UTC)", "state", "customer", "campaign", "title"), map(_row, found)
            )
        )
        if late:
            note(f"{late:,} of them {'is' if late == 1 else 'are'} overdue.")
    else:
        click.echo("No task." if state == "all" else f"No task is {state}.")


def _row(one: Task) -> tuple[Any, ...]:
    state = "overdue" if one.overdue else one.state
    return (
        str(one.task),
        one.assignee,
        f"{one.due_at:%Y-%m-%d %H:%M}",
        state,
        one.customer,
        one.campaign,
        one.title,
    )


@command.command("show")
@project_option
@number
@as_of_option
@json_option
def show_(project_dir: Path | None, number: int, as_of: str | None, as_json: bool) -> None:
    """Show one task in full."""
    from drumbeat.outbox.tasks import find_task
    from drumbeat.store.engine import reading

    project = open_project(project_dir)
    now = clock_for(as_of, project, standing=True).now()
    with reading(open_engine(project)) as connection:
        task = find_task(connection, number, at=now)
    if as_json:
        emit_json(task._asdict())
        return
    click.echo(f"{task.title}\n\n{task.text}\n")
    click.echo(
        f"For {task.assignee}, due {task.due_at:%Y-%m-%d %H:%M} UTC{', overdue' if task.overdue else ''}"
    )
    click.echo(
        f"Customer {task.customer}, campaign {task.campaign}, given {task.created_at:%Y-%m-%d %H:%M} UTC"
    )
    if task.done_at is not None:
        click.echo(f"{task.state.capitalize()} {task.done_at:%Y-%m-%d %H:%M} UTC by {task.done_by}")
    if task.note:
        click.echo(f"Note: {task.note}")


@command.command("done")
@project_option
@number
@words
@as_of_option
@json_option
def done(project_dir: Path | None, number: int, text: str | None, as_of: str | None, as_json: bool) -> None:
    """Mark a task as done."""
    _close(project_dir, number, "done", text, as_of, as_json=as_json)


@command.command("cancel")
@project_option
@number
@words
@as_of_option
@json_option
def cancel(project_dir: Path | None, number: int, text: str | None, as_of: str | None, as_json: bool) -> None:
    """Mark a task as one that need not be done."""
    _close(project_dir, number, "cancelled", text, as_of, as_json=as_json)


def _close(
    project_dir: Path | None, number: int, state: str, text: str | None, as_of: str | None, *, as_json: bool
) -> None:
    from drumbeat.outbox.tasks import close_task
    from drumbeat.store.audit import actor
    from drumbeat.store.engine import writing

    project = open_project(project_dir)
    now = clock_for(as_of, project, standing=True).now()
    with writing(open_engine(project)) as connection:
        task = close_task(connection, number, state, at=now, by=actor(), note=text)
    if as_json:
        emit_json(task._asdict())
    else:
        click.echo(f"Task {number} is {state}: {task.title}")
