"""What each of Telegram's answers means for a message."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from servers.provider import DROP_AFTER, Response, provider_server
from support.handing import Handed, hand_over
from support.notes import WAITS, note

from drumbeat.delivery import Outcome, Scope
from drumbeat.delivery.telegram import TelegramBackend, TelegramSettings
from drumbeat.errors import DeliveryError

BOT = "123456:AAF-abcdefghijklmnopqrstuvwxyz_01234"
SENT = {"ok": True, "result": {"message_id": 42, "chat": {"id": 777}, "date": 1700000000}}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", BOT)


def sent(answer: Any, *, html: bool = False, **settings: Any) -> tuple[Handed, list[Any]]:
    with provider_server(answer) as server:
        backend = TelegramBackend(
            TelegramSettings.model_validate({"base_url": server.url, "timeout": "2s", **settings})
        )
        one = note("777", channel="telegram", fields={"html": True} if html else {})
        return hand_over(backend, [one]), server.requests


def error(status: int, description: str, **parameters: Any) -> Response:
    extra = {"parameters": parameters} if parameters else {}
    return Response(status, json={"ok": False, "error_code": status, "description": description, **extra})


def test_a_message_is_plain_text_unless_it_is_written_in_html() -> None:
    handed, (call,) = sent(Response(200, json=SENT))
    assert call.path == f"/bot{BOT}/sendMessage"
    assert call.json == {"chat_id": "777", "text": "Hello", "link_preview_options": {"is_disabled": True}}
    assert (handed.only.outcome, handed.only.remote_id) == (Outcome.ACCEPTED, "777:42")
    _, (call,) = sent(Response(200, json=SENT), html=True, link_previews=True, silent=True)
    assert call.json == {
        "chat_id": "777",
        "text": "Hello",
        "parse_mode": "HTML",
        "disable_notification": True,
    }


@pytest.mark.parametrize(
    ("response", "dead"),
    [
        (error(403, "Forbidden: bot was blocked by the user"), True),
        (error(403, "Forbidden: user is deactivated"), True),
        (error(400, "Bad Request: chat not found"), True),
        (error(400, "Bad Request: can't parse entities: Unsupported start tag"), False),
        (error(400, "Bad Request: message is too long"), False),
    ],
)
def test_a_chat_that_is_gone_or_blocked_is_dead(response: Response, dead: bool) -> None:
    answer = sent(response)[0].only
    assert (answer.outcome, answer.dead_address) == (Outcome.REFUSED, dead)


def test_too_many_messages_wait_as_long_as_telegram_asks() -> None:
    answer = sent(error(429, "Too Many Requests: retry after 35", retry_after=35))[0].only
    assert (answer.outcome, answer.scope) == (Outcome.DEFERRED, Scope.SERVER)
    assert answer.retry_after == timedelta(seconds=35)
    odd = sent(error(429, "Too Many Requests", retry_after="soon"))[0].only
    assert (odd.outcome, odd.retry_after) == (Outcome.DEFERRED, None)
    assert sent(error(429, "x", retry_after=10**30))[0].only.retry_after == timedelta(hours=6)


@pytest.mark.parametrize("response", [error(401, "Unauthorized"), error(404, "Not Found")])
def test_a_wrong_token_stops_the_hand_over_and_is_not_shown(response: Response) -> None:
    handed, _ = sent(response)
    assert handed.only.outcome in WAITS
    assert isinstance(handed.error, DeliveryError)
    assert BOT not in str(handed.error) + handed.only.text


def test_a_lost_answer_is_uncertain_and_shows_no_token() -> None:
    handed, calls = sent(lambda call: DROP_AFTER)
    assert (handed.only.outcome, len(calls)) == (Outcome.UNCERTAIN, 1)
    assert BOT not in handed.only.text
    unreachable = TelegramBackend(TelegramSettings(base_url="http://127.0.0.1:9"))
    answer = hand_over(unreachable, [note("777")]).only
    assert answer.outcome is Outcome.DEFERRED
    assert BOT not in answer.text


@pytest.mark.parametrize(
    "response", [Response(200, json={"ok": True}), Response(200, body="x"), Response(500)]
)
def test_an_answer_that_cannot_be_read_is_uncertain(response: Response) -> None:
    assert sent(response)[0].only.outcome is Outcome.UNCERTAIN


@pytest.mark.parametrize("value", ["123", "bot123456:AAF", "1:../../x", "123456:AAF abc"])
def test_what_is_no_token_is_said_in_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", value)
    with pytest.raises(DeliveryError) as caught:
        TelegramBackend(TelegramSettings())
    assert value not in str(caught.value)
