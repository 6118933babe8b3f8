"""Notes: from claimed messages of the channels beside mail to what their backends hand over."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from drumbeat.delivery import Note
from drumbeat.errors import RenderError
from drumbeat.ledger.reach import TASK, WEBHOOK
from drumbeat.outbox.batch import Item
from drumbeat.outbox.values import shown_sender, values
from drumbeat.project.load import Project
from drumbeat.rendering.identity import message_id
from drumbeat.rendering.links import Links
from drumbeat.rendering.note_rules import NoteRules, broken
from drumbeat.rendering.notes import NoteTemplates, RenderedNote


class Notes:
    """Writes the notes of a project; templates are read once and kept. `key`: as for Message-IDs."""

    def __init__(self, project: Project, links: Links, key: bytes) -> None:
        self._project = project
        self._links = links
        self._key = key
        self._rules = NoteRules.of(project.config.delivery)
        self._templates: dict[str, NoteTemplates] = {}

    def write(self, item: Item, context: dict[str, Any], at: datetime) -> Note:
        """Render one message, given at `at`. Raises RenderError.

        Links in its text are not tracked: a signed link of 150 characters would be a segment of its own in an
        SMS, and is unreadable in any plain text.
        """
        url = self._links.unsubscribe(item.message_id)
        to, due_at = item.address or "", None
        key = self._name(item)
        extra: dict[str, Any] = {}
        if item.channel == TASK:
            to, due_at = self._assignee(item), at + self._due(item)
            extra = {"assignee": to, "due_at": due_at}
        elif item.channel == WEBHOOK:
            extra = {"key": key, "occasion": item.subject.occasion}
        template = self._of(item.channel).load(item.template, item.customer["language"])
        note = template.note({**self._values(item, context, url), **extra})
        self._check(item, note, url)
        return Note(
            key=key,
            channel=item.channel,
            to=to,
            text=note.text,
            token=self._links.mail_token(item.message_id),
            campaign=item.campaign,
            message_id=item.message_id,
            due_at=due_at,
            fields=_fields(item, note, at),
        )

    def _of(self, channel: str) -> NoteTemplates:
        if channel not in self._templates:
            folder, language = self._project.root / "templates", self._project.config.language
            self._templates[channel] = NoteTemplates(folder, channel, language)
        return self._templates[channel]

    def _values(self, item: Item, context: dict[str, Any], unsubscribe_url: str) -> dict[str, Any]:
        sender = self._project.config.senders.get(item.sender)
        if sender is None:
            raise RenderError(f"the sender '{item.sender}' of this message is not in project.yaml any more")
        return values(self._project, item, context, shown_sender(sender), unsubscribe_url)

    def _check(self, item: Item, note: RenderedNote, unsubscribe_url: str) -> None:
        marketing = item.kind == "marketing"
        for rule in broken(
            item.channel, note, self._rules, marketing=marketing, unsubscribe_url=unsubscribe_url
        ):
            raise RenderError(f"templates/{item.template}: {rule.message} {rule.fix}")

    def _name(self, item: Item) -> str:
        """Return what names the message to whoever takes it: always the same for the same message."""
        who = item.customer["external_id"]
        whole = message_id(
            self._key, "note.invalid", item.channel, item.campaign, item.step, who, item.subject.occasion
        )
        return whole[1 : whole.index("@")]

    def _assignee(self, item: Item) -> str:
        manager = item.customer["manager"] or self._project.config.delivery.task.default_assignee
        if not manager:
            raise RenderError(
                f"customer '{item.customer['external_id']}' has no manager, and delivery.task.default_assignee"
                " in project.yaml is not set: there is nobody to give the task to"
            )
        return str(manager)

    def _due(self, item: Item) -> Any:
        campaign = self._project.campaigns.get(item.campaign)
        chosen = campaign.settings.message.due if campaign is not None else None
        return self._project.config.delivery.task.due if chosen is None else chosen


def _fields(item: Item, note: RenderedNote, at: datetime) -> dict[str, Any]:
    if item.channel == TASK:
        return {"title": note.title, "customer_id": item.subject.customer_id, "created_at": at}
    if item.channel == WEBHOOK:
        return {"payload": note.payload}
    return {"html": True} if note.html else {}
