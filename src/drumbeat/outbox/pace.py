"""Pace: how many messages make a chunk, and which connections may be used for it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Engine

from drumbeat.delivery import Backend
from drumbeat.outbox.limits import SLOT_WAIT, blocked, free_slots, take_rate, take_slots

FIRST = 8
MOST = 500
"""Messages in a chunk. The store's part of a mail's time is 0.30 ms at 250 and 0.21 ms at 500 (SQLite)."""

AIM_S = 0.5
"""A chunk should take no longer than this: what is checked at its beginning is to be true at its end."""


class Pace:
    """Grows chunks while they are quick and shrinks them where the server is slow."""

    def __init__(self) -> None:
        self.size = FIRST

    def took(self, count: int, seconds: float) -> None:
        """Learn how long a chunk of `count` messages took to be handed over."""
        if seconds > 2 * AIM_S:
            self.size = max(1, min(self.size, count) // 2)
        elif seconds < AIM_S and count >= self.size:
            self.size = min(MOST, self.size * 2)


@dataclass(frozen=True)
class ServerLimit:
    """What may be used of a server: connections of one worker, of all workers together, and a rate over all."""

    connections: int = 1
    most: int | None = None
    rate: str | None = None


class Lot(NamedTuple):
    """So many messages to hand over through these servers, with so many connections each."""

    messages: int
    connections: Mapping[str, int]


class Connections:
    """What a worker may use of a backend's servers now: not those that asked us to wait, nor more than its share.

    A backend with several servers or connections has `servers`, their names, and `allow`, which takes how many
    connections of each may be used. Another is one server under its own name.
    """

    def __init__(
        self,
        engine: Engine,
        backend: Backend,
        limits: Mapping[str, ServerLimit],
        *,
        worker: str,
        lease: timedelta,
    ) -> None:
        self._engine, self._worker, self._lease = engine, worker, lease
        names: Sequence[str] = getattr(backend, "servers", None) or [backend.name]
        self._limits = {name: limits.get(name, ServerLimit()) for name in names}
        self._allow: Any = getattr(backend, "allow", None)
        self._usable: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Return how many connections there are at the most."""
        return sum(limit.connections for limit in self._limits.values())

    def renew(self, at: datetime) -> datetime | None:
        """Work out what may be used from now on; return None where something may, else until when nothing does."""
        waiting = blocked(self._engine, self._limits, at=at)
        self._usable = {}
        for name, limit in self._limits.items():
            own = 0 if name in waiting else limit.connections
            if own and limit.most is not None:
                own = take_slots(
                    self._engine,
                    f"server:{name}",
                    worker=self._worker,
                    wanted=own,
                    most=limit.most,
                    at=at,
                    until=at + self._lease,
                )
            if own:
                self._usable[name] = own
        return None if self._usable else min(waiting.values(), default=at + SLOT_WAIT)

    def lots(self, count: int, at: datetime, most: int | None = None) -> tuple[list[Lot], datetime]:
        """Share `count` messages out to the usable servers as their rates let them; return the lots, and when more may go.

        `most`: use at most so many connections in all, for a domain that takes no more.
        """
        lots, next_at = [], at
        usable = _at_most(self._usable, most)
        free = {name: own for name, own in usable.items() if self._limits[name].rate is None}
        for name, own in usable.items():
            rate = self._limits[name].rate
            if rate is None or not count:
                continue
            # Servers without a rate take their share of what there is.
            wanted = count if not free else -(-count * own // sum(usable.values()))
            got, then = take_rate(self._engine, f"server:{name}", rate, wanted=wanted, at=at)
            next_at = then if next_at == at else min(next_at, then)
            if got:
                lots.append(Lot(got, {name: own}))
                count -= got
        if count and free:
            lots.append(Lot(count, free))
        return lots, next_at

    def use(self, lot: Lot) -> None:
        """Let the backend use the lot's connections, and no others."""
        if self._allow is not None:
            self._allow(dict(lot.connections))

    def close(self) -> None:
        """Give back what was held."""
        if any(limit.most is not None for limit in self._limits.values()):
            free_slots(self._engine, worker=self._worker)


def _at_most(usable: Mapping[str, int], most: int | None) -> dict[str, int]:
    if most is None:
        return dict(usable)
    left, few = most, {}
    for name, own in usable.items():
        if take := min(own, left):
            few[name] = take
            left -= take
    return few
