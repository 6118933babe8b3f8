"""Preview: the very message that a customer would get, or got, from a campaign; nothing is sent or recorded."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, select

from drumbeat.delivery import Note
from drumbeat.errors import UsageError
from drumbeat.ledger.candidates import STEP, moment_of
from drumbeat.ledger.reach import MAIL
from drumbeat.outbox.batch import Item
from drumbeat.outbox.letters import Letter, Letters
from drumbeat.project.load import LoadedCampaign, Project
from drumbeat.store.engine import reading
from drumbeat.store.tables import customers, messages
from drumbeat.triggers import Subject

NOBODYS_MESSAGE = 0
"""The message id in a preview's links: no message has it, so a click on them records nothing."""


def preview(
    engine: Engine, project: Project, campaign: str, customer: str, *, as_of: datetime
) -> Letter | Note:
    """Write the campaign's message to a customer (by external id) with the data that a send would use.

    The occasion is the one the trigger gives at `as_of`, else the latest in the ledger. Consent, cap and
    segment are not asked: this is about the message, `drumbeat explain` is about who gets it.
    Raises UsageError for an unknown campaign or customer, or where there is no occasion; RenderError.
    """
    chosen = project.campaign(campaign)
    letters = Letters(project, sign=False)
    with reading(engine) as connection:
        row = connection.execute(select(customers).where(customers.c.external_id == customer)).first()
        if row is None:
            raise UsageError(f"there is no customer '{customer}'; expected an external id as it was imported")
        item = _item(chosen, row, _subject(connection, project, chosen, row, as_of))
        context = letters.contexts(connection, [item], as_of)[NOBODYS_MESSAGE]
    if item.channel == MAIL:
        return letters.letter(item, context, as_of)
    note = letters.write(item, context, as_of)
    assert isinstance(note, Note)  # noqa: S101 - what is no mail
    return note


def _subject(
    connection: Connection, project: Project, campaign: LoadedCampaign, row: Any, as_of: datetime
) -> Subject:
    """Return the occasion that is due now, else the latest one decided about."""
    due = campaign.trigger.select(moment_of(connection, project, as_of)).subquery("due")
    found = connection.execute(
        select(due.c.occasion, due.c.subject_id).where(due.c.customer_id == row.id).order_by(due.c.occasion)
    ).first()
    if found is None:
        found = connection.execute(
            select(messages.c.occasion, messages.c.subject_id)
            .where(messages.c.campaign == campaign.name, messages.c.customer_id == row.id)
            .order_by(messages.c.id.desc())
        ).first()
    if found is None:
        raise UsageError(
            f"{campaign.name} has no occasion for customer '{row.external_id}' at {as_of:%Y-%m-%d %H:%M} UTC; "
            f"`drumbeat explain {row.external_id} {campaign.name}` tells why, --as-of looks at another time"
        )
    return Subject(row.id, found.occasion, found.subject_id)


def _item(campaign: LoadedCampaign, row: Any, subject: Subject) -> Item:
    settings = campaign.settings
    return Item(
        message_id=NOBODYS_MESSAGE,
        attempts=0,
        priority=settings.priority,
        campaign=campaign.name,
        step=STEP,
        channel=settings.message.channel,
        sender=campaign.sender,
        kind=settings.kind,
        topic=settings.topic,
        template=settings.message.template,
        expires_at=None,
        subject=subject,
        customer=dict(row._mapping),
    )
