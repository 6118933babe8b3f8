"""Decide who gets which mail now: plan every campaign and fill the outbox.

prefect deploy --prefect-file deployments/prefect.yaml --name evaluate/every-15-minutes
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from drumbeat import runs

PROJECT = Path(__file__).resolve().parent.parent


class Evaluate(BaseModel):
    """What to evaluate; shown as a form in Prefect's UI."""

    model_config = ConfigDict(extra="forbid")

    campaigns: list[str] = Field(default=[], description="Only these campaigns; none: all that are enabled")
    as_of: datetime | None = Field(default=None, description="Act as if it were this time; empty: now")
    dry_run: bool = Field(default=False, description="Decide, show, and keep nothing")


@task(retries=3, retry_delay_seconds=[10, 60, 300], retry_condition_fn=runs.may_help)
def plan_campaigns(params: Evaluate) -> runs.Account:
    """Plan in one transaction; a retry after a failure finds nothing half done."""
    with runs.opened(PROJECT) as (engine, project):
        return runs.evaluate(
            engine,
            project,
            clock=runs.clock_at(params.as_of, project),
            campaigns=params.campaigns,
            dry_run=params.dry_run,
        )


@flow(name="evaluate")
def evaluate(params: Evaluate = Evaluate()) -> runs.Account:  # noqa: B008 - Prefect reads the form's defaults here
    """Plan the campaigns and leave what was planned, and what was skipped and why, as artifacts."""
    account = plan_campaigns(params)
    create_markdown_artifact(account.markdown(), key="evaluate", description=account.headline)
    create_table_artifact(account.table(), key="evaluate-campaigns", description=account.headline)
    return account
