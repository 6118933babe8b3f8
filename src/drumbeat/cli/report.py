"""`drumbeat report`: what became of each campaign."""

from __future__ import annotations

from pathlib import Path

import click

from drumbeat.cli.options import (
    as_of_option,
    clock_for,
    json_option,
    open_engine,
    open_project,
    project_option,
)
from drumbeat.cli.output import emit_json, note, show
from drumbeat.clock import parse_instant
from drumbeat.errors import UsageError


@click.command("report")
@project_option
@as_of_option
@click.option("-c", "--campaign", metavar="NAME", help="Only this campaign.")
@click.option("--since", metavar="TIME", help="Only mails planned at or after this time.")
@click.option("--until", metavar="TIME", help="Only mails planned before this time.")
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with pictures that needs nothing but a browser.",
)
@json_option
def command(
    project_dir: Path | None,
    as_of: str | None,
    campaign: str | None,
    since: str | None,
    until: str | None,
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Show per campaign how many were decided on, sent, opened, clicked, ordered, and why others were not.

    Times without offset are in the project's zone; a bare date is its first instant. Nothing is stored:
    figures come from the ledger, the responses and the orders each time. docs/report.md explains each.
    """
    from drumbeat.reporting.funnel import make_report
    from drumbeat.reporting.html import render_html
    from drumbeat.reporting.terminal import render_terminal

    project = open_project(project_dir)
    zone = project.config.time_zone
    period = [None if text is None else parse_instant(text, zone) for text in (since, until)]
    now = clock_for(as_of, project, standing=True).now()
    engine = open_engine(project)
    try:
        report = make_report(engine, project, as_of=now, campaign=campaign, since=period[0], until=period[1])
    finally:
        engine.dispose()
    if html_file is not None:
        _write(html_file, render_html(report))
    if as_json:
        emit_json(report.as_json())
    elif html_file is None:
        show(*render_terminal(report))
    if html_file is not None:
        note(f"Wrote {html_file}")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}; choose another --html FILE") from None
