"""`drumbeat deliver`: hand over the mails that are due, once or as a worker that goes on."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
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
from drumbeat.cli.output import emit_json, note, progress, show, table

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.clock import Clock
    from drumbeat.delivery import Backend
    from drumbeat.outbox.uncertain import Failure, Uncertain
    from drumbeat.project.load import Project

BACKENDS = (
    *("smtp", "file", "console"),
    *("ses", "sendgrid", "mailgun", "postmark", "brevo", "mailjet", "sparkpost", "resend", "unisender_go"),
)
PAUSE_S = 5.0
"""How long --watch waits when nothing is due."""
SHOWN = 20
"""How many uncertain mails are listed after a run; --list-uncertain shows all."""


@click.command("deliver")
@project_option
@as_of_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Hand over at most this many mails.")
@click.option("--watch", is_flag=True, help="Go on as a worker: look again every few seconds, until stopped.")
@click.option("--backend", type=click.Choice(BACKENDS), help="Deliver this way, not as project.yaml says.")
@click.option(
    "--list-uncertain",
    "list_only",
    is_flag=True,
    help="Only show the mails of which nobody knows whether they went out.",
)
@json_option
def command(
    project_dir: Path | None,
    as_of: str | None,
    limit: int | None,
    watch: bool,
    backend: str | None,
    list_only: bool,
    as_json: bool,
) -> None:
    """Hand over the mails that are due.

    Any number of workers may run at once. Stopped by Ctrl-C or SIGTERM it finishes the mail it is at and
    gives the rest back. A mail that was cut off in the middle is called uncertain: it counts as sent, is
    listed, and never goes out again by itself.
    """
    project = open_project(project_dir)
    engine = open_engine(project)
    if list_only:
        _list(engine, as_json)
        return
    clock = clock_for(as_of, project)
    started = clock.now()
    counts = _deliver(
        engine,
        project,
        clock,
        _backend(project, backend),
        _others(engine, project, backend),
        limit=limit,
        watch=watch,
    )
    _summary(engine, counts, started, as_json)


def _backend(project: Project, name: str | None) -> Backend:
    from drumbeat.delivery.backends import make_backend

    delivery = project.config.delivery
    return make_backend(name or delivery.backend, delivery, project.root)


def _others(engine: Engine, project: Project, name: str | None) -> dict[str, Backend]:
    """Return what takes the messages of other channels, where `--backend` says that nothing is to be sent."""
    from drumbeat.delivery.channels import House, instead

    return {} if name is None else instead(name, House(project.config, project.root, engine))


def _deliver(
    engine: Engine,
    project: Project,
    clock: Clock,
    backend: Backend,
    others: dict[str, Backend],
    *,
    limit: int | None,
    watch: bool,
) -> Counter[str]:
    """Deliver once, or again and again; return the counts of all rounds."""
    from drumbeat.clock import FixedClock
    from drumbeat.outbox.deliver import deliver
    from drumbeat.outbox.letters import SIGNED_HERE, Letters

    letters = Letters(project, sign=backend.name in SIGNED_HERE)
    counts: Counter[str] = Counter()
    with _stopped_by_signals() as stopped, progress("Delivering") as show_done:
        while True:
            before = counts.total()

            def pause(seconds: float) -> None:
                stopped.wait(seconds)

            def done(number: int, before: int = before) -> None:
                show_done(before + number)

            delivered = deliver(
                engine,
                project,
                clock=clock,
                backend=backend,
                others=others,
                limit=limit,
                progress=done,
                stop=stopped.is_set,
                sleep=None if isinstance(clock, FixedClock) else pause,
                letters=letters,
            )
            counts.update(asdict(delivered))
            if not watch or stopped.wait(PAUSE_S):
                break
    if stopped.is_set():
        note("Stopped; what is still due waits for the next run.")
    return counts


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set; a second signal stops at once, as usual."""
    stopped = threading.Event()
    usual: dict[int, Callable[..., Any] | int | None] = {}

    def stop(number: int, _frame: object) -> None:
        stopped.set()
        signal.signal(number, usual[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        usual[number] = signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for caught, handler in usual.items():
            signal.signal(caught, handler)


def _summary(engine: Engine, counts: Counter[str], started: datetime, as_json: bool) -> None:
    from drumbeat.outbox.uncertain import list_uncertain, newest_failure
    from drumbeat.store.engine import reading

    uncertain: list[Uncertain] = []
    failure: Failure | None = None
    if counts["uncertain"] or counts["failed"]:
        with reading(engine) as connection:
            if counts["uncertain"]:
                uncertain = list_uncertain(connection, since=started)
            if counts["failed"]:
                failure = newest_failure(connection)
    if as_json:
        emit_json({**counts, "uncertain_mails": [mail._asdict() for mail in uncertain]})
        return
    if not counts.total():
        note("Nothing is due.")
        return
    click.echo(", ".join(f"{number:,} {what}" for what, number in counts.items() if number))
    if failure is not None:
        note(f"One that failed: {failure.campaign} for customer {failure.customer}: {failure.answer}")
    if uncertain:
        show(_table(uncertain[:SHOWN], "Uncertain: sent or not, nobody knows; never sent again by itself"))
        if len(uncertain) > SHOWN:
            note(f"{len(uncertain) - SHOWN:,} more: drumbeat deliver --list-uncertain")


def _list(engine: Engine, as_json: bool) -> None:
    from drumbeat.outbox.uncertain import list_uncertain
    from drumbeat.store.engine import reading

    with reading(engine) as connection:
        uncertain = list_uncertain(connection)
    if as_json:
        emit_json([mail._asdict() for mail in uncertain])
    elif uncertain:
        show(_table(uncertain, None))
    else:
        click.echo("No mail is uncertain.")


def _table(uncertain: list[Uncertain], title: str | None) -> Any:
    columns = ("message", "customer", "address", "campaign", "occasion", "at the latest", "what is known")
    rows = [(str(u[0]), *u[1:]) for u in uncertain]
    return table(columns, rows, title=title)
