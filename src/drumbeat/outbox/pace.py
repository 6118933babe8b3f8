"""Pace: how many messages make a chunk, and which connections may be used for it now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from drumbeat.delivery import Backend
from drumbeat.outbox.limits import blocked, free_slots, take_slots

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


class Connections:
    """What a worker may use of a backend's servers now: not those that asked us to wait, nor more than its share.

    A backend with several servers or connections has `servers`, a mapping from a server's name to (connections
    of one worker, connections of all workers together or None), and `allow`, which takes how many of each may be
    used. Another is one server under its own name with one connection.
    """

    def __init__(self, engine: Engine, backend: Backend, *, worker: str, lease: timedelta) -> None:
        self._engine, self._backend, self._worker, self._lease = engine, backend, worker, lease
        servers: Mapping[str, tuple[int, int | None]] = getattr(backend, "servers", {}) or {
            backend.name: (1, None)
        }
        self._servers = servers
        self._allow: Any = getattr(backend, "allow", None)

    @property
    def total(self) -> int:
        """Return how many connections there are at the most."""
        return sum(own for own, _ in self._servers.values())

    def renew(self, at: datetime) -> datetime | None:
        """Work out what may be used from now on; return None where something may, else until when nothing does."""
        waiting = blocked(self._engine, self._servers, at=at)
        usable: dict[str, int] = {}
        for name, (own, most) in self._servers.items():
            usable[name] = 0 if name in waiting else own
            if usable[name] and most is not None:
                usable[name] = take_slots(
                    self._engine,
                    f"server:{name}",
                    worker=self._worker,
                    wanted=own,
                    most=most,
                    at=at,
                    until=at + self._lease,
                )
        self._usable = usable
        if any(usable.values()):
            self._say(usable)
            return None
        return min(waiting.values(), default=at + timedelta(seconds=5))

    def only(self, connections: int) -> None:
        """Use at most so many connections in all, until `renew`."""
        left, few = connections, {}
        for name, own in self._usable.items():
            few[name] = min(own, left)
            left -= few[name]
        self._say(few)

    def close(self) -> None:
        """Give back what was held."""
        if any(most is not None for _, most in self._servers.values()):
            free_slots(self._engine, worker=self._worker)

    def _say(self, usable: Mapping[str, int]) -> None:
        if self._allow is not None:
            self._allow(dict(usable))
