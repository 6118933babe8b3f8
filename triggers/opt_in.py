"""opt_in: someone asked for mail, and the mailbox's reader has to confirm it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from drumbeat.clock import format_duration, zone_or
from drumbeat.triggers import Duration, Finding, Moment, Subject, ToConfirm, Trigger, sa, sql_time, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select


class OptIn(Trigger):
    """A sign-up that waits for its confirmation (double opt-in).

        trigger:
          opt_in: {within: 1d}

    Due at once, until `within` after asking: a confirmation that comes days later is of no use to anyone. Left out
    are sign-ups that are confirmed or whose confirmation has expired. For a campaign of the kind `service`:
    whoever asks has not consented to anything yet.

    Occasion: `opt_in:<number>`, so each asking is confirmed by one mail at most. Subject: the sign-up. In the
    template: `opt_in` (id, asked_at and expires_at in the customer's own zone), `topics` (what was asked for, in the
    words that the form showed) and `confirm_url`, the address of the page with the button.
    """

    kind: ClassVar[str] = "opt_in"
    gives: ClassVar[tuple[str, ...] | None] = ("opt_in", "topics", "confirm_url")

    within: Duration = Field(timedelta(days=1), description="How long after asking the mail may still go out")

    @field_validator("within")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("must be longer than 0s, or no sign-up is ever due")
        return value

    def select(self, moment: Moment) -> Select[Any]:
        """Return the sign-ups that wait for their confirmation."""
        opt_ins = tables.opt_ins
        late = sql_time.shifted(opt_ins.c.asked_at, self.within)
        return sa.select(
            opt_ins.c.customer_id,
            (sa.literal("opt_in:") + sa.cast(opt_ins.c.id, sa.Text)).label("occasion"),
            opt_ins.c.id.label("subject_id"),
            opt_ins.c.asked_at.label("due_at"),
            sa.case((late < opt_ins.c.expires_at, late), else_=opt_ins.c.expires_at).label("expires_at"),
        ).where(
            opt_ins.c.confirmed_at.is_(None),
            opt_ins.c.asked_at <= moment.as_of,
            opt_ins.c.asked_at > moment.as_of - self.within,
            opt_ins.c.expires_at > moment.as_of,
        )

    def context(
        self, connection: Connection, subjects: Sequence[Subject], moment: Moment | None = None
    ) -> dict[Subject, dict[str, Any]]:
        """Return what was asked for, in the words of then."""
        opt_ins, customers = tables.opt_ins, tables.customers
        found = connection.execute(
            sa.select(opt_ins, customers.c.time_zone)
            .join(customers, customers.c.id == opt_ins.c.customer_id)
            .where(opt_ins.c.id.in_({subject.subject_id for subject in subjects}))
        )
        by_id = {row.id: _described(row, moment) for row in found}
        return {subject: by_id.get(subject.subject_id, {}) for subject in subjects}

    def findings(self, connection: Connection, customer_id: int, moment: Moment) -> list[Finding]:
        """Return what each clause found in the customer's newest sign-up."""
        opt_ins = tables.opt_ins
        asked = connection.execute(
            sa.select(opt_ins)
            .where(opt_ins.c.customer_id == customer_id, opt_ins.c.asked_at <= moment.as_of)
            .order_by(opt_ins.c.asked_at.desc(), opt_ins.c.id.desc())
            .limit(1)
        ).first()
        if asked is None:
            return [Finding("a sign-up", met=False)]
        name = f"sign-up {asked.id} of {asked.asked_at:%Y-%m-%d %H:%M} UTC"
        return [
            Finding(f"{name} is not confirmed", met=asked.confirmed_at is None),
            Finding(
                f"{name} is younger than {format_duration(self.within)}",
                met=asked.asked_at > moment.as_of - self.within,
            ),
            Finding(
                f"{name} can still be confirmed (until {asked.expires_at:%Y-%m-%d %H:%M} UTC)",
                met=asked.expires_at > moment.as_of,
            ),
        ]


def _described(row: Any, moment: Moment | None) -> dict[str, Any]:
    where = zone_or(row.time_zone, moment.time_zone if moment else "UTC")
    words = (row.proof or {}).get("asked", {}).get("topics", {})
    return {
        "opt_in": {
            "id": row.id,
            "asked_at": row.asked_at.astimezone(where),
            "expires_at": row.expires_at.astimezone(where),
        },
        "topics": [words.get(name) or name for name in row.topics],
        "confirm_url": ToConfirm(row.id),
    }
