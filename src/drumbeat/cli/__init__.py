"""The command line: one file a command, imported when it is called.

The table below is written by hand; it carries each command's one-line help, so that `drumbeat --help`
imports none of them. A command's module has a click command named `command`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click

from drumbeat.cli.output import guarded


class Entry(NamedTuple):
    """Where a command lives and what it does in one line."""

    module: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "init": Entry("drumbeat.cli.init", "Make a new project in a folder, with campaigns to start from."),
    "validate": Entry("drumbeat.cli.validate", "Check the project's files and show all faults at once."),
    "import": Entry("drumbeat.cli.import_", "Load customers, orders and events from a file by a mapping."),
    "plan": Entry("drumbeat.cli.plan", "Show who would get which mail now, and why others would not."),
    "run": Entry("drumbeat.cli.run", "Evaluate campaigns, deliver mails, collect what came in."),
    "deliver": Entry("drumbeat.cli.deliver", "Hand over the mails that are due."),
    "explain": Entry("drumbeat.cli.explain", "Tell why a customer got a mail, or what kept it away."),
    "preview": Entry("drumbeat.cli.preview", "Render a mail with its sample or with a customer's data."),
    "doctor": Entry("drumbeat.cli.doctor", "Examine senders and servers as mailbox providers will."),
    "report": Entry("drumbeat.cli.report", "Show what became of each campaign, as a table or an HTML page."),
    "limits": Entry("drumbeat.cli.limits", "Show which domains, servers and senders are held back now."),
    "tasks": Entry("drumbeat.cli.tasks", "List the tasks of people, and mark them as done."),
    "serve": Entry("drumbeat.cli.serve", "Answer readers' opens, clicks and unsubscribes over HTTP."),
    "bounces": Entry("drumbeat.cli.bounces", "Fetch what comes back by mail, or explain one mail."),
    "inbox": Entry("drumbeat.cli.inbox", "Show what came in and could not be read, and try it again."),
    "suppressions": Entry(
        "drumbeat.cli.suppressions", "List, add, remove, import and export who gets no mail."
    ),
    "consent": Entry("drumbeat.cli.consent", "Show every consent of a customer, with its proof."),
    "customer": Entry("drumbeat.cli.customer", "Show, export or erase what is held about a person."),
    "retention": Entry("drumbeat.cli.retention", "Remove what is over its time, or show what would go."),
    "audit": Entry("drumbeat.cli.audit", "Show who of us did what to whose data."),
    "db": Entry("drumbeat.cli.db", "Create the database's tables, or bring them up to date."),
    "demo": Entry("drumbeat.cli.demo", "See the whole job on real orders in a folder of its own."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when called; help comes from the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order: the order of use."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module. Returns None for a name that is not in the table."""
        del ctx
        if (entry := COMMANDS.get(cmd_name)) is None:
            return None
        command: click.Command = importlib.import_module(entry.module).command
        _with_verbose(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where one is unknown."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from drumbeat.issues import nearest

            raise click.UsageError(f"unknown command '{args[0]}'. {nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _note_verbose(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta["drumbeat.verbose"] = True


def _verbose() -> click.Option:
    return click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_note_verbose,
        help="Show the traceback of an error.",
    )


def _with_verbose(command: click.Command) -> None:
    """Let `-v` stand after the command too, where people type it."""
    if not any("--verbose" in parameter.opts for parameter in command.params):
        command.params.append(_verbose())
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _with_verbose(child)


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"drumbeat {version('drumbeat')}")
        ctx.exit()


cli = LazyGroup(
    name="drumbeat",
    help="Marketing campaigns as files: who, when and what in YAML.",
    params=[
        _verbose(),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show the version and exit.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def main(arguments: Sequence[str] | None = None, **settings: Any) -> None:
    """Run the command line and leave the process with the exit code that docs/commands.md lists."""
    sys.exit(guarded(cli, list(sys.argv[1:] if arguments is None else arguments), **settings))
