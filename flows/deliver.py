"""Hand over the mails that are due.

Running it twice at once is safe: each worker claims its own mails.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from drumbeat import runs

PROJECT = Path(__file__).resolve().parent.parent


class Deliver(BaseModel):
    """What to deliver; shown as a form in Prefect's UI."""

    model_config = ConfigDict(extra="forbid")

    limit: int | None = Field(
        default=None, ge=1, description="At most this many mails; empty: all that are due"
    )
    as_of: datetime | None = Field(default=None, description="Act as if it were this time; empty: now")


@task(retries=3, retry_delay_seconds=[10, 60, 300], retry_condition_fn=runs.may_help)
def hand_over(params: Deliver) -> runs.Account:
    """Hand over; a retry goes on where it stopped, and a mail cut off in the middle is not sent again."""
    with runs.opened(PROJECT) as (engine, project):
        return runs.deliver(engine, project, clock=runs.clock_at(params.as_of, project), limit=params.limit)


@flow(name="deliver")
def deliver(params: Deliver = Deliver()) -> runs.Account:  # noqa: B008 - Prefect reads the form's defaults here
    """Hand over what is due and leave how it ended as artifacts."""
    account = hand_over(params)
    create_markdown_artifact(account.markdown(), key="deliver", description=account.headline)
    create_table_artifact(account.table(), key="deliver-outcomes", description=account.headline)
    return account
