"""schedule: at fixed times, such as a newsletter on Mondays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from drumbeat.clock import format_duration, zone
from drumbeat.errors import UsageError
from drumbeat.triggers import Duration, Finding, Moment, Trigger, sa, tables, types

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

# Past `as_of` far enough that no change of clocks (two hours at most) hides a tick from the walk back.
_AHEAD = timedelta(hours=4)


class Schedule(Trigger):
    """Everyone in the segment, at the times of a cron line.

        trigger:
          schedule: {cron: "0 8 * * 1", time_zone: Europe/London, catch_up: 24h}

    `cron` has the five fields of crontab(5): minute, hour, day of month, month, day of week. `time_zone` is
    the project's unless given; it is one zone for all readers (the send window is each reader's own).
    Due is the latest time at or before now; one that is `catch_up` old or older is let go, so a run after a
    long standstill sends one newsletter and not five.

    The nights when clocks change are handled as Debian's cron does (by the cronsim library): a time that the
    spring change leaves out comes once, at the first instant after the gap; a time that the autumn change
    brings twice comes once, the first time. Lines whose minute or hour begins with `*` follow real time.

    Occasion: `schedule:<local time with offset>`, such as `schedule:2011-12-05T08:00+00:00`.
    Subject: none. In the template: nothing but what every mail has.
    """

    kind: ClassVar[str] = "schedule"
    gives: ClassVar[tuple[str, ...] | None] = ()

    cron: str = Field(description="Five fields: minute hour day month weekday", examples=["0 8 * * 1"])
    time_zone: str | None = Field(None, description="IANA name; the project's unless given")
    catch_up: Duration = Field(timedelta(hours=24), description="How late a run may still send")

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        fields = len(value.split())
        if fields != 5:
            raise ValueError(f"'{value}' has {fields} fields; expected five: minute hour day month weekday")
        try:
            CronSim(value, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(
                f"cannot read '{value}': {str(error).lower()}; expected such as '0 8 * * 1'"
            ) from None
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            return value if value is None else zone(value).key
        except UsageError as error:
            raise ValueError(str(error)) from None

    @field_validator("catch_up")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("must be longer than 0s, or only a run at the very instant sends")
        return value

    def select(self, moment: Moment) -> Select[Any]:
        """Return every customer where a tick is due, nobody where none is."""
        tick = self.latest_tick(moment)
        # In UTC: a zone's own arithmetic moves the clock face, which loses the hour of a change.
        expires_at = tick.astimezone(UTC) + self.catch_up if tick else None
        occasion = f"schedule:{tick.isoformat(timespec='minutes')}" if tick else ""
        return sa.select(
            tables.customers.c.id.label("customer_id"),
            sa.literal(occasion, sa.Text).label("occasion"),
            sa.cast(sa.null(), sa.BigInteger).label("subject_id"),
            sa.literal(tick, types.UtcDateTime()).label("due_at"),
            sa.literal(expires_at, types.UtcDateTime()).label("expires_at"),
        ).where(sa.true() if tick else sa.false())

    def findings(self, connection: Connection, customer_id: int, moment: Moment) -> list[Finding]:
        """Return the clause that keeps everyone away: no tick is due, and when the next one is."""
        del connection, customer_id
        next_tick = next(
            CronSim(self.cron, moment.as_of.astimezone(zone(self.time_zone or moment.time_zone)))
        )
        due = f"a time of '{self.cron}' in the last {format_duration(self.catch_up)}"
        return [Finding(f"{due} (the next one is {next_tick:%Y-%m-%d %H:%M %Z})", met=False)]

    def latest_tick(self, moment: Moment) -> datetime | None:
        """Return the latest tick in (as_of - catch_up, as_of], in the schedule's zone, or None."""
        where = zone(self.time_zone or moment.time_zone)
        # Asked for backwards from `as_of` itself, cronsim drops the fold of a repeated hour and so misses
        # a tick of its first pass: begin later and pass by what is still to come.
        walk = CronSim(self.cron, (moment.as_of + _AHEAD).astimezone(where), reverse=True)
        for tick in walk:
            # Compared in UTC: Python compares two times of one zone by their clock faces.
            instant = tick.astimezone(UTC)
            if instant <= moment.as_of - self.catch_up:
                return None
            if instant <= moment.as_of:
                return tick
        return None
