"""Letters: from claimed messages to mails, with the project's templates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from drumbeat.clock import zone_or
from drumbeat.delivery import Mail
from drumbeat.errors import InputError, RenderError
from drumbeat.outbox.batch import Item
from drumbeat.project.load import Project
from drumbeat.project.models import Sender
from drumbeat.rendering.compose import address, compose, message_id
from drumbeat.rendering.links import Links, tracked
from drumbeat.rendering.secret import load_secrets
from drumbeat.rendering.templates import Rendered, Templates
from drumbeat.triggers import Moment

CUSTOMER = (
    "external_id",
    "email",
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


class Letter(NamedTuple):
    """A mail and what it was composed of: the HTML is the template's, before links are tracked."""

    rendered: Rendered
    mail: Mail


class Letters:
    """Writes the mails of a project; templates are compiled once and kept.

    Raises UsageError where the key for links cannot be used.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        tracking = project.config.tracking
        keys = load_secrets(project.root, tracking.secret_env)
        self._key = keys[0]
        self._links = Links(tracking.base_url, keys)
        self._templates = Templates(project.root / "templates", project.config.language)

    def contexts(
        self, connection: Connection, items: Sequence[Item], at: datetime
    ) -> dict[int, dict[str, Any]]:
        """Return by message id what its trigger gives the template: one query a campaign."""
        moment = Moment(at, self._project.config.time_zone)
        by_campaign: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            by_campaign[item.campaign].append(item)
        found: dict[int, dict[str, Any]] = {}
        for name, its_items in by_campaign.items():
            trigger = self._project.campaigns[name].trigger
            given = trigger.context(connection, [item.subject for item in its_items], moment)
            found |= {item.message_id: given.get(item.subject, {}) for item in its_items}
        return found

    def write(self, item: Item, context: dict[str, Any], at: datetime) -> Mail:
        """Render and compose one mail, dated `at`. Raises RenderError."""
        return self.letter(item, context, at).mail

    def letter(self, item: Item, context: dict[str, Any], at: datetime) -> Letter:
        """Return the mail together with the parts it was composed of. Raises RenderError."""
        sender = self._project.config.senders.get(item.sender)
        if sender is None:
            raise RenderError(f"the sender '{item.sender}' of this mail is not in project.yaml any more")
        unsubscribe_url = self._links.unsubscribe(item.message_id)
        template = self._templates.load(item.template, item.customer["language"])
        rendered = template.render(self._whole(item, context, sender, unsubscribe_url))
        marketing = item.kind == "marketing"
        if marketing and (unsubscribe_url not in rendered.html or unsubscribe_url not in rendered.text):
            raise RenderError(
                f"templates/{item.template} has no unsubscribe link, which marketing mail must have;"
                " put {{ unsubscribe_url }} into the HTML and the text"
            )
        try:
            from_address, to_address = address(sender.address), address(item.address or "")
            domain = from_address.rpartition("@")[2]
            identity = message_id(
                self._key,
                domain,
                item.campaign,
                item.step,
                item.customer["external_id"],
                item.subject.occasion,
            )
            content = compose(
                sender_name=sender.name,
                sender_address=from_address,
                reply_to=sender.reply_to,
                to_name=_full_name(item.customer),
                to_address=to_address,
                subject=rendered.subject,
                html=tracked(rendered.html, self._links, item.message_id),
                text=rendered.text,
                message_id=identity,
                date=at,
                list_id=f"{item.topic}.{domain}" if marketing else None,
                unsubscribe_url=unsubscribe_url if marketing else None,
                auto_submitted=not marketing,
            )
        except InputError as error:
            raise RenderError(str(error)) from None
        return Letter(
            rendered, Mail(identity.strip("<>").partition("@")[0], from_address, to_address, content)
        )

    def _whole(
        self, item: Item, context: dict[str, Any], sender: Sender, unsubscribe_url: str
    ) -> dict[str, Any]:
        return {
            **context,
            "customer": {name: item.customer[name] for name in CUSTOMER},
            "sender": {
                "name": sender.name,
                "address": sender.address,
                "postal_address": sender.postal_address,
            },
            "unsubscribe_url": unsubscribe_url,
            "campaign": item.campaign,
            "currency": context.get("currency") or self._project.config.currency,
            "time_zone": zone_or(item.customer["time_zone"], self._project.config.time_zone).key,
        }


def _full_name(customer: dict[str, Any]) -> str | None:
    names = (customer["first_name"], customer["last_name"])
    # Names come from imports: what cannot stand in a header is left out rather than the mail given up.
    shown = " ".join(" ".join(name for name in names if name).split())
    return "".join(c for c in shown if c.isprintable() or c == " ") or None
