"""What templates of every channel are given, beside what the trigger gives."""

from __future__ import annotations

from typing import Any

from drumbeat.clock import zone_or
from drumbeat.outbox.batch import Item
from drumbeat.project.load import Project

CUSTOMER = (
    "external_id",
    "email",
    "phone",
    "telegram_id",
    "manager",
    "first_name",
    "last_name",
    "country",
    "city",
    "language",
    "time_zone",
    "birth_date",
    "attributes",
)
"""What templates may use of a customer; the rest of the row is for our own use."""


def values(
    project: Project, item: Item, context: dict[str, Any], sender: dict[str, str], unsubscribe_url: str
) -> dict[str, Any]:
    """Return the whole context of a message. `sender`: as `shown_sender` gives it."""
    return {
        **context,
        "customer": {name: item.customer[name] for name in CUSTOMER},
        "sender": sender,
        "unsubscribe_url": unsubscribe_url,
        "campaign": item.campaign,
        "currency": context.get("currency") or project.config.currency,
        "time_zone": zone_or(item.customer["time_zone"], project.config.time_zone).key,
    }


def shown_sender(sender: Any) -> dict[str, str]:
    """Return what templates may use of a sender (project.models.Sender)."""
    return {"name": sender.name, "address": sender.address, "postal_address": sender.postal_address}
