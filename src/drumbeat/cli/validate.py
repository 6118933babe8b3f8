"""`drumbeat validate`: check the project as a whole, without touching a database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from drumbeat.cli.options import json_option, project_option, project_root
from drumbeat.cli.output import emit_json
from drumbeat.errors import ProjectError
from drumbeat.issues import Issue
from drumbeat.project.check import check_project


@click.command("validate")
@project_option
@json_option
@click.option("--write-schemas", is_flag=True, help="Write JSON Schemas for editors into .drumbeat/schemas.")
def command(project_dir: Path | None, as_json: bool, write_schemas: bool) -> None:
    """Check every file of the project and show all faults at once.

    A fault is one line, `file:line:column CODE text`. Exits with 3 where there is one.
    """
    root = project_root(project_dir)
    project, found = check_project(root)
    issues = [*found, *_machines(root)]
    if as_json:
        emit_json({"ok": not issues, "issues": [_as_json(issue) for issue in issues]})
        click.get_current_context().exit(ProjectError.exit_code if issues else 0)
    if write_schemas:
        from drumbeat.project.schemas import write

        for path in write(root):
            click.echo(f"wrote {path.relative_to(root)}")
    if issues or project is None:
        raise ProjectError(issues)
    if not project.campaigns:
        click.echo("The project is sound, but has no campaign yet: each is a file in campaigns/.")
        return
    names = ", ".join(project.campaigns)
    click.echo(f"{len(project.campaigns)} campaigns are sound: {names}")


def _machines(root: Path) -> Sequence[Issue]:
    """Return the faults of the project's own rules on what is a machine, where it has some."""
    if not (root / "machines.yaml").exists():
        return ()
    from drumbeat.responses.machines import load_machines

    try:
        load_machines(root)
    except ProjectError as error:
        return error.issues
    return ()


def _as_json(issue: Issue) -> dict[str, object]:
    return {
        "path": str(issue.place.path),
        "line": issue.place.line,
        "column": issue.place.column,
        "code": issue.code,
        "message": issue.message,
        "fix": issue.fix,
    }
