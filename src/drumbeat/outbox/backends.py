"""The backends of a run: one a channel, opened when the first message needs it, and what may be used of each."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine

from drumbeat.delivery import Backend
from drumbeat.delivery.backends import backend_of
from drumbeat.outbox.pace import ServerLimit
from drumbeat.project.load import Project


def server_limits(project: Project, backend: Backend) -> dict[str, ServerLimit]:
    """Return the limits of the mail servers that project.yaml names."""
    if backend.name != "smtp":
        return {}
    return {
        host.name: ServerLimit(host.connections, host.total_connections, host.rate)
        for host in project.config.delivery.smtp.hosts
    }


class Backends:
    """The backends of a run, one a channel, opened when the first message needs them."""

    def __init__(self, engine: Engine, project: Project, given: Mapping[str, Backend]) -> None:
        self._engine, self._project = engine, project
        self._made = dict(given)

    def open(self, channel: str) -> Backend:
        """Return the channel's backend, open. Raises DeliveryError with what to do."""
        if channel not in self._made:
            project = self._project
            self._made[channel] = backend_of(channel, project.config, project.root, self._engine)
        self._made[channel].open()
        return self._made[channel]

    def name(self, channel: str) -> str:
        """Return the name of the channel's backend."""
        return self._made[channel].name

    def close(self) -> None:
        """Close them all."""
        for backend in self._made.values():
            backend.close()
