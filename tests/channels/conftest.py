"""A small project that writes by every channel, and readers who agree to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, insert

from drumbeat.project.load import Project
from drumbeat.store.engine import writing
from drumbeat.store.tables import consents

AT = datetime(2011, 1, 1, tzinfo=UTC)

PROJECT = """
project: minimal
time_zone: Europe/London
senders:
  shop: {name: The Shop, address: shop@shop.example, postal_address: "1 High Street, London"}
cap: {messages: 4, per: 168h}
topics:
  offers: Offers
  news: News
  offers_sms: {text: Offers by text, channel: sms}
  offers_tg: {text: Offers on Telegram, channel: telegram}
  calls: {text: Calls, channel: task}
  sync: {text: Our app, channel: webhook}
delivery:
  backend: file
  lease: 10m
  attempts: 4
  task: {default_assignee: desk}
"""

TEMPLATES = {
    "templates/text/text.txt.j2": "Hello {{ customer.first_name }}, 5% off. Reply STOP to end.",
    "templates/text/text.de.txt.j2": "Hallo {{ customer.first_name }}, 5% weniger. STOP beendet.",
    "templates/text/sample.yaml": "{}\n",
    "templates/chat/text.html.j2": "<b>Hello {{ customer.first_name }}</b> /stop ends this",
    "templates/chat/sample.yaml": "{}\n",
    "templates/crm/payload.json.j2": '{"who": {{ customer.external_id | tojson }}, "key": {{ key | tojson }}}',
    "templates/crm/sample.yaml": "{}\n",
    "templates/call/title.txt.j2": "Call {{ customer.first_name }}",
    "templates/call/text.txt.j2": "{{ customer.phone }} by {{ due_at | datetime }}",
    "templates/call/sample.yaml": "{}\n",
}

SETTINGS: dict[str, dict[str, object]] = {
    "sms": {"topic": "offers_sms", "message": {"template": "text", "channel": "sms"}},
    "telegram": {"topic": "offers_tg", "message": {"template": "chat", "channel": "telegram"}},
    "webhook": {"topic": "sync", "message": {"template": "crm", "channel": "webhook"}},
    "task": {"topic": "calls", "message": {"template": "call", "channel": "task", "due": "2d"}},
    "mail": {"topic": "offers", "message": {"template": "hello"}},
}
"""A campaign by each channel, on the event of its own name."""


@pytest.fixture
def make(make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Write a project: `make(["sms", "mail"], delivery="sms: {...}")`; further lines stand under `delivery:`."""

    def write(
        channels: list[str], *delivery: str, files: dict[str, str] | None = None, **changes: object
    ) -> Project:
        config = PROJECT + "".join(f"  {line}\n" for line in delivery)
        campaigns = {name: {**SETTINGS[name], "segment": "everyone", **changes} for name in channels}
        return make_project({"project.yaml": config, **TEMPLATES, **(files or {})}, campaigns=campaigns)

    return write


TOPICS = ("offers_sms", "offers_tg", "calls", "sync")


@pytest.fixture
def agree(store: Engine) -> Callable[..., None]:
    """Let customers agree to topics; by default to those of every channel."""

    def agree(*customers: int, topics: tuple[str, ...] = TOPICS) -> None:
        rows = [
            {"customer_id": c, "topic": t, "granted": True, "at": AT, "loaded_at": AT}
            for c in customers
            for t in topics
        ]
        with writing(store) as connection:
            connection.execute(insert(consents), rows)

    return agree
