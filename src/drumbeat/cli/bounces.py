"""`drumbeat bounces`: fetch what comes back by mail, take it from the mail server, or explain one mail."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from drumbeat.cli.options import clock_for, json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note, show, table
from drumbeat.errors import DrumbeatError, UsageError

if TYPE_CHECKING:
    from drumbeat.responses.webhooks import Event

TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h: the mail server keeps the mail and calls again."""

NO_MAIL = 65
"""EX_DATAERR: there was nothing on stdin."""


@click.command("bounces")
@project_option
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Take one mail from stdin, as a mail server pipes it."
)
@click.option(
    "--explain",
    "explained",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True),
    help="Tell what would be understood of a mail, by which rule. Needs no project.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    project_dir: Path | None,
    from_stdin: bool,
    explained: Path | None,
    as_json: bool,
) -> None:
    """Fetch bounces, complaints and answers from the mailbox that project.yaml names under `bounces:`.

    They are stored, then taken out of the mailbox, and worked on by `drumbeat run collect` and `drumbeat serve`.
    With --stdin a mail server hands over one mail: 0 says that it is stored, 75 to try again later.
    """
    if from_stdin and explained is not None:
        raise UsageError("--stdin and --explain do two things; choose one of them")
    if explained is not None:
        _explain(explained, as_json)
    elif from_stdin:
        context.exit(_take(project_dir, sys.stdin.buffer))
    else:
        _fetch(project_dir, as_json)


def _fetch(project_dir: Path | None, as_json: bool) -> None:
    from drumbeat.responses.bounces.collect import collect

    project = open_project(project_dir)
    mailbox = project.config.bounces
    if mailbox is None:
        raise UsageError(
            "project.yaml names no mailbox; expected bounces: with one of maildir, imap and pop, "
            "or a mail server that calls `drumbeat bounces --stdin`"
        )
    done = collect(open_engine(project), mailbox, project.root, clock_for(None, project))
    if as_json:
        emit_json({"taken": done.taken, "new": done.new, "left": done.left})
        return
    click.echo(
        f"{done.taken:,} mail{'s' if done.taken != 1 else ''} taken from the mailbox, {done.new:,} of them new"
    )


def _take(project_dir: Path | None, stdin: IO[bytes]) -> int:
    """Store the mail on stdin and return the exit code: whatever goes wrong, the mail server keeps it."""
    from drumbeat.responses.bounces.mailboxes import MOST_STORED

    raw = stdin.read(MOST_STORED)
    # Read to the end: a mail server whose pipe breaks takes the mail for undelivered.
    while stdin.read(65_536):
        pass
    if not raw.strip():
        note("drumbeat: there was no mail on stdin")
        return NO_MAIL
    try:
        from drumbeat.responses.arrived import store_mail

        project = open_project(project_dir)
        store_mail(open_engine(project), raw, clock_for(None, project).now())
    except DrumbeatError as error:
        note(f"drumbeat: the mail is not stored, try again later: {' '.join(str(error).split())}")
        return TRY_AGAIN
    except Exception as error:  # noqa: BLE001 - any other exit code would lose the mail
        note(f"drumbeat: the mail is not stored, try again later: {type(error).__name__}: {error}")
        return TRY_AGAIN
    return 0


def _explain(path: Path, as_json: bool) -> None:
    from drumbeat.responses.bounces import read_mail
    from drumbeat.responses.bounces.mailboxes import MOST_STORED

    with click.open_file(str(path), "rb") as file:
        raw = file.read(MOST_STORED)
    found = [_shown(event) for event in read_mail(raw, clock_for(None).now())]
    if as_json:
        emit_json(found)
        return
    for number, facts in enumerate(found, 1):
        title = f"{number} of {len(found)}" if len(found) > 1 else None
        rows = [(name.replace("_", " "), value) for name, value in facts.items() if value is not None]
        show(table(["", "understood"], rows, title=title))


def _shown(event: Event) -> dict[str, Any]:
    raw = event.raw
    return {
        "kind": str(event.kind),
        "recipient": event.recipient,
        "sent_on_to": raw.get("final_recipient"),
        "bounce": event.bounce,
        "reason": event.reason,
        "status": event.status,
        "told_by": raw.get("rule"),
        "format": raw.get("format"),
        "feedback_type": raw.get("feedback_type"),
        "words": event.text,
        "token": event.token,
        "message_id": event.message_id,
        "subject": raw.get("subject"),
    }
