"""What is decided about every candidate: reach, window, twins and the cap, in one SELECT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    CTE,
    Case,
    ColumnElement,
    Select,
    case,
    exists,
    func,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy import Text as SqlText

from drumbeat.clock import zone_or
from drumbeat.ledger.candidates import STEP, candidates
from drumbeat.ledger.cap import CapRule, chosen_by, rules_of, used_by
from drumbeat.ledger.states import Reason, State
from drumbeat.ledger.windows import Hours, next_open
from drumbeat.project.load import LoadedCampaign, Project
from drumbeat.store.tables import messages
from drumbeat.store.types import UtcDateTime
from drumbeat.triggers import Moment


def decisions(project: Project, campaign: LoadedCampaign, moment: Moment) -> Select[Any]:
    """Return the SELECT of what is decided about every candidate that the ledger has not settled yet.

    Columns: customer_id, occasion, subject_id, send_at, expires_at, state, reason. Candidates whose
    occasion stands in the ledger are left out, but for those the cap deferred: they are judged again.
    """
    rules = applicable(project, campaign)
    open_ones = _open_candidates(project, campaign, moment)
    looked_up: dict[str, Callable[[ColumnElement[int]], ColumnElement[Any]]] = {
        f"used_{n}": partial(used_by, rule, campaign.sender, moment.as_of) for n, rule in enumerate(rules)
    }
    if rules:
        looked_up["chosen"] = chosen_by
    ranked = _ranked(open_ones, looked_up)
    columns = ranked.c
    state: ColumnElement[Any] = case(
        (columns.refusal.is_not(None), literal(State.SKIPPED, SqlText)), else_=literal(State.PLANNED, SqlText)
    )
    reason: ColumnElement[Any] = columns.refusal
    expires_at: ColumnElement[Any] = columns.expires_at
    statement = select(columns.customer_id, columns.occasion, columns.subject_id, columns.send_at)
    if rules:
        place = columns.place if campaign.counts_toward_cap else literal(1)
        over = [columns[f"used_{n}"] + place > rule.messages for n, rule in enumerate(rules)]
        # The reader's own choice counts as the cap over all channels does.
        over.append(columns.used_0 + place > func.coalesce(columns.chosen, rules[0].messages))
        capped = columns.refusal.is_(None) & or_(*over)
        state = case((capped, literal(_when_capped(campaign), SqlText)), else_=state)
        reason = case((capped, literal(Reason.CAPPED, SqlText)), else_=reason)
        expires_at = _deferred_until(campaign, capped, columns.expires_at, moment)
    return statement.add_columns(
        expires_at.label("expires_at"), state.label("state"), reason.label("reason")
    ).where(literal(True))


def applicable(project: Project, campaign: LoadedCampaign) -> tuple[CapRule, ...]:
    """Return the rules that may keep the campaign's messages away: over all channels first, then its own's."""
    if not campaign.obeys_cap:
        return ()
    return tuple(
        rule
        for rule in rules_of(project.config.cap)
        if rule.channel in (None, campaign.settings.message.channel)
    )


def _open_candidates(project: Project, campaign: LoadedCampaign, moment: Moment) -> CTE:
    """The candidates that the ledger has not settled, with the time they may go out at."""
    found = candidates(project, campaign, moment).subquery("candidate")
    settled = exists(
        select(literal(1)).where(
            messages.c.campaign == campaign.name,
            messages.c.step == STEP,
            messages.c.customer_id == found.c.customer_id,
            messages.c.occasion == found.c.occasion,
            messages.c.state != State.DEFERRED,
        )
    )
    opening = opening_by_zone(campaign.settings.send.window, moment, found.c.time_zone)
    too_late = found.c.expires_at <= opening
    refusal = case(
        (found.c.refusal.is_not(None), found.c.refusal),
        (too_late, literal(Reason.TOO_LATE, SqlText)),
        else_=null(),
    )
    return (
        select(
            *(
                found.c[name]
                for name in ("customer_id", "person_id", "occasion", "subject_id", "due_at", "expires_at")
            ),
            opening.label("send_at"),
            refusal.label("refusal"),
        )
        .where(~settled)
        .cte("open_candidate")
    )


def _ranked(
    open_ones: CTE, looked_up: Mapping[str, Callable[[ColumnElement[int]], ColumnElement[Any]]]
) -> CTE:
    """The open candidates with their place in the queue of each person's mails, and what is looked up of each person.

    Two customer rows of one person with the same occasion (a newsletter, say) are one reader: the second
    is refused as `duplicate_person`. Two carts or coupons are two occasions: these hold the subject's name.
    """
    columns = open_ones.c
    # A trigger must not give an occasion twice; where a company's does, it is still one occasion.
    again = func.row_number().over(
        partition_by=[columns.customer_id, columns.occasion], order_by=[columns.due_at, columns.subject_id]
    )
    given = select(open_ones, again.label("again")).subquery("given")
    columns = given.c
    may_go = columns.refusal.is_(None)
    nth = func.row_number().over(
        partition_by=[columns.person_id, columns.occasion, may_go], order_by=columns.customer_id
    )
    twins = select(given, nth.label("nth")).where(columns.again == 1).subquery("twin")
    refusal = case(
        (twins.c.refusal.is_not(None), twins.c.refusal),
        (twins.c.nth > 1, literal(Reason.DUPLICATE_PERSON, SqlText)),
        else_=null(),
    )
    judged = select(
        *(c for c in twins.c if c.name not in ("refusal", "nth", "again")), refusal.label("refusal")
    ).subquery("judged")
    place = func.row_number().over(
        partition_by=[judged.c.person_id, judged.c.refusal.is_(None)],
        order_by=[judged.c.due_at, judged.c.occasion, judged.c.customer_id],
    )
    ranked = select(judged, place.label("place"))
    # Columns beside a window function: databases evaluate them once, however often they are asked for.
    ranked = ranked.add_columns(
        *(
            case((judged.c.refusal.is_(None), look(judged.c.person_id))).label(name)
            for name, look in looked_up.items()
        )
    )
    return ranked.cte("ranked")


def opening_by_zone(
    window: Hours | None, moment: Moment, zone_column: ColumnElement[Any]
) -> ColumnElement[Any]:
    """Return an expression: the first instant at or after `as_of` at which the window is open for the customer.

    One branch for each distinct opening, not for each zone: a day has few of them. Customers without a
    zone, or with one that does not exist, take the project's.
    """
    as_of = literal(moment.as_of, UtcDateTime)
    if window is None:
        return as_of
    zones_by_opening: dict[datetime, list[str]] = {}
    for name in moment.zones:
        zones_by_opening.setdefault(
            next_open(window, zone_or(name, moment.time_zone).key, moment.as_of), []
        ).append(name)
    default = next_open(window, moment.time_zone, moment.as_of)
    branches: Mapping[datetime, list[str]] = {o: z for o, z in zones_by_opening.items() if o != default}
    otherwise = literal(default, UtcDateTime)
    if not branches:
        return otherwise
    return case(
        *((zone_column.in_(names), literal(at, UtcDateTime)) for at, names in branches.items()),
        else_=otherwise,
    )


def _when_capped(campaign: LoadedCampaign) -> State:
    return State.SKIPPED if campaign.settings.send.when_capped == "drop" else State.DEFERRED


def _deferred_until(
    campaign: LoadedCampaign, capped: ColumnElement[bool], expires_at: ColumnElement[Any], moment: Moment
) -> ColumnElement[Any]:
    """The occasion's own end; for a deferred mail the campaign's patience where that ends sooner."""
    choice = campaign.settings.send.when_capped
    if choice == "drop":
        return expires_at
    patience = literal(moment.as_of + choice.defer, UtcDateTime)
    ends_sooner = or_(expires_at.is_(None), expires_at > patience)
    bounded: Case[Any] = case((capped & ends_sooner, patience), else_=expires_at)
    return bounded
