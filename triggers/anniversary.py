"""anniversary: a day of the customer's own comes round again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from drumbeat.clock import start_of_day, zone_or
from drumbeat.issues import nearest
from drumbeat.triggers import (
    Duration,
    Finding,
    Moment,
    Subject,
    Trigger,
    sa,
    sql_json,
    sql_rows,
    sql_time,
    tables,
    types,
)

from ._calendar import DAY, YEARS_OF_DATES, YEARS_OF_INSTANTS, in_year, number, originals_of, spells

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from sqlalchemy import CTE, ColumnElement, Connection, FromClause, Select

# No zone has ever been farther from UTC (Manila's local mean time before 1845 was at -15:56).
FARTHEST = timedelta(hours=16)
FIELDS = ("birth_date", "first_order", "last_order", "created_at")


class OfAttribute(BaseModel):
    """A date of the customer's own, written as 2012-02-29 in `customers.attributes`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    attribute: str = Field(min_length=1)


class OfEvent(BaseModel):
    """The days on which such an event happened."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    event: str = Field(min_length=1)


def _known(value: Any) -> Any:
    """Say in one line what may stand here; a union's own faults name every member that did not fit."""
    if isinstance(value, str):
        if value not in FIELDS:
            raise ValueError(f"unknown date '{value}'. {nearest(value, FIELDS)}")
        return value
    if isinstance(value, OfAttribute | OfEvent):
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        ((key, name),) = value.items()
        if key in ("attribute", "event") and isinstance(name, str) and name:
            return OfAttribute(attribute=name) if key == "attribute" else OfEvent(event=name)
    raise ValueError(
        f"cannot read {value!r}; expected one of {', '.join(FIELDS)}, {{attribute: name}} or {{event: name}}"
    )


Of = Annotated[
    Literal["birth_date", "first_order", "last_order", "created_at"] | OfAttribute | OfEvent,
    BeforeValidator(_known),
]


