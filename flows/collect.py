"""Take in what happened: import files that changed, settle hand-overs that were cut off, show the report."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from drumbeat import runs

PROJECT = Path(__file__).resolve().parent.parent


class Collect(BaseModel):
    """What to collect; shown as a form in Prefect's UI."""

    model_config = ConfigDict(extra="forbid")

    as_of: datetime | None = Field(default=None, description="Act as if it were this time; empty: now")


@task(retries=3, retry_delay_seconds=[10, 60, 300], retry_condition_fn=runs.may_help)
def take_in(params: Collect) -> runs.Account:
    """Import and settle; importing a file again changes nothing."""
    with runs.opened(PROJECT) as (engine, project):
        return runs.collect(engine, project, clock=runs.clock_at(params.as_of, project))


@task
def report(params: Collect) -> runs.Account:
    """Read what became of each campaign."""
    with runs.opened(PROJECT) as (engine, project):
        return runs.report(engine, project, clock=runs.clock_at(params.as_of, project))


@flow(name="collect")
def collect(params: Collect = Collect()) -> runs.Account:  # noqa: B008 - Prefect reads the form's defaults here
    """Take in what happened and leave the files' counts and the campaigns' report as artifacts."""
    account = take_in(params)
    create_markdown_artifact(account.markdown(), key="collect", description=account.headline)
    figures = report(params)
    create_table_artifact(figures.table(), key="report", description=figures.headline)
    return account
