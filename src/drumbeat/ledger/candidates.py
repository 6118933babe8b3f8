"""Who is a candidate: the one SELECT that planning, the check before delivery and explanation share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, cast, or_, select
from sqlalchemy.types import NullType, TypeEngine

from drumbeat.ledger.reach import unreachable
from drumbeat.project.load import LoadedCampaign, Project
from drumbeat.segments.compile import compile_segment
from drumbeat.store.erased import is_erased
from drumbeat.store.tables import customers
from drumbeat.store.types import UtcDateTime
from drumbeat.triggers import Moment

STEP = "mail"
"""The only step of a campaign that is not a journey."""


def moment_of(connection: Connection, project: Project, as_of: datetime) -> Moment:
    """Return the moment to evaluate triggers at: `as_of` and every zone that customers live in."""
    zones = connection.execute(
        select(customers.c.time_zone)
        .where(customers.c.time_zone.is_not(None))
        .distinct()
        .order_by(customers.c.time_zone)
    ).scalars()
    return Moment(as_of=as_of, time_zone=project.config.time_zone, zones=tuple(zones))


def candidates(project: Project, campaign: LoadedCampaign, moment: Moment) -> Select[Any]:
    """Return the SELECT of the campaign's candidates: the trigger's occasions of customers in the segment.

    Columns: customer_id, person_id, time_zone, occasion, subject_id, due_at, expires_at, refusal (why the
    customer may not be mailed, or NULL). Occasions that have expired at `moment.as_of` are not in it, nor are
    customers whose data was erased: only numbers are left of them.
    """
    occasion = campaign.trigger.select(moment).subquery("occasion")
    expires_at = _typed(occasion.c.expires_at, UtcDateTime())
    topic = campaign.settings.topic
    return (
        select(
            occasion.c.customer_id,
            customers.c.person_id,
            customers.c.time_zone,
            occasion.c.occasion,
            _typed(occasion.c.subject_id, BigInteger()).label("subject_id"),
            occasion.c.due_at,
            expires_at.label("expires_at"),
            unreachable(
                marketing=campaign.settings.is_marketing,
                topic=topic,
                channel=campaign.settings.message.channel,
                at=moment.as_of,
            ).label("refusal"),
        )
        .join(customers, customers.c.id == occasion.c.customer_id)
        .where(
            ~is_erased(),
            compile_segment(project.segments, campaign.settings.segment, moment.as_of),
            or_(expires_at.is_(None), expires_at > moment.as_of),
        )
    )


def _typed(column: ColumnElement[Any], type_: TypeEngine[Any]) -> ColumnElement[Any]:
    """Give a bare NULL of a trigger its type: PostgreSQL takes it for text otherwise."""
    return cast(column, type_) if isinstance(column.type, NullType) else column