class Anniversary(Trigger):
    """The day of the year on which something happened: a birthday, the first order, a sign-up.

        trigger:
          anniversary: {of: first_order}                              # on the day, each year
          anniversary: {of: birth_date, before: 7d}                   # a week ahead
          anniversary: {of: {attribute: wedding_day}, after: 3d}      # three days later
          anniversary: {of: {event: trial_started}, catch_up: 2d}     # may go out up to two days late

    `of` is birth_date, first_order, last_order (orders that stand), created_at, an attribute that holds a
    date such as 2012-02-29 (anything else in it never matches), or an event's name. `before` / `after` move
    the mail by whole days. It is due for one local day, `catch_up` whole days longer if given.

    Days are those of the customer's own zone, the project's where it is missing or unknown: at one instant
    it can be the birthday in Auckland and not yet in Honolulu. 29 February is kept on 28 February in common
    years. The day itself is no anniversary, the first comes a year later.

    Occasion: `anniversary:<year>`, the year in which it falls; of an event `anniversary:<date>`, for there
    can be several a year (events on the same day of the year are one). Subject: the remembered day as a
    number, such as 20120229. In the template: `of` (birth_date, first_order, ..., or the attribute's or
    event's name), `years` (how many), `date` (the remembered day), `anniversary` (the day this year).
    """

    kind: ClassVar[str] = "anniversary"
    gives: ClassVar[tuple[str, ...] | None] = ("of", "years", "date", "anniversary")

    of: Of = Field(description="Which day: a field, {attribute: name} or {event: name}")
    before: Duration = Field(timedelta(), description="Whole days ahead of the anniversary")
    after: Duration = Field(timedelta(), description="Whole days after the anniversary")
    catch_up: Duration = Field(timedelta(), description="Whole days that a run may be late")

    @field_validator("before", "after", "catch_up")
    @classmethod
    def _whole_days(cls, value: timedelta) -> timedelta:
        if value % DAY or value > 180 * DAY:
            raise ValueError("expected whole days, at most 180d")
        return value

    @model_validator(mode="after")
    def _one_direction(self) -> Anniversary:
        if self.before and self.after:
            raise ValueError("before and after exclude each other; keep one")
        return self

    def select(self, moment: Moment) -> Select[Any]:
        """Return the customers whose anniversary's mail belongs to their present local day."""
        days = list(self._days(moment))
        if self.of == "birth_date" or isinstance(self.of, OfAttribute):
            return self._of_dates(days, moment)
        return self._of_instants(days, moment)

    def context(
        self, connection: Connection, subjects: Sequence[Subject], moment: Moment | None = None
    ) -> dict[Subject, dict[str, Any]]:
        """Return what is remembered; occasion and subject say it all, so nothing is asked of the store."""
        del connection, moment
        return {subject: self._described(subject) for subject in subjects}

    def findings(self, connection: Connection, customer_id: int, moment: Moment) -> list[Finding]:
        """Return the remembered days of the customer, and what day it is there."""
        customers = tables.customers
        name = connection.execute(
            sa.select(customers.c.time_zone).where(customers.c.id == customer_id)
        ).scalar_one()
        where = zone_or(name, moment.time_zone)
        remembered = sorted(self._remembered(connection, customer_id, where))
        if not remembered:
            return [Finding(f"a day to remember: {self._of_name}", met=False)]
        today = moment.as_of.astimezone(where).date() + self.before - self.after
        shown = ", ".join(day.isoformat() for day in remembered[:3])
        return [
            Finding(f"a day to remember: {self._of_name} ({shown})", met=True),
            Finding(
                f"its mail belongs to the present local day (that is for {today} in {where.key})", met=False
            ),
        ]

    def _remembered(self, connection: Connection, customer_id: int, where: ZoneInfo) -> Iterator[date]:
        """Yield the local days that the customer's row, stats or events hold."""
        if self.of == "birth_date" or isinstance(self.of, OfAttribute):
            source, value = self._dated_one()
            found = connection.execute(sa.select(value).where(source.c.id == customer_id)).scalar()
            if (day := _as_date(found)) is not None:
                yield day
            return
        source, owner, at = self._source()
        statement = sa.select(at).where(owner == customer_id, at.is_not(None)).limit(20)
        if isinstance(self.of, OfEvent):
            statement = statement.where(source.c.name == self.of.event)
        for instant in connection.execute(statement).scalars():
            yield instant.astimezone(where).date()

    def _dated_one(self) -> tuple[FromClause, ColumnElement[Any]]:
        customers = tables.customers
        if isinstance(self.of, OfAttribute):
            return customers, sql_json.json_value(customers.c.attributes, self.of.attribute, "text")
        return customers, customers.c.birth_date

    @property
    def _of_name(self) -> str:
        return self.of if isinstance(self.of, str) else next(iter(self.of.model_dump().values()))

    def _described(self, subject: Subject) -> dict[str, Any]:
        original = datetime.strptime(f"{subject.subject_id:08d}", "%Y%m%d").date()  # noqa: DTZ007 - a date
        year = int(subject.occasion.partition(":")[2][:4])
        return {
            "of": self._of_name,
            "years": year - original.year,
            "date": original,
            "anniversary": in_year(original, year),
        }

    def _days(self, moment: Moment) -> Iterator[_LocalDay]:
        """Yield the anniversaries that each zone's present day, and the days to catch up, send mail for."""
        for name in sorted({*moment.zones, moment.time_zone}):
            where = zone_or(name, moment.time_zone).key
            today = moment.as_of.astimezone(zone_or(where, where)).date()
            for late in range(self.catch_up // DAY + 1):
                mail_day = today - late * DAY
                yield _LocalDay(
                    name,
                    where,
                    mail_day + self.before - self.after,
                    start_of_day(mail_day, where),
                    start_of_day(mail_day + self.catch_up + DAY, where),
                )

    def _occasion(self, anniversary: date) -> str:
        return f"anniversary:{anniversary.isoformat() if isinstance(self.of, OfEvent) else anniversary.year}"

    def _of_dates(self, days: list[_LocalDay], moment: Moment) -> Select[Any]:
        """Dates have no zone: remembered days are compared as they stand."""
        as_text = isinstance(self.of, OfAttribute)
        originals = sql_rows.rows(
            "originals",
            {
                "day": sa.Integer(),
                "original": sa.Text() if as_text else sa.Date(),
                "occasion": sa.Text(),
                "subject_id": sa.BigInteger(),
            },
            [
                (day.toordinal(), o.isoformat() if as_text else o, self._occasion(day), number(o))
                for day in sorted({d.anniversary for d in days})
                for o in originals_of(day, YEARS_OF_DATES)
            ],
        )
        local = sql_rows.rows("local_days", _LOCAL_DAYS(), [day.row() for day in days])
        customers, stored = self._dated(originals)
        source = originals.join(customers, stored == originals.c.original).join(
            local, sa.and_(_in_zone(local, customers, moment), local.c.day == originals.c.day)
        )
        return _columns(customers.c.id, originals, local).select_from(source)

    def _dated(self, originals: CTE) -> tuple[FromClause, ColumnElement[Any]]:
        """Return the customers and their dates."""
        customers = tables.customers
        if not isinstance(self.of, OfAttribute):
            return customers, customers.c.birth_date
        # No index knows attributes: read them once. SQLite joined the other way round, 120 times (32 s
        # for 200,000 customers instead of 0.3 s).
        value = sql_json.json_value(customers.c.attributes, self.of.attribute, "text")
        dated = (
            sa.select(customers.c.id, customers.c.time_zone, value.label("original"))
            .where(value.in_(sa.select(originals.c.original)))
            .cte("dated")
            .prefix_with("MATERIALIZED")
        )
        return dated, dated.c.original

    def _of_instants(self, days: list[_LocalDay], moment: Moment) -> Select[Any]:
        """Instants belong to a local day of their own zone and year: see spells."""
        customers = tables.customers
        source, customer_id, at = self._source()
        originals = sql_rows.rows("originals", _ORIGINALS(), list(self._original_rows(days)))
        local = sql_rows.rows(
            "local_days",
            {
                **_LOCAL_DAYS(),
                "first": sa.Integer(),
                "last": sa.Integer(),
                "opens": sa.BigInteger(),
                "closes": sa.BigInteger(),
            },
            [(*day.row(), *spell) for day in days for spell in spells(day.zone, day.anniversary)],
        )
        # The rough bounds let the index on the instant find the few rows; the exact ones depend on the zone.
        joined = originals.join(source, sa.and_(at >= originals.c.low, at < originals.c.high))
        if source is not customers:
            joined = joined.join(customers, customers.c.id == customer_id)
        joined = joined.join(
            local,
            sa.and_(
                _in_zone(local, customers, moment),
                local.c.day == originals.c.day,
                originals.c.original.between(local.c.first, local.c.last),
                at >= sql_time.shifted(originals.c.midnight, local.c.opens),
                at < sql_time.shifted(originals.c.midnight, local.c.closes),
            ),
        )
        found = _columns(customer_id, originals, local).select_from(joined)
        if not isinstance(self.of, OfEvent):
            return found
        events = tables.events
        place = sa.func.row_number().over(
            partition_by=(events.c.customer_id, originals.c.occasion), order_by=(events.c.at, events.c.id)
        )
        ranked = found.where(events.c.name == self.of.event).add_columns(place.label("place")).subquery()
        columns = [
            ranked.c[name] for name in ("customer_id", "occasion", "subject_id", "due_at", "expires_at")
        ]
        return sa.select(*columns).where(ranked.c.place == 1)

    def _source(self) -> tuple[FromClause, ColumnElement[int], ColumnElement[datetime]]:
        """Return the table that holds the instants, its customer and the instant."""
        if isinstance(self.of, OfEvent):
            return tables.events, tables.events.c.customer_id, tables.events.c.at
        if self.of == "created_at":
            return tables.customers, tables.customers.c.id, tables.customers.c.created_at
        stats = tables.customer_stats
        return stats, stats.c.customer_id, stats.c[f"{self.of}_at"]

    def _original_rows(self, days: list[_LocalDay]) -> Iterator[tuple[Any, ...]]:
        for day in sorted({d.anniversary for d in days}):
            for original in originals_of(day, YEARS_OF_INSTANTS):
                midnight = datetime.combine(original, time(), tzinfo=UTC)
                yield (
                    day.toordinal(),
                    original.toordinal(),
                    midnight,
                    midnight - FARTHEST,
                    midnight + DAY + FARTHEST,
                    self._occasion(day),
                    number(original),
                )


class _LocalDay(NamedTuple):
    """An anniversary whose mail is due in a zone: `name` as customers have it, `zone` what it stands for."""

    name: str
    zone: str
    anniversary: date
    due_at: datetime
    expires_at: datetime

    def row(self) -> tuple[str, int, datetime, datetime]:
        return self.name, self.anniversary.toordinal(), self.due_at, self.expires_at


def _LOCAL_DAYS() -> dict[str, Any]:  # noqa: N802 - a constant that must not import SQLAlchemy yet
    instant = types.UtcDateTime()
    return {"zone": sa.Text(), "day": sa.Integer(), "due_at": instant, "expires_at": instant}


def _ORIGINALS() -> dict[str, Any]:  # noqa: N802 - a constant that must not import SQLAlchemy yet
    instant = types.UtcDateTime()
    return {
        "day": sa.Integer(),
        "original": sa.Integer(),
        "midnight": instant,
        "low": instant,
        "high": instant,
        "occasion": sa.Text(),
        "subject_id": sa.BigInteger(),
    }


def _columns(customer_id: ColumnElement[int], originals: CTE, local: CTE) -> Select[Any]:
    return sa.select(
        customer_id.label("customer_id"),
        originals.c.occasion,
        originals.c.subject_id,
        local.c.due_at,
        local.c.expires_at,
    )


def _in_zone(local: CTE, customers: FromClause, moment: Moment) -> ColumnElement[bool]:
    return local.c.zone == sa.func.coalesce(customers.c.time_zone, moment.time_zone)


def _as_date(value: date | str | None) -> date | None:
    """Return the date that is stored; None for a text in any other form than the one that is searched for."""
    if not isinstance(value, str):
        return value
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return None
    return day if day.isoformat() == value else None
