"""Column types that mean the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON document: JSONB on PostgreSQL, text on SQLite."""

Identity = BigInteger().with_variant(Integer, "sqlite")
"""The type of a generated key: SQLite only generates keys for INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """An instant in UTC with microseconds: timestamptz on PostgreSQL, whole microseconds on SQLite.

    Binding a naive datetime raises ValueError; results are aware.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column's type for the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Turn an aware datetime into what the database stores."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: an instant needs a time zone")
        return to_microseconds(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Turn what the database stores into an aware datetime in UTC."""
        if value is None:
            return None
        return from_microseconds(value) if dialect.name == "sqlite" else value.astimezone(UTC)

    @property
    def python_type(self) -> type[datetime]:
        """Say which Python type comes out."""
        return datetime


def to_microseconds(value: datetime) -> int:
    """Return the whole microseconds since 1970-01-01 UTC: SQLite's form of an instant."""
    return (value - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Return the instant that is `value` microseconds after 1970-01-01 UTC."""
    return _EPOCH + timedelta(microseconds=value)


class Money(TypeDecorator[Decimal]):
    """An amount with four decimals, exact on both databases: an integer of ten-thousandths.

    Sums and comparisons stay exact; SQLite's own numbers would be floats.
    """

    impl = BigInteger
    cache_ok = True
    scale = Decimal(10_000)

    def process_bind_param(self, value: Decimal | int | float | str | None, dialect: Dialect) -> int | None:
        """Turn an amount into ten-thousandths, rounded half to even."""
        return None if value is None else round(Decimal(str(value)) * self.scale)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Turn ten-thousandths into an amount."""
        return None if value is None else Decimal(value) / self.scale

    def process_literal_param(self, value: Decimal | int | float | str | None, dialect: Dialect) -> str:
        """Write an amount into SQL text."""
        return "NULL" if value is None else str(self.process_bind_param(value, dialect))
