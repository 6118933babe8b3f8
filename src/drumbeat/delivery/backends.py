"""The backends by name. Written by hand: a new backend is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drumbeat.delivery import Backend
from drumbeat.delivery.console import ConsoleBackend
from drumbeat.delivery.file import FileBackend
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.errors import UsageError
from drumbeat.issues import nearest

if TYPE_CHECKING:
    from sqlalchemy import Engine


def _smtp(settings: Any, root: Path) -> Backend:
    from drumbeat.delivery.smtp import from_settings

    return from_settings(settings.smtp, root)


def _file(settings: Any, root: Path) -> Backend:
    return FileBackend(root / settings.file.folder)


def _console(settings: Any, root: Path) -> Backend:
    del settings, root
    return ConsoleBackend()


BACKENDS: Mapping[str, Callable[[Any, Path], Backend]] = {
    "smtp": _smtp,
    "file": _file,
    "console": _console,
}
"""From a name to what makes the backend of `delivery` in project.yaml and the project's folder."""


def make_backend(name: str, settings: Any, root: Path) -> Backend:
    """Make the backend `name` from the `delivery` part of project.yaml (project.models.Delivery).

    Relative paths are read from `root`. Raises UsageError for an unknown name, DeliveryError where an
    environment variable that holds a secret is not set.
    """
    if name in PROVIDERS:
        return PROVIDERS[name](getattr(settings, name))
    if name not in BACKENDS:
        raise UsageError(f"unknown delivery backend '{name}'. {nearest(name, (*BACKENDS, *PROVIDERS))}")
    return BACKENDS[name](settings, root)


def backend_of(channel: str, config: Any, root: Path, engine: Engine) -> Backend:
    """Make the backend of a channel, as `delivery` in project.yaml sets it up. Raises as `make_backend`.

    `config`: the project's (project.models.ProjectConfig). `engine`: of the store, for tasks.
    """
    if channel == "mail":
        return make_backend(config.delivery.backend, config.delivery, root)
    from drumbeat.delivery.channels import House, note_backend

    return note_backend(channel, House(config, root, engine))
