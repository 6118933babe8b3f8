"""Plan: decide about every candidate of every campaign and write it down, in one transaction.

Planners of one sender queue up behind a lock, so that each sees the places that the one before took.
A dry run makes the very same statements and rolls them back: it cannot say anything else than the run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Text,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, ProgrammingError

from drumbeat.errors import ProjectError
from drumbeat.ingest import people
from drumbeat.issues import Issue, Place
from drumbeat.ledger.candidates import STEP, moment_of
from drumbeat.ledger.cap import lock_sender
from drumbeat.ledger.states import Reason, State
from drumbeat.planning.decisions import decisions
from drumbeat.project.load import LoadedCampaign, Project
from drumbeat.store.dialect.insert import insert as upsert
from drumbeat.store.engine import writing
from drumbeat.store.tables import customers, messages, outbox, runs
from drumbeat.store.types import UtcDateTime
from drumbeat.triggers import Moment


@dataclass(frozen=True)
class CampaignPlan:
    """What was decided for one campaign in this run. `candidates` is the sum of the others."""

    campaign: str
    planned: int = 0
    deferred: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def candidates(self) -> int:
        """Return how many candidates were decided about."""
        return self.planned + self.deferred + sum(self.skipped.values())


@dataclass(frozen=True)
class PlanResult:
    """What a plan decided. `run_id` is None after a dry run: nothing was kept.

    `given_up`: messages deferred earlier whose time is over; they are skipped as capped.
    """

    run_id: int | None
    as_of: datetime
    dry_run: bool
    campaigns: tuple[CampaignPlan, ...]
    given_up: int

    @property
    def planned(self) -> int:
        """Return how many mails were planned in all campaigns."""
        return sum(c.planned for c in self.campaigns)

    def to_json(self) -> dict[str, Any]:
        """Return the result as `drumbeat plan --json` prints it; the shape is in docs/commands.md."""
        return {
            "run": self.run_id,
            "as_of": self.as_of.isoformat(),
            "dry_run": self.dry_run,
            "given_up": self.given_up,
            "campaigns": [
                {
                    "campaign": c.campaign,
                    "candidates": c.candidates,
                    "planned": c.planned,
                    "deferred": c.deferred,
                    "skipped": c.skipped,
                }
                for c in self.campaigns
            ],
        }


class _RollBack(Exception):  # noqa: N818 - not an error: the way out of a dry run's transaction
    pass


def plan(
    engine: Engine,
    project: Project,
    *,
    as_of: datetime,
    campaigns: Collection[str] | None = None,
    dry_run: bool = False,
    inspect: Callable[[Connection, int], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> PlanResult:
    """Decide about every candidate at `as_of` and fill the outbox; with `dry_run`, keep nothing.

    `campaigns` limits the plan to these names (all enabled ones otherwise; a disabled one can be named
    in a dry run only). `inspect(connection, run_id)` may read the decisions before the transaction ends.
    `progress` is called with each campaign's name before it is planned. Raises UsageError for an unknown
    or disabled campaign.
    """
    chosen = _chosen(project, campaigns, dry_run=dry_run)
    result: PlanResult | None = None
    try:
        with writing(engine) as connection:
            result = _plan_all(
                connection,
                project,
                chosen,
                None if campaigns is None else [campaign.name for campaign in chosen],
                as_of,
                dry_run=dry_run,
                inspect=inspect,
                progress=progress,
            )
            if dry_run:
                raise _RollBack
    except _RollBack:
        pass
    assert result is not None  # noqa: S101 - set above, or an exception left
    return result


def _chosen(project: Project, names: Collection[str] | None, *, dry_run: bool) -> list[LoadedCampaign]:
    if names is None:
        return list(project.planned_campaigns)
    named = {project.campaign(name).name for name in names}
    return [c for c in project.campaigns.values() if c.name in named and (c.settings.enabled or dry_run)]


def _plan_all(
    connection: Connection,
    project: Project,
    chosen: list[LoadedCampaign],
    named: Collection[str] | None,
    as_of: datetime,
    *,
    dry_run: bool,
    inspect: Callable[[Connection, int], None] | None,
    progress: Callable[[str], None] | None,
) -> PlanResult:
    for sender in sorted({campaign.sender for campaign in chosen}):
        lock_sender(connection, sender)
    run_id: int = connection.execute(
        insert(runs).values(kind="plan", as_of=as_of, started_at=as_of, summary={}).returning(runs.c.id)
    ).scalar_one()
    _know_everyone(connection)
    given_up = _give_up_deferred(connection, named, as_of)
    moment = moment_of(connection, project, as_of)
    done = []
    for campaign in chosen:
        if progress is not None:
            progress(campaign.name)
        done.append(_plan_campaign(connection, project, campaign, moment, run_id))
    result = PlanResult(None if dry_run else run_id, as_of, dry_run, tuple(done), given_up)
    connection.execute(
        update(runs).where(runs.c.id == run_id).values(summary=result.to_json(), finished_at=as_of)
    )
    if inspect is not None:
        inspect(connection, run_id)
    return result


def _know_everyone(connection: Connection) -> None:
    """Give customers who came in by another way than `drumbeat import` their person: the cap counts by it."""
    if connection.execute(select(customers.c.id).where(customers.c.person_id.is_(None)).limit(1)).first():
        people.assign(connection)


def _give_up_deferred(connection: Connection, named: Collection[str] | None, as_of: datetime) -> int:
    """Skip the deferred messages whose time is over: it was the cap that kept them away for good.

    A plan of all campaigns settles those of campaigns that were disabled or removed since, too.
    """
    gone = connection.execute(
        update(messages)
        .where(
            messages.c.campaign.in_(named) if named is not None else true(),
            messages.c.state == State.DEFERRED,
            messages.c.expires_at <= as_of,
        )
        .values(state=State.SKIPPED, reason=Reason.CAPPED)
        .returning(messages.c.id)
    )
    return len(gone.all())


def _plan_campaign(
    connection: Connection, project: Project, campaign: LoadedCampaign, moment: Moment, run_id: int
) -> CampaignPlan:
    decided = decisions(project, campaign, moment).subquery("decision")
    settings = campaign.settings
    constants: dict[str, ColumnElement[Any]] = {
        "run_id": literal(run_id, Integer),
        "campaign": literal(campaign.name, Text),
        "step": literal(STEP, Text),
        "channel": literal(settings.message.channel, Text),
        "sender": literal(campaign.sender, Text),
        "kind": literal(settings.kind, Text),
        "topic": literal(settings.topic, Text),
        "template": literal(settings.message.template, Text),
        "priority": literal(settings.priority, Integer),
        "obeys_cap": literal(campaign.obeys_cap, Boolean),
        "counts_toward_cap": literal(campaign.counts_toward_cap, Boolean),
        "planned_at": literal(moment.as_of, UtcDateTime),
    }
    taken: dict[str, ColumnElement[Any]] = {
        "customer_id": decided.c.customer_id,
        "occasion": decided.c.occasion,
        "subject_id": decided.c.subject_id,
        "due_at": decided.c.send_at,
        "expires_at": decided.c.expires_at,
        "state": decided.c.state,
        "reason": decided.c.reason,
    }
    columns = constants | taken
    source = select(*(value.label(name) for name, value in columns.items())).where(literal(True))
    statement = upsert(connection, messages).from_select(list(columns), source)
    fresh = {
        name: statement.excluded[name]
        for name in columns
        if name not in ("campaign", "step", "customer_id", "occasion")
    }
    decide = statement.on_conflict_do_update(
        index_elements=["campaign", "step", "customer_id", "occasion"],
        set_=fresh,
        # Only a deferred message is judged again, and one that stays deferred keeps its first date of expiry.
        where=(messages.c.state == State.DEFERRED) & (statement.excluded.state != State.DEFERRED),
    )
    try:
        connection.execute(decide)
    except DBAPIError as error:
        if error.connection_invalidated or not _is_of_the_statement(error):
            raise
        raise ProjectError([_trigger_fault(campaign, error)]) from error
    connection.execute(
        insert(outbox).from_select(
            ["message_id", "due_at", "priority"],
            select(messages.c.id, messages.c.due_at, messages.c.priority).where(
                messages.c.run_id == run_id,
                messages.c.campaign == campaign.name,
                messages.c.state == State.PLANNED,
            ),
        )
    )
    return _summary(connection, campaign.name, run_id)


def _is_of_the_statement(error: DBAPIError) -> bool:
    """Say whether the database refused what the trigger asks for, and not the connection or the disk."""
    if isinstance(error, OperationalError):  # SQLite's class for a missing function, too
        return "no such function" in str(error.orig) or "no such column" in str(error.orig)
    return isinstance(error, IntegrityError | ProgrammingError | DataError)


def _trigger_fault(campaign: LoadedCampaign, error: DBAPIError) -> Issue:
    found = str(error.orig).strip().splitlines()[0]
    return Issue(
        Place(campaign.path),
        "DB023",
        f"the rows of its trigger '{campaign.trigger.kind}' cannot be planned: {found}.",
        "Run drumbeat.triggers.contract.check_trigger on the kind.",
    )


def _summary(connection: Connection, campaign: str, run_id: int) -> CampaignPlan:
    rows = connection.execute(
        select(messages.c.state, messages.c.reason, func.count())
        .where(messages.c.campaign == campaign, messages.c.run_id == run_id)
        .group_by(messages.c.state, messages.c.reason)
        .order_by(messages.c.reason)
    ).all()
    counted = {(state, reason): number for state, reason, number in rows}
    return CampaignPlan(
        campaign=campaign,
        planned=sum(n for (state, _), n in counted.items() if state == State.PLANNED),
        deferred=sum(n for (state, _), n in counted.items() if state == State.DEFERRED),
        skipped={reason: n for (state, reason), n in counted.items() if state == State.SKIPPED},
    )
