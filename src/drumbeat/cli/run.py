"""`drumbeat run`: the three runs, by Prefect's flows where an API is configured, else directly."""

from __future__ import annotations

import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.cli.options import as_of_option, json_option, open_engine, open_project, project_option
from drumbeat.cli.output import emit_json, note, progress, show, table
from drumbeat.clock import parse_instant
from drumbeat.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.project.load import Project
    from drumbeat.runs import Account

IN_ORDER = ("collect", "evaluate", "deliver")
"""What `all` does: take in what happened, decide on it, send."""


@click.command("run")
@click.argument("which", type=click.Choice([*IN_ORDER, "all"]), default="all")
@project_option
@as_of_option
@json_option
def command(which: str, project_dir: Path | None, as_of: str | None, as_json: bool) -> None:
    """Evaluate the campaigns, deliver the mails, collect what came in: one of them, or all.

    Where a Prefect API is configured the project's flows run there; where none is, the same is done
    directly, without starting a Prefect server.
    """
    project = open_project(project_dir)
    engine = open_engine(project)
    at = parse_instant(as_of, project.config.time_zone) if as_of is not None else None
    names = IN_ORDER if which == "all" else (which,)
    api = prefect_api()
    if api is not None:
        check_answers(api)
        note(f"Running the flows on the Prefect API at {api}")
    else:
        note("No Prefect API is configured: running directly")
    accounts = []
    for name in names:
        account = by_flow(project.root, name, at) if api is not None else directly(engine, project, name, at)
        accounts.append(account)
        if not as_json:
            show_account(account)
    if as_json:
        emit_json(
            {"by": "prefect" if api is not None else "directly", "runs": [a.to_json() for a in accounts]}
        )


def show_account(account: Account) -> None:
    """Print an account: its headline, and its table where there are rows."""
    click.echo(f"{account.run}: {account.headline}")
    if account.rows:
        show(table(account.columns, account.rows))


def directly(engine: Engine, project: Project, name: str, at: datetime | None) -> Account:
    """Make the call that the flow `name` makes, in this process."""
    from drumbeat import runs

    clock = runs.clock_at(at, project)
    if name == "deliver":
        with progress("Delivering") as show_done:
            return runs.deliver(engine, project, clock=clock, progress=show_done)
    call: Callable[..., Account] = getattr(runs, name)
    return call(engine, project, clock=clock)


def by_flow(root: Path, name: str, at: datetime | None) -> Account:
    """Run the project's flow `name` in this process, recorded by the Prefect API that is configured."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    flow = load_flow(root, name)
    # The heartbeat thread sleeps in steps of a second and is joined at the end: 1.1 s a flow, not 0.2 s.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        account: Account = flow({"as_of": at})
    return account


def load_flow(root: Path, name: str) -> Any:
    """Import `flows/<name>.py` of the project and return its flow of the same name."""
    path = root / "flows" / f"{name}.py"
    if not path.is_file():
        raise UsageError(f"{path} is missing; copy it from a new project made by `drumbeat init`")
    module_name = f"drumbeat_project_flow_{name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:  # cannot happen for a .py file
        raise UsageError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def prefect_api() -> str | None:
    """Return the URL of the Prefect API that is configured, without importing Prefect (1 to 2.5 s).

    PREFECT_API_URL in the environment, else in the active profile: PREFECT_PROFILE, else the one that
    profiles.toml names (docs.prefect.io, "settings and profiles").
    """
    if (url := os.environ.get("PREFECT_API_URL")) is not None:
        return url or None
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    file = Path(os.environ.get("PREFECT_PROFILES_PATH", str(home / "profiles.toml"))).expanduser()
    try:
        profiles = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    active = os.environ.get("PREFECT_PROFILE", profiles.get("active", ""))
    profile = profiles.get("profiles", {}).get(active, {})
    found = profile.get("PREFECT_API_URL")
    return str(found) if found else None


def check_answers(api: str) -> None:
    """Raise UsageError where no Prefect API answers at the URL."""
    import requests

    try:
        answer = requests.get(f"{api.rstrip('/')}/health", timeout=10)
        healthy = answer.ok
    except requests.RequestException:
        healthy = False
    if not healthy:
        raise UsageError(
            f"the Prefect API at {api} does not answer; start it with `prefect server start`, "
            "or run directly with PREFECT_API_URL= (empty)"
        )
