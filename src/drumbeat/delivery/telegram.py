"""A Telegram bot: one call a message. https://core.telegram.org/bots/api#sendmessage

There is no idempotency key: a call whose answer is lost leaves its message UNCERTAIN. A bot may write only to
those who have written to it first; whoever blocks it is not written to again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field

from drumbeat.delivery import Answer, Note, Outcome, Scope
from drumbeat.delivery.http import BaseUrl, Call, HttpBackend, HttpSettings, Reply, api_key
from drumbeat.delivery.http_wire import LONGEST_TEXT
from drumbeat.errors import DeliveryError
from drumbeat.settings import Variable

_TOKEN = re.compile(r"[0-9]{3,20}:[A-Za-z0-9_-]{20,100}")

_GONE = re.compile(
    r"chat not found|user not found|peer_id_invalid|chat_id is empty|group chat was (?:upgraded|deleted)",
    re.I,
)
"""How a 400 says that there is no such chat (the descriptions are no documented list, but have been stable)."""

LONGEST_WAIT = timedelta(hours=6)


class TelegramSettings(HttpSettings):
    """`delivery.telegram` of project.yaml."""

    backend: Literal["file", "bot"] = Field("file", description="`file` writes messages into a folder")
    base_url: BaseUrl = "https://api.telegram.org"
    token_env: Variable = Field("TELEGRAM_BOT_TOKEN", description="The bot's token, as @BotFather gave it")
    webhook_secret_env: Variable = Field(
        "TELEGRAM_WEBHOOK_SECRET", description="The secret_token given to setWebhook"
    )
    link_previews: bool = Field(False, description="Let Telegram show a preview of the first link")
    silent: bool = Field(False, description="Arrive without a sound")
    opt_out: tuple[str, ...] = Field(
        ("/stop",), description="Marketing must contain one of these, or {{ unsubscribe_url }}"
    )


class TelegramBackend(HttpBackend):
    """Hands messages to the Bot API."""

    name = "telegram"
    batch_size: ClassVar[int] = 1

    def __init__(self, settings: TelegramSettings) -> None:
        super().__init__(
            settings.base_url,
            timeout=settings.timeout.total_seconds(),
            connections=settings.connections,
        )
        self.settings = settings
        token = api_key(settings.token_env, "delivery.telegram.token_env")
        if not _TOKEN.fullmatch(token):
            # A token with a slash would call another method of another bot.
            raise DeliveryError(
                f"the environment variable {settings.token_env} (delivery.telegram.token_env in project.yaml)"
                " holds no bot's token; expected digits, a colon and letters, as @BotFather shows it"
            )
        self._path = f"/bot{token}/sendMessage"

    def call(self, parcels: Sequence[Note]) -> Call:
        """Return the call that sends one message."""
        (note,) = parcels
        message: dict[str, Any] = {"chat_id": note.to, "text": note.text}
        if note.fields.get("html"):
            message["parse_mode"] = "HTML"
        if not self.settings.link_previews:
            message["link_preview_options"] = {"is_disabled": True}
        if self.settings.silent:
            message["disable_notification"] = True
        return Call(self._path, json=message)

    def accepted(self, reply: Reply, parcels: Sequence[Note]) -> Sequence[Answer]:
        """Read the message as it was sent. Its number is one in its chat, so the chat belongs to its name."""
        del parcels
        said = reply.json
        if said["ok"] is not True:
            raise ValueError("ok is not true")
        sent = said["result"]
        name = f"{sent['chat']['id']}:{sent['message_id']}"
        return [Answer(Outcome.ACCEPTED, f"message {sent['message_id']}", reply.status, remote_id=name)]

    def refusal(self, reply: Reply, parcels: Sequence[Note]) -> Answer | None:
        """Read an error: blocked and gone chats, and how long to wait."""
        del parcels
        said = reply.json
        if not isinstance(said, dict):
            return None
        words = " ".join(str(said.get("description", "")).split())
        text = f"{reply.status} {words}"[:LONGEST_TEXT]
        if reply.status == 429:
            return Answer(
                Outcome.DEFERRED, text, 429, retry_after=_wait(said.get("parameters")), scope=Scope.SERVER
            )
        if reply.status == 403:
            return Answer(Outcome.REFUSED, text, 403, dead_address=True)
        if reply.status == 400:
            return Answer(Outcome.REFUSED, text, 400, dead_address=bool(_GONE.search(words)))
        if reply.status in (401, 404):
            raise DeliveryError(
                f"Telegram does not know the bot: {text}; check the token in {self.settings.token_env}"
            )
        return None


def _wait(parameters: Any) -> timedelta | None:
    """Return ResponseParameters.retry_after, in seconds."""
    seconds = parameters.get("retry_after") if isinstance(parameters, dict) else None
    if type(seconds) is not int or seconds < 0:
        return None
    return min(timedelta(seconds=min(seconds, 10**6)), LONGEST_WAIT)
