"""`drumbeat doctor`: what mail servers will find out about the senders, before they do."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from drumbeat.cli.options import json_option, open_project, project_option
from drumbeat.cli.output import emit_json, show
from drumbeat.clock import SystemClock
from drumbeat.errors import DeliveryError, UsageError


@click.command("doctor")
@project_option
@click.option("--sender", metavar="NAME", help="Examine this sender alone. Default: all of project.yaml.")
@click.option(
    "--ip",
    "addresses",
    multiple=True,
    metavar="ADDRESS",
    help="An address that mails leave from; may be repeated. Default: those of mail servers in the sender's domain.",
)
@click.option(
    "--selector",
    "selectors",
    multiple=True,
    metavar="NAME",
    help="A DKIM selector of whoever signs for you; may be repeated.",
)
@click.option(
    "--resolver",
    metavar="IP[:PORT]",
    help="Ask this DNS resolver. Default: the machine's own.",
)
@click.option(
    "--check", "checks", multiple=True, metavar="NAME", help="Make this check alone; may be repeated."
)
@click.option("--explain", metavar="CHECK", help="Tell what a check looks at, and examine nothing.")
@json_option
def command(
    project_dir: Path | None,
    sender: str | None,
    addresses: tuple[str, ...],
    selectors: tuple[str, ...],
    resolver: str | None,
    checks: tuple[str, ...],
    explain: str | None,
    as_json: bool,
) -> None:
    """Examine the senders as mail servers will: SPF, DKIM, DMARC, reverse DNS, TLS, links, size.

    Looks things up in the DNS, connects to the mail servers and to tracking.base_url, and sends nothing. Exits
    with 7 where something would get mails refused or lost.
    """
    if explain is not None:
        click.echo(_manual(explain))
        return
    from drumbeat.doctor.checks import examine
    from drumbeat.doctor.dns import Dns, read_resolver
    from drumbeat.doctor.findings import Level
    from drumbeat.doctor.setup import Setup, read_address
    from drumbeat.doctor.terminal import rendered

    for name in checks:
        _manual(name)
    project = open_project(project_dir)
    setup = Setup(
        project=project,
        dns=Dns([read_resolver(resolver)] if resolver else None),
        now=SystemClock().now(),
        addresses=tuple(read_address(address) for address in addresses),
        selectors=selectors,
        only=sender,
    )
    with _progress() as progress:
        findings = examine(setup, progress, only=checks)
    failed = sum(finding.level is Level.FAIL for finding in findings)
    if as_json:
        emit_json({"ok": not failed, "resolver": setup.dns.name, "findings": findings})
        click.get_current_context().exit(DeliveryError.exit_code if failed else 0)
    show(*rendered(f"{project.config.project}: what mail servers will find", findings))
    if failed:
        raise DeliveryError(
            f"{failed} of {len(findings)} findings would get mails refused or lost; see what to do above"
        )


def _manual(check: str) -> str:
    from drumbeat.doctor.checks import MANUAL
    from drumbeat.issues import nearest

    if check not in MANUAL:
        raise UsageError(f"unknown check '{check}'. {nearest(check, MANUAL)}")
    return inspect.cleandoc(MANUAL[check])


@contextmanager
def _progress() -> Iterator[Callable[[str], Any]]:
    """Name the check at work on stderr, in a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _title: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda title: status.update(f"{title} ...")
