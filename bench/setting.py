"""What all parts of the bench agree on: the instant, the places and how SQL is said to either database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

AS_OF = datetime(2026, 6, 15, 10, 0, tzinfo=UTC)
"""The plan's instant, a Monday: open hours in Europe and Japan, night in New York, closing time in Sydney."""

ZONES = {
    "GB": "Europe/London",
    "DE": "Europe/Berlin",
    "RU": "Europe/Moscow",
    "FR": "Europe/Paris",
    "US": "America/New_York",
    "JP": "Asia/Tokyo",
    "AU": "Australia/Sydney",
}
HOME_ZONE = "Europe/London"
CAMPAIGNS = ("abandoned_cart", "expiring_promo", "anniversary")
FIRST_RUN = 1
"""The run that the generated history belongs to; later runs are the bench's own and are undone."""

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Words:
    """How one database says the few things that differ."""

    postgresql: bool

    def at(self, moment: datetime) -> str:
        """Return an instant as a literal."""
        if self.postgresql:
            return f"timestamptz '{moment.astimezone(UTC).isoformat()}'"
        return str((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))

    def moved(self, column: str, by: timedelta) -> str:
        """Return the instant of a column moved by a span."""
        if self.postgresql:
            return f"({column} + interval '{int(by.total_seconds())} seconds')"
        return f"({column} + {by // timedelta(microseconds=1)})"

    def after(self, seconds: str, start: datetime = AS_OF) -> str:
        """Return the instant so many seconds (an SQL expression) after `start`."""
        epoch = int(start.timestamp())
        if self.postgresql:
            return f"to_timestamp({epoch} + ({seconds}))"
        return f"(({epoch} + ({seconds})) * 1000000)"

    def day(self, days: str) -> str:
        """Return the date so many days (an SQL expression) after 1950-01-01."""
        if self.postgresql:
            return f"(date '1950-01-01' + ({days})::integer)"
        return f"date('1950-01-01', '+' || ({days}) || ' days')"

    def json(self, text: str) -> str:
        """Return an SQL expression of text as a JSON document."""
        return f"({text})::jsonb" if self.postgresql else f"({text})"

    def least(self, *values: str) -> str:
        """Return the smallest of the values."""
        return f"{'least' if self.postgresql else 'min'}({', '.join(values)})"


class Raw:
    """A driver's own connection, without SQLAlchemy: what bare SQL would be run through."""

    def __init__(self, url: str) -> None:
        self.postgresql = url.startswith("postgresql")
        self.words = Words(self.postgresql)
        if self.postgresql:
            import psycopg2

            parts = urlsplit(url)
            self.driver: Any = psycopg2.connect(
                host=parts.hostname,
                port=parts.port,
                user=parts.username,
                password=parts.password,
                dbname=parts.path[1:],
            )
            self.driver.autocommit = True
        else:
            import sqlite3

            self.driver = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            # The engine's own settings: drumbeat.store.engine.
            for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL"):
                self.driver.execute(f"PRAGMA {pragma}")
            self.driver.execute("PRAGMA cache_size=-65536")
            self.driver.execute("PRAGMA temp_store=FILE")

    def run(self, sql: str) -> list[Sequence[Any]]:
        """Execute one statement without parameters; return its rows, if it has any."""
        cursor = self.driver.cursor()
        cursor.execute(sql)
        rows = cursor.fetchall() if cursor.description else []
        cursor.close()
        return rows

    def begin(self) -> None:
        """Begin a transaction that writes."""
        self.run("BEGIN" if self.postgresql else "BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close the connection."""
        self.driver.close()
