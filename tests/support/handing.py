"""Mails with parts, what a backend made of them, and what a webhook makes of anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from drumbeat.delivery import Answer, Backend, Mail, Parts
from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.webhooks import Webhook, WebhookCall

TOKEN = "abcdefghijklmnopqrstuvwx27"

HEADERS = (
    ("Message-ID", "<k1.abcdefghijklmnopqrstuvwx27@shop.example.com>"),
    ("List-Id", "<offers.shop.example.com>"),
    ("List-Unsubscribe", "<https://shop.example.com/u/" + "x" * 300 + ">"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ("Feedback-ID", "cart:offers:de:shop1"),
)


def mail(to: str = "reader@example.com", key: str = "k1", **parts: Any) -> Mail:
    """A marketing mail; `parts` replaces some of them."""
    content: dict[str, Any] = {
        "from_name": "Büro, Shop & Söhne",
        "from_address": "shop@example.com",
        "to_name": "Анна",
        "to_address": to,
        "reply_to": "help@example.com",
        "subject": "Ваша корзина",
        "html": "<p>Grüße {{var:name}}</p>",
        "text": "Grüße",
        "headers": HEADERS,
    }
    return Mail(
        key,
        "bounces@example.com",
        to,
        b"",
        Parts(**{**content, **parts}),
        token=TOKEN,
        campaign="abandoned_cart",
    )


@dataclass
class Handed:
    """What became of a hand-over. `error`: what was raised."""

    begun: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    error: DeliveryError | None = None

    @property
    def only(self) -> Answer:
        """The one answer there is."""
        (answer,) = self.answers.values()
        return answer


def hand_over(
    backend: Backend, mails: Sequence[Mail], withdraw: Callable[[Mail], bool] = lambda mail: False
) -> Handed:
    """Hand the mails over and close the backend; each is done once, whatever happens."""
    handed = Handed()

    def begin(one: Mail) -> bool:
        if withdraw(one):
            return False
        handed.begun.append(one.key)
        return True

    def done(one: Mail, answer: Answer) -> None:
        assert one.key not in handed.answers, "a mail is done once"
        handed.answers[one.key] = answer

    try:
        backend.hand_over(mails, begin, done)
    except DeliveryError as error:
        handed.error = error
    finally:
        backend.close()
    assert set(handed.begun) <= set(handed.answers), "what was begun is done"
    return handed


def told(webhook: Webhook, call: WebhookCall) -> str:
    """Verify a call, read its events, and return all the texts in them, or the line that it was refused with.

    The events' raw content must be JSON that UTF-8 can hold.
    """
    try:
        webhook.verify(call)
        events = webhook.events(call)
    except InputError as error:
        return str(error)
    for event in events:
        assert event.at.tzinfo is UTC
        json.dumps(dict(event.raw), ensure_ascii=False).encode()
    fields = ("recipient", "event_id", "token", "remote_id", "url", "status", "text", "agent", "ip")
    return " ".join(str(getattr(event, name)) for event in events for name in fields)


ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    10**400,
    "",
    "x",
    "\ud800\x00",
    [],
    [[]],
    [None],
    {},
    {"a": []},
)
"""What may stand where a provider's documentation says something else."""


def mangled(payload: Any) -> Iterator[Any]:
    """Give the payload with each of its values, at any depth, replaced by each odd one, left out, or nested."""
    text = json.dumps(payload)
    for path in _paths(payload):
        for odd in ODD:
            copy = json.loads(text)
            if not path:
                yield odd
                continue
            place = copy
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = odd
            yield copy
        if path and isinstance(path[-1], str):
            copy = json.loads(text)
            place = copy
            for step in path[:-1]:
                place = place[step]
            del place[path[-1]]
            yield copy


def _paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*here, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _paths(inner, (*here, position))
