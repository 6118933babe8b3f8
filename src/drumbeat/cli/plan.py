"""`drumbeat plan`: a dry run of the plan, with every decision and its reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drumbeat.cli.options import (
    as_of_option,
    clock_for,
    json_option,
    open_engine,
    open_project,
    project_option,
)
from drumbeat.cli.output import emit_json, note, show, table

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.command("plan")
@project_option
@as_of_option
@click.option(
    "-c",
    "--campaign",
    "campaigns",
    multiple=True,
    metavar="NAME",
    help="Only this campaign; may be repeated.",
)
@click.option("--show", "shown", default=20, show_default=True, metavar="N", help="List at most N decisions.")
@json_option
def command(
    project_dir: Path | None, as_of: str | None, campaigns: tuple[str, ...], shown: int, as_json: bool
) -> None:
    """Show who would get which mail now, and why others would not. Nothing is kept.

    It makes the same statements as `drumbeat run` in one transaction and rolls them back. `--as-of` looks
    at another time. With --campaign a disabled campaign can be tried out, too.
    """
    from drumbeat.planning.plan import plan

    project = open_project(project_dir)
    engine = open_engine(project)
    decisions: list[dict[str, Any]] = []

    def inspect(connection: Connection, run_id: int) -> None:
        decisions.extend(_decisions(connection, run_id, shown))

    result = plan(
        engine,
        project,
        as_of=clock_for(as_of, project, standing=True).now(),
        campaigns=campaigns or None,
        dry_run=True,
        inspect=inspect,
    )
    engine.dispose()
    if as_json:
        emit_json(result.to_json() | {"decisions": decisions})
        return
    rows = [
        (
            c.campaign,
            c.candidates,
            c.planned,
            c.deferred,
            ", ".join(f"{r} {n:,}" for r, n in c.skipped.items()),
        )
        for c in result.campaigns
    ]
    show(
        table(
            ["campaign", "candidates", "planned", "deferred", "skipped"],
            rows,
            title=f"Plan as of {result.as_of:%Y-%m-%d %H:%M} UTC (dry run)",
        )
    )
    if decisions:
        columns = ["campaign", "customer", "occasion", "decision", "reason", "send_at"]
        total = sum(campaign.candidates for campaign in result.campaigns)
        title = (
            "Decisions" if len(decisions) == total else f"Decisions, {len(decisions):,} of {total:,} (--show)"
        )
        show(table(columns, [[d[c] for c in columns] for d in decisions], title=title))
    mails = "1 mail" if result.planned == 1 else f"{result.planned:,} mails"
    note(f"{mails} would be planned. `drumbeat run evaluate` does it; `drumbeat explain CUSTOMER` tells why.")


def _decisions(connection: Connection, run_id: int, limit: int) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from drumbeat.store.tables import customers, messages

    rows = connection.execute(
        select(
            messages.c.campaign,
            customers.c.external_id.label("customer"),
            messages.c.occasion,
            messages.c.state.label("decision"),
            messages.c.reason,
            messages.c.due_at.label("send_at"),
        )
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(messages.c.run_id == run_id)
        .order_by(messages.c.id)
        .limit(limit)
    )
    return [dict(row._mapping) for row in rows]
