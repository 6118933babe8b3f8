"""The backends of the channels beside mail, by channel and by what `delivery.<channel>.backend` says. By hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from drumbeat.delivery import Backend
from drumbeat.errors import DeliveryError

if TYPE_CHECKING:
    from sqlalchemy import Engine


class House(NamedTuple):
    """What a backend may need. `config`: the project's (project.models.ProjectConfig)."""

    config: Any
    root: Path
    engine: Engine


def _file(channel: str, house: House) -> Backend:
    from drumbeat.delivery.note_file import NoteFileBackend

    return NoteFileBackend(house.root / house.config.delivery.file.notes / channel)


def _twilio(channel: str, house: House) -> Backend:
    from drumbeat.delivery.twilio import TwilioBackend

    del channel
    return TwilioBackend(house.config.delivery.twilio, house.config.tracking.base_url)


def _sms_http(channel: str, house: House) -> Backend:
    from drumbeat.delivery.sms_http import SmsHttpBackend

    del channel
    settings = house.config.delivery.sms.http
    if settings.lacks is not None:
        raise DeliveryError(f"delivery.sms.http in project.yaml has no {settings.lacks}; set it")
    return SmsHttpBackend(settings)


def _telegram(channel: str, house: House) -> Backend:
    from drumbeat.delivery.telegram import TelegramBackend

    del channel
    return TelegramBackend(house.config.delivery.telegram)


def _webhook(channel: str, house: House) -> Backend:
    from drumbeat.delivery.webhook import WebhookBackend

    del channel
    return WebhookBackend(house.config.delivery.webhook)


def _task(channel: str, house: House) -> Backend:
    from drumbeat.delivery.task import TaskBackend

    del channel
    return TaskBackend(house.engine)


CHANNEL_BACKENDS: Mapping[tuple[str, str], Callable[[str, House], Backend]] = {
    ("sms", "file"): _file,
    ("sms", "twilio"): _twilio,
    ("sms", "http"): _sms_http,
    ("telegram", "file"): _file,
    ("telegram", "bot"): _telegram,
    ("webhook", "file"): _file,
    ("webhook", "http"): _webhook,
    ("task", "store"): _task,
}
"""From a channel and its backend to what makes it."""

TO_OTHERS = ("sms", "telegram", "webhook")
"""Channels whose messages leave this machine."""


def note_backend(channel: str, house: House) -> Backend:
    """Make the backend of a channel, as project.yaml sets it up.

    Raises DeliveryError where a setting or an environment variable that it needs is not there.
    """
    chosen = getattr(getattr(house.config.delivery, channel), "backend", "store")
    return CHANNEL_BACKENDS[channel, chosen](channel, house)


def instead(name: str, house: House) -> dict[str, Backend]:
    """Return the backends in the place of those of project.yaml where all is to be written or shown (`--backend`).

    Empty for the name of a way to deliver mail alone. Tasks are given all the same: they leave nothing.
    """
    if name == "console":
        from drumbeat.delivery.console import ConsoleBackend

        return {channel: ConsoleBackend() for channel in TO_OTHERS}
    return {channel: _file(channel, house) for channel in TO_OTHERS} if name == "file" else {}
