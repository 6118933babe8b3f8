"""What limits hold back, for people to see and to lift."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, select, update

from drumbeat.clock import zone
from drumbeat.errors import UsageError
from drumbeat.issues import nearest
from drumbeat.project.load import Project
from drumbeat.store.audit import actor, note
from drumbeat.store.dialect.locks import lock
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import throttles


class Held(NamedTuple):
    """A domain, server or sender that is held back.

    `failures`: temporary refusals in a row. `why`: the other side's words. Of a sender that warms up: its `day`,
    the day's `allowance` and how many of it are `used`.
    """

    key: str
    until: datetime | None
    failures: int
    why: str | None
    day: int | None = None
    allowance: int | None = None
    used: int | None = None


def held(engine: Engine, project: Project, *, at: datetime) -> list[Held]:
    """Return what is blocked at `at`, the longest first, then the senders that warm up."""
    with reading(engine) as connection:
        rows = connection.execute(select(throttles).order_by(throttles.c.key)).all()
    blocked = [
        Held(row.key, row.blocked_until, row.failures, row.answer)
        for row in rows
        if row.blocked_until is not None and row.blocked_until > at
    ]
    today = at.astimezone(zone(project.config.time_zone)).date()
    warm = []
    for row in rows:
        sender = project.config.senders.get(row.key.removeprefix("warm_up:"))
        if not row.key.startswith("warm_up:") or sender is None or sender.warm_up is None:
            continue
        allowance = sender.warm_up.allowance(row.days - 1)
        if allowance is not None:
            used = row.used if row.day == today else 0
            warm.append(Held(row.key, None, 0, None, row.days, allowance, used))
    return [*sorted(blocked, key=lambda one: one.until or at, reverse=True), *warm]


def clear(engine: Engine, key: str, *, at: datetime) -> None:
    """Lift a block, and note who did. Raises UsageError where nothing of that name is blocked."""
    with writing(engine) as connection:
        lock(connection, "throttles")
        blocked = (
            connection.execute(select(throttles.c.key).where(throttles.c.blocked_until > at)).scalars().all()
        )
        if key not in blocked:
            raise UsageError(f"'{key}' is not blocked. {nearest(key, blocked)}")
        connection.execute(
            update(throttles)
            .where(throttles.c.key == key)
            .values(blocked_until=None, failures=0, answer=None)
        )
        note(connection, at, actor(), "limits clear", key)
