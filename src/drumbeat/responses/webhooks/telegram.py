"""What a Telegram bot is told: https://core.telegram.org/bots/api#setwebhook and #update.

Telegram signs nothing; it sends back the secret that setWebhook was given, in a header. `/stop`, and blocking the
bot, end marketing to that chat. `/start` ends Telegram's own block: it is no consent to any topic of ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from drumbeat.delivery.telegram import TelegramSettings
from drumbeat.responses.kinds import Kind
from drumbeat.responses.webhooks import Event, Forged, Verified, WebhookCall
from drumbeat.responses.webhooks.payload import document, ident, instant, same, table, text
from drumbeat.settings import needed_secret

SECRET = "x-telegram-bot-api-secret-token"  # noqa: S105 - a header's name

COMMANDS = {"/stop": Kind.UNSUBSCRIBED, "/start": Kind.SUBSCRIBED}
STANDING = {"kicked": Kind.UNSUBSCRIBED, "left": Kind.UNSUBSCRIBED, "member": Kind.SUBSCRIBED}
"""The bot's new status in a chat with a reader: `kicked` is how Telegram says that it was blocked."""


class TelegramWebhook:
    """Calls to /hooks/telegram. Raises DeliveryError where the secret is not set."""

    name = "telegram"

    def __init__(self, settings: TelegramSettings) -> None:
        self._secret = needed_secret(
            settings.webhook_secret_env, "delivery.telegram.webhook_secret_env"
        ).strip()

    def verify(self, call: WebhookCall) -> Verified:
        """Check the secret. Raises Forged. An update that says nothing to us is answered and not stored."""
        if not same(call.headers.get(SECRET), self._secret):
            raise Forged("the call's secret is missing or wrong; give setWebhook the secret_token again")
        try:
            update = table(json.loads(call.body))
        except (ValueError, RecursionError):
            return Verified("", keep=False)
        number = ident(update.get("update_id"))
        return Verified(f"update:{number}", keep=number is not None and bool(_read(update, call.received_at)))

    def events(self, call: WebhookCall) -> Sequence[Event]:
        """Read a stored call. Raises InputError where it is no JSON."""
        return _read(table(document(call.body)), call.received_at)

    def follow_up(self, call: WebhookCall) -> None:
        """Nothing is left to do."""


def _read(update: Any, received_at: datetime) -> Sequence[Event]:
    said, moved = table(update.get("message")), table(update.get("my_chat_member"))
    word = (text(said.get("text")) or "").partition(" ")[0].partition("@")[0].casefold()
    kind = COMMANDS.get(word)
    told = said
    if kind is None:
        status = table(moved.get("new_chat_member")).get("status")
        kind, told = STANDING.get(status) if isinstance(status, str) else None, moved
    chat = ident(table(told.get("chat")).get("id"))
    if kind is None or chat is None:
        return ()
    return [
        Event(
            kind,
            instant(told.get("date"), received_at),
            recipient=f"tg:{chat}",
            event_id=ident(update.get("update_id")) or "",
            text=text(said.get("text")),
            raw=update,
        )
    ]
