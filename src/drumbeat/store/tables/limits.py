"""How fast we may hand over: limits that hold over all workers, so they live here and not in a process."""

from __future__ import annotations

from sqlalchemy import Column, Date, Integer, Table, Text, text

from drumbeat.store.tables.base import metadata
from drumbeat.store.types import UtcDateTime

# One row a server (`server:host:port`), recipient domain (`domain:gmail.com`) or sender that warms up.
throttles = Table(
    "throttles",
    metadata,
    Column("key", Text, primary_key=True),
    # The next hand-over may begin then (GCRA: the theoretical arrival time).
    Column("next_at", UtcDateTime),
    # Until then what was put off is spread out already.
    Column("queued_until", UtcDateTime),
    # Nothing before then: the other side asked us to wait.
    Column("blocked_until", UtcDateTime),
    # Temporary refusals in a row.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("answer", Text),
    # Of a sender that warms up: how many days with mail there were, the last of them, and how many went out on it.
    Column("days", Integer, nullable=False, server_default=text("0")),
    Column("day", Date),
    Column("used", Integer, nullable=False, server_default=text("0")),
)

# How many connections or hand-overs at once a worker holds; a dead worker's run out.
slots = Table(
    "slots",
    metadata,
    Column("key", Text, primary_key=True),
    Column("worker", Text, primary_key=True),
    Column("taken", Integer, nullable=False),
    Column("until", UtcDateTime, nullable=False),
)
