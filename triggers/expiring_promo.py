"""expiring_promo: a coupon that was never used is about to expire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from drumbeat.clock import format_duration, zone_or
from drumbeat.triggers import Duration, Finding, Moment, Subject, Trigger, sa, sql_time, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select


class ExpiringPromo(Trigger):
    """A coupon that expires soon and was not redeemed.

        trigger:
          expiring_promo: {within: 3d}

    Due from `within` before the coupon expires (for a coupon that starts later than that, from its start)
    until it expires. Left out are coupons that were redeemed or have not started. A customer with two such
    coupons has two occasions.

    Occasion: `coupon:<coupon>`, once in its life. Subject: the coupon. In the template: `coupon` (id, title,
    value, currency, starts_at, expires_at in the customer's own zone), `last_day` (the last local date on
    which it is good; a coupon that expires at midnight is good until the day before) and `days_left` (local
    days from the moment of sending to `last_day`: 0 is today).
    """

    kind: ClassVar[str] = "expiring_promo"
    gives: ClassVar[tuple[str, ...] | None] = ("coupon", "last_day", "days_left")

    within: Duration = Field(timedelta(days=3), description="How long before it expires the mail is due")

    @field_validator("within")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("must be longer than 0s, or no coupon is ever due")
        return value

    def select(self, moment: Moment) -> Select[Any]:
        """Return the open coupons that expire within the span after `as_of`."""
        coupons = tables.coupons
        nearing = sql_time.shifted(coupons.c.expires_at, -self.within)
        return sa.select(
            coupons.c.customer_id,
            (sa.literal("coupon:") + coupons.c.external_id).label("occasion"),
            coupons.c.id.label("subject_id"),
            sa.case((coupons.c.starts_at > nearing, coupons.c.starts_at), else_=nearing).label("due_at"),
            coupons.c.expires_at,
        ).where(
            # Alone and as written here it matches the partial index of open coupons.
            coupons.c.redeemed_at.is_(None),
            coupons.c.expires_at > moment.as_of,
            coupons.c.expires_at <= moment.as_of + self.within,
            sa.or_(coupons.c.starts_at.is_(None), coupons.c.starts_at <= moment.as_of),
        )

    def context(
        self, connection: Connection, subjects: Sequence[Subject], moment: Moment | None = None
    ) -> dict[Subject, dict[str, Any]]:
        """Return each subject's coupon and how many local days it is good for."""
        coupons, customers = tables.coupons, tables.customers
        found = connection.execute(
            sa.select(
                coupons.c.id.label("key"),
                coupons.c.external_id.label("id"),
                coupons.c.title,
                coupons.c.value,
                coupons.c.currency,
                coupons.c.starts_at,
                coupons.c.expires_at,
                customers.c.time_zone,
            )
            .join(customers, customers.c.id == coupons.c.customer_id)
            .where(coupons.c.id.in_({subject.subject_id for subject in subjects}))
        )
        by_id = {row.key: _described(row._mapping, moment) for row in found}
        return {subject: by_id.get(subject.subject_id, {}) for subject in subjects}

    def findings(self, connection: Connection, customer_id: int, moment: Moment) -> list[Finding]:
        """Return what each clause found in the coupon that is nearest to be due."""
        coupons = tables.coupons
        open_first = (
            coupons.c.redeemed_at.is_not(None),
            coupons.c.expires_at <= moment.as_of,
            coupons.c.expires_at,
        )
        coupon = connection.execute(
            sa.select(coupons).where(coupons.c.customer_id == customer_id).order_by(*open_first).limit(1)
        ).first()
        if coupon is None:
            return [Finding("a coupon", met=False)]
        name, until = f"coupon {coupon.external_id}", f"expires {coupon.expires_at:%Y-%m-%d %H:%M} UTC"
        started = coupon.starts_at is None or coupon.starts_at <= moment.as_of
        nearing = moment.as_of < coupon.expires_at <= moment.as_of + self.within
        return [
            Finding(f"{name} is not redeemed", met=coupon.redeemed_at is None),
            Finding(f"{name} has started", met=started),
            Finding(f"{name} expires within {format_duration(self.within)} ({until})", met=nearing),
        ]


def _described(row: Any, moment: Moment | None) -> dict[str, Any]:
    where = zone_or(row["time_zone"], moment.time_zone if moment else "UTC")
    expires_at: datetime = row["expires_at"].astimezone(where)
    # The coupon is no longer good AT that instant: its last day is the one of the instant before.
    last_day = (row["expires_at"] - timedelta(microseconds=1)).astimezone(where).date()
    return {
        "coupon": {
            **{key: row[key] for key in ("id", "title", "value", "currency")},
            "starts_at": row["starts_at"].astimezone(where) if row["starts_at"] else None,
            "expires_at": expires_at,
        },
        "last_day": last_day,
        "days_left": (last_day - moment.as_of.astimezone(where).date()).days if moment else None,
    }
