"""The backends by name. Written by hand: a new backend is one file and one line here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from drumbeat.delivery import Backend
from drumbeat.delivery.console import ConsoleBackend
from drumbeat.delivery.file import FileBackend
from drumbeat.delivery.providers import PROVIDERS
from drumbeat.errors import DeliveryError, UsageError
from drumbeat.issues import nearest


def _smtp(settings: Any, root: Path) -> Backend:
    from drumbeat.delivery.smtp import SmtpBackend
    from drumbeat.delivery.smtp_connect import SmtpServer

    smtp = settings.smtp
    return SmtpBackend(
        SmtpServer(
            host=smtp.host,
            port=smtp.port,
            tls=smtp.tls,
            ca_file=root / smtp.ca_file if smtp.ca_file else None,
            username=_secret(smtp.username_env, "username_env"),
            password=_secret(smtp.password_env, "password_env"),
            timeout=smtp.timeout.total_seconds(),
        )
    )


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


def backend_of(channel: str, settings: Any, root: Path) -> Backend:
    """Make the backend of a channel, as `delivery` in project.yaml sets it up. Raises as `make_backend`."""
    if channel == "mail":
        return make_backend(settings.backend, settings, root)
    raise UsageError(f"unknown channel '{channel}'; expected mail")


def _secret(variable: str | None, setting: str) -> str | None:
    if variable is None:
        return None
    if not (value := os.environ.get(variable)):
        raise DeliveryError(
            f"the environment variable {variable} is not set;"
            f" delivery.smtp.{setting} in project.yaml names it"
        )
    return value
