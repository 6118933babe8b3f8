"""What comes back: webhook calls and mails as they came, and the responses that were read from them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text

from drumbeat.store.tables.base import identity, metadata
from drumbeat.store.types import Json, UtcDateTime

# What arrived, before it was worked on: stored first, so that nothing is lost and answers are quick.
inbox = Table(
    "inbox",
    metadata,
    identity(),
    # The provider's name, or `mail`.
    Column("source", Text, nullable=False),
    # The same call or mail again is the same row.
    Column("dedupe_key", Text, nullable=False, unique=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("headers", Json, nullable=False, server_default=text("'{}'")),
    Column("body", LargeBinary, nullable=False),
    # new · done · failed
    Column("state", Text, nullable=False, server_default=text("'new'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("worked_at", UtcDateTime),
    Index(
        "ix_inbox_new",
        "id",
        postgresql_where=text("state = 'new'"),
        sqlite_where=text("state = 'new'"),
    ),
    Index(None, "received_at"),
)

responses = Table(
    "responses",
    metadata,
    identity(),
    # Makes storing idempotent: the same fact told twice is one row.
    Column("dedupe_key", Text, nullable=False, unique=True),
    Column("message_id", BigInteger, ForeignKey("messages.id")),
    # Whom it is about where no message is known, and for bounces, which count by address.
    Column("email_key", Text),
    # responses.kinds
    Column("kind", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # human · machine · unknown
    Column("class", Text, nullable=False, server_default=text("'unknown'")),
    Column("url", Text),
    # hard · soft, of a bounce; and one of responses.reasons
    Column("bounce", Text),
    Column("reason", Text),
    # Who told us: link · smtp · mail · webhook:<provider>
    Column("source", Text),
    Column("raw", Json),
    Column("loaded_at", UtcDateTime, nullable=False),
    Index("ix_responses_message_id_kind", "message_id", "kind"),
    Index(
        "ix_responses_email_key_at",
        "email_key",
        "at",
        postgresql_where=text("email_key IS NOT NULL"),
        sqlite_where=text("email_key IS NOT NULL"),
    ),
)
