"""What commands print: JSON, tables, progress, and every error as one line on stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.errors import DrumbeatError, ProjectError

if TYPE_CHECKING:
    from rich.console import RenderableType

INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE
PLAIN_EVERY_S = 10.0
"""Outside a terminal progress is a plain line, at most one in this many seconds."""


def emit_json(value: Any) -> None:
    """Print one JSON document: instants as ISO 8601 UTC, amounts as text, spans as seconds, sets sorted."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, Path)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if hasattr(value, "_asdict"):
        return value._asdict()
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def note(text: str) -> None:
    """Print a line for the person at the keyboard: on stderr, so that stdout stays data."""
    click.echo(text, err=True)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None
) -> RenderableType:
    """Return a table; numbers stand to the right. Print it with `show`."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows = [tuple(row) for row in rows]
    shown = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for position, column in enumerate(columns):
        cells = [row[position] for row in rows]
        numeric = bool(cells) and all(
            isinstance(cell, (int, float, Decimal)) for cell in cells if cell is not None
        )
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    return shown


def _cell(value: Any) -> Any:
    from rich.text import Text

    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M UTC")
    return value if isinstance(value, Text) else Text(str(value))


def show(*renderables: RenderableType) -> None:
    """Print tables and texts on stdout; without a terminal they are plain and as wide as they need."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for renderable in renderables:
        console.print(renderable)


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Give a function to call with how many are done so far: a bar in a terminal, plain lines elsewhere.

    Both go to stderr. Plain lines come at most every ten seconds, so short work prints none.
    """
    if sys.stderr.isatty():
        with _bar(label, total) as advance:
            yield advance
    else:
        yield _plain_lines(label, total)


def _plain_lines(label: str, total: int | None) -> Callable[[int], None]:
    last = time.monotonic()

    def advance(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY_S:
            last = time.monotonic()
            note(f"{label}: {done:,}" + (f" of {total:,}" if total else ""))

    return advance


@contextmanager
def _bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def guarded(command: click.Command, arguments: list[str], **settings: Any) -> int:
    """Run a click command and return the exit code; every error becomes one line on stderr.

    An error that nobody planned for says so; `-v` gives its traceback, as that of any other.
    """
    meta: dict[str, Any] = {}
    try:
        with command.make_context("drumbeat", arguments, **settings) as context:
            meta = context.meta
            result = command.invoke(context)
            context.exit(result if isinstance(result, int) and not isinstance(result, bool) else 0)
    except click.exceptions.Exit as leave:
        return _flushed(leave.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        hint = (
            f" Try `{error.ctx.command_path} --help`."
            if isinstance(error, click.UsageError) and error.ctx
            else ""
        )
        _complain(f"{error.format_message()}{hint}", error, meta)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        note("drumbeat: stopped")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) is gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except ProjectError as error:
        for issue in error.issues:
            note(str(issue))
        count = len(error.issues)
        _complain(f"{count} fault{'s' if count != 1 else ''} in the project; nothing was done", error, meta)
        return error.exit_code
    except DrumbeatError as error:
        _complain(str(error), error, meta)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback unless asked for
        text = f"{type(error).__name__}: {error}".strip()
        _complain(
            f"{text} (this is a bug in Drumbeat or in the project's triggers; run again with -v)", error, meta
        )
        return 1
    return _flushed(0)


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


def _complain(text: str, error: BaseException, meta: dict[str, Any]) -> None:
    if meta.get("drumbeat.verbose") or _asked_for(sys.argv):
        import traceback

        click.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
    note(f"drumbeat: {' '.join(text.split())}")


def _asked_for(arguments: Sequence[str]) -> bool:
    """Say whether -v was typed, for errors that come before the command line was read."""
    return "-v" in arguments or "--verbose" in arguments
