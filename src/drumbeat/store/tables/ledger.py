"""The ledger: every message with its state, what waits to be handed over, and the runs that decided."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
    true,
)

from drumbeat.store.tables.base import customer, identity, metadata
from drumbeat.store.types import Json, UtcDateTime

runs = Table(
    "runs",
    metadata,
    identity(),
    # plan · deliver · import · collect
    Column("kind", Text, nullable=False),
    Column("as_of", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("summary", Json, nullable=False, server_default=text("'{}'")),
)

# The ledger: one row a message, also for one that was not sent, with its reason. States: ledger.states.
messages = Table(
    "messages",
    metadata,
    identity(),
    Column("run_id", BigInteger, ForeignKey("runs.id"), nullable=False),
    Column("campaign", Text, nullable=False),
    Column("step", Text, nullable=False, server_default=text("'mail'")),
    # mail · sms · telegram · webhook · task
    Column("channel", Text, nullable=False, server_default=text("'mail'")),
    customer(),
    Column("occasion", Text, nullable=False),
    Column("subject_id", BigInteger),
    Column("sender", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("obeys_cap", Boolean, nullable=False, server_default=true()),
    Column("counts_toward_cap", Boolean, nullable=False, server_default=true()),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("planned_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    # The point of no return: set in the commit just before the mail's content goes out.
    Column("handing_over_at", UtcDateTime),
    # When it was accepted; for an uncertain one the latest moment it can have been.
    Column("sent_at", UtcDateTime),
    Column("answer", Text),
    # The address it went to, in the form of suppressions: the customer may have another one by now.
    Column("address_key", Text),
    # Which server or provider took it, and the name that it gave the message.
    Column("via", Text),
    Column("remote_id", Text),
    UniqueConstraint("campaign", "step", "customer_id", "occasion"),
    Index("ix_messages_customer_id_sender", "customer_id", "sender"),
    Index("ix_messages_campaign_run_id", "campaign", "run_id"),
    Index(
        "ix_messages_deferred",
        "campaign",
        "expires_at",
        postgresql_where=text("state = 'deferred'"),
        sqlite_where=text("state = 'deferred'"),
    ),
    Index("ix_messages_sent_at", "sent_at"),
    Index(
        "ix_messages_remote_id",
        "remote_id",
        postgresql_where=text("remote_id IS NOT NULL"),
        sqlite_where=text("remote_id IS NOT NULL"),
    ),
)

# What waits to be handed over: narrow, a row is deleted when its message is done.
outbox = Table(
    "outbox",
    metadata,
    Column("message_id", BigInteger, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("lease_owner", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Index("ix_outbox_due_at", "due_at"),
    # The order they are claimed in: without it each claim sorts all that is due (100,000 rows: 0.2 s).
    Index("ix_outbox_next", text("priority DESC"), "due_at", "message_id"),
)

# What happened to a message after it was planned; append-only.
message_events = Table(
    "message_events",
    metadata,
    identity(),
    Column("message_id", BigInteger, ForeignKey("messages.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False),
    Column("detail", Text),
    Index(None, "message_id"),
)

# What a person is to do for a customer: the messages of the channel `task`, once they are handed over.
tasks = Table(
    "tasks",
    metadata,
    identity(),
    Column("message_id", BigInteger, ForeignKey("messages.id"), nullable=False, unique=True),
    customer(),
    Column("assignee", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    # open · done · cancelled
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Column("done_at", UtcDateTime),
    Column("done_by", Text),
    Column("note", Text),
    Index("ix_tasks_assignee_state_due_at", "assignee", "state", "due_at"),
)
