"""The one place that works the report's figures out, by three queries over the facts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, Subquery, and_, case, func, select

from drumbeat.clock import zone
from drumbeat.errors import UsageError
from drumbeat.issues import nearest
from drumbeat.ledger.cap import REACHED
from drumbeat.ledger.states import State
from drumbeat.project.load import Project
from drumbeat.reporting.figures import CampaignFigures, CapUse, Figures, Report, total
from drumbeat.responses.attribute import attributed_orders
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import SMTP
from drumbeat.store.dialect.time import quarter_hours
from drumbeat.store.engine import reading
from drumbeat.store.tables import customers, messages, orders, responses

REACTIONS: Mapping[str, tuple[Kind, bool]] = {
    "delivered": (Kind.DELIVERED, False),
    "bounced": (Kind.BOUNCED, False),
    "bounced_hard": (Kind.BOUNCED, False),
    "complained": (Kind.COMPLAINED, False),
    "unsubscribed": (Kind.UNSUBSCRIBED, False),
    "opened": (Kind.OPENED, False),
    "opened_by_machine": (Kind.OPENED, True),
    "clicked": (Kind.CLICKED, False),
    "clicked_by_machine": (Kind.CLICKED, True),
}
"""The figures that come from responses: which kind, and whether by machines alone."""

STATE_FIGURES: Mapping[State, tuple[str, ...]] = {
    State.DEFERRED: ("deferred",),
    State.PLANNED: ("planned", "waiting"),
    State.HANDING_OVER: ("planned", "waiting"),
    State.SENT: ("planned", "sent"),
    State.UNCERTAIN: ("planned", "uncertain"),
    State.REFUSED: ("planned", "refused"),
    State.FAILED: ("planned", "failed"),
    State.SKIPPED: ("skipped",),
    State.EXPIRED: ("expired",),
}
"""Which figures a message in a state counts in, besides `candidates`."""


def make_report(
    engine: Engine,
    project: Project,
    *,
    as_of: datetime,
    campaign: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Report:
    """Return the report at `as_of` over the messages with `since` <= planned_at < `until`.

    What was planned, ordered or told by readers after `as_of` is left out; states of messages are those of
    today. All in one reading transaction. `campaign` narrows figures and days; the cap's are always of all mails.
    Raises UsageError for a campaign that neither the project nor the ledger knows, StoreError.
    """
    if since is not None and until is not None and since >= until:
        raise UsageError(
            f"the period is empty: since {since.isoformat()} is not before until {until.isoformat()}"
        )
    goals = {
        name: loaded.settings.goal.order.within
        for name, loaded in project.campaigns.items()
        if loaded.settings.goal
    }
    chosen = _chosen(as_of, campaign, since, until)
    with reading(engine) as connection:
        rows = connection.execute(funnel(goals, project.config.currency, chosen, as_of, since)).all()
        found = _by_campaign(rows)
        _check_known(connection, project, campaign, found)
        cap = _cap_use(connection, project, as_of)
        days = _days(connection, and_(chosen, messages.c.sent_at <= as_of), project.config.time_zone)
    names = [campaign] if campaign else [*project.campaigns, *sorted(set(found) - set(project.campaigns))]
    channels = {row.campaign: row.channel for row in rows} | {
        name: loaded.settings.message.channel for name, loaded in project.campaigns.items()
    }
    campaigns = tuple(
        CampaignFigures(n, n in project.campaigns, found.get(n, Figures()), channels.get(n, "mail"))
        for n in names
    )
    return Report(
        project=project.config.project,
        as_of=as_of,
        since=since,
        until=until,
        time_zone=project.config.time_zone,
        currency=project.config.currency,
        campaigns=campaigns,
        totals=total(campaigns),
        cap=cap,
        days=days,
        notice=project.config.notice,
    )


def funnel(
    goals: Mapping[str, timedelta],
    currency: str,
    chosen: ColumnElement[bool],
    as_of: datetime,
    since: datetime | None = None,
) -> Select[Any]:
    """Return the SELECT of all figures by campaign, state and reason.

    Columns: campaign, state, reason, channel, messages, one a name in REACTIONS, ordered, revenue,
    ordered_in_other_currency. `chosen`: a condition on messages. `since` bounds the search for the last
    touch from below: mails of the period were sent after it.
    """
    reactions, bought = _reactions(chosen, as_of), _bought(goals, currency, as_of, since)

    def summed(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
        return func.sum(column).label(name)

    return (
        select(
            messages.c.campaign,
            messages.c.state,
            messages.c.reason,
            func.max(messages.c.channel).label("channel"),
            func.count().label("messages"),
            *(summed(reactions.c[name], name) for name in REACTIONS),
            *(summed(bought.c[name], name) for name in ("ordered", "revenue", "ordered_in_other_currency")),
        )
        .select_from(messages)
        .outerjoin(reactions, reactions.c.message_id == messages.c.id)
        .outerjoin(bought, bought.c.message_id == messages.c.id)
        .where(chosen)
        .group_by(messages.c.campaign, messages.c.state, messages.c.reason)
    )


def _reactions(chosen: ColumnElement[bool], as_of: datetime) -> Subquery:
    """Aggregate responses to one row a message first: a join without it would multiply orders by clicks."""

    machine = responses.c["class"] == Actor.MACHINE

    def seen(kind: Kind, *also: ColumnElement[bool]) -> ColumnElement[int]:
        return func.max(case((and_(responses.c.kind == kind, *also), 1), else_=0))

    def figure(name: str, kind: Kind, alone: bool) -> ColumnElement[int]:
        if alone:
            return case((seen(kind, ~machine) == 1, 0), else_=seen(kind, machine))
        if kind in (Kind.OPENED, Kind.CLICKED):
            return seen(kind, ~machine)
        if kind is Kind.BOUNCED:
            # What the mail server refused at hand-over was never sent: it is among the refused.
            told = func.coalesce(responses.c.source, "") != SMTP
            return seen(kind, told, *([responses.c.bounce == "hard"] if name == "bounced_hard" else []))
        # An unsubscribe or a complaint counts whoever told us.
        return seen(kind)

    columns = [figure(name, kind, alone).label(name) for name, (kind, alone) in REACTIONS.items()]
    return (
        select(responses.c.message_id, *columns)
        .join(messages, messages.c.id == responses.c.message_id)
        .where(chosen, responses.c.at <= as_of)
        .group_by(responses.c.message_id)
        .subquery("reactions")
    )


def _bought(
    goals: Mapping[str, timedelta], currency: str, as_of: datetime, since: datetime | None
) -> Subquery:
    """Sum attributed orders up to one row a message; an order that names no currency is in the project's."""
    attributed = attributed_orders(goals, since=since, until=as_of).subquery("attributed")
    ours = func.coalesce(orders.c.currency, currency) == currency
    return (
        select(
            attributed.c.message_id,
            func.count().label("ordered"),
            func.sum(case((ours, attributed.c.total), else_=None)).label("revenue"),
            func.sum(case((ours, 0), else_=1)).label("ordered_in_other_currency"),
        )
        .join(orders, orders.c.id == attributed.c.order_id)
        .group_by(attributed.c.message_id)
        .subquery("bought")
    )


def _chosen(
    as_of: datetime, campaign: str | None, since: datetime | None, until: datetime | None
) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [messages.c.planned_at <= as_of]
    if campaign is not None:
        conditions.append(messages.c.campaign == campaign)
    if since is not None:
        conditions.append(messages.c.planned_at >= since)
    if until is not None:
        conditions.append(messages.c.planned_at < until)
    return and_(*conditions)


def _check_known(
    connection: Connection, project: Project, campaign: str | None, found: Mapping[str, Figures]
) -> None:
    """A campaign whose file is gone may still be reported on; a name nobody knows is a slip of the pen."""
    if campaign is None or campaign in project.campaigns or campaign in found:
        return
    known = set(connection.execute(select(messages.c.campaign).distinct()).scalars()) | set(project.campaigns)
    if campaign not in known:
        raise UsageError(f"unknown campaign '{campaign}'. {nearest(campaign, known)}")


def _by_campaign(rows: list[Row[Any]] | Any) -> dict[str, Figures]:
    found: dict[str, Figures] = defaultdict(Figures)
    for row in rows:
        values: dict[str, Any] = Counter({"candidates": row.messages})
        for name in STATE_FIGURES[State(row.state)]:
            values[name] += row.messages
        for name in (*REACTIONS, "ordered", "ordered_in_other_currency"):
            values[name] = int(getattr(row, name) or 0)
        values["bounced_soft"] = values["bounced"] - values["bounced_hard"]
        reasons = (
            Counter({row.reason or "unknown": row.messages}) if row.state == State.SKIPPED else Counter()
        )
        found[row.campaign].add(
            Figures(**values, revenue=row.revenue or Decimal(0), skipped_by_reason=reasons)
        )
    return dict(found)


def _cap_use(connection: Connection, project: Project, as_of: datetime) -> CapUse:
    rule = project.config.cap
    person = func.coalesce(customers.c.person_id, -customers.c.id)
    received = (
        select(func.count().label("mails"))
        .select_from(messages)
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(
            messages.c.counts_toward_cap,
            messages.c.state.in_(REACHED),
            messages.c.sent_at > as_of - rule.per,
            messages.c.sent_at <= as_of,
        )
        .group_by(person, messages.c.sender)
        .subquery("received")
    )
    rows = connection.execute(
        select(received.c.mails, func.count().label("people")).group_by(received.c.mails)
    ).all()
    return CapUse(rule.messages, rule.per, {row.mails: row.people for row in rows})


def _days(connection: Connection, chosen: ColumnElement[bool], time_zone: str) -> dict[date, dict[str, int]]:
    """Count sent mails by local day: quarter hours in SQL, days in Python, where the zones are known."""
    quarter = quarter_hours(messages.c.sent_at)
    rows = connection.execute(
        select(messages.c.campaign, quarter.label("quarter"), func.count().label("sent"))
        .where(chosen, messages.c.state.in_(REACHED))
        .group_by(messages.c.campaign, quarter)
    ).all()
    where = zone(time_zone)
    days: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        day = datetime.fromtimestamp(row.quarter * 900, UTC).astimezone(where).date()
        days[day][row.campaign] += row.sent
    return {day: dict(by_campaign) for day, by_campaign in sorted(days.items())}
