"""What readers want and do not want: consent with its proof, suppressions, preferences; and the audit log."""

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
)

from drumbeat.store.tables.base import customer, identity, metadata
from drumbeat.store.types import Json, UtcDateTime

consents = Table(
    "consents",
    metadata,
    Column("customer_id", BigInteger, ForeignKey("customers.id"), primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("granted", Boolean, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("source", Text),
    Column("loaded_at", UtcDateTime, nullable=False),
)

# The proof of every consent given or taken back: append-only.
consent_events = Table(
    "consent_events",
    metadata,
    identity(),
    customer(),
    Column("topic", Text, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # Where: import:<file> · preferences · unsubscribe · opt_in · webhook:<provider> · bounce
    Column("source", Text, nullable=False),
    # What the reader saw and did: url, text, language, agent, and ip where the project keeps it.
    Column("proof", Json),
    Column("loaded_at", UtcDateTime, nullable=False),
    Index(None, "customer_id"),
)

# Who asked for mail and has not confirmed yet (double opt-in); kept after as part of the proof.
opt_ins = Table(
    "opt_ins",
    metadata,
    identity(),
    customer(),
    Column("topics", Json, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("confirmed_at", UtcDateTime),
    Column("proof", Json),
    Index(None, "customer_id"),
    Index("ix_opt_ins_asked_at", "asked_at"),
)

suppressions = Table(
    "suppressions",
    metadata,
    identity(),
    # A mail address; `@example.com` for a whole domain; `tel:+44...` and `tg:...` in other channels.
    Column("email_key", Text, nullable=False),
    # '' is every topic; service mail is stopped only by reasons that say the address is dead.
    Column("topic", Text, nullable=False, server_default=text("''")),
    # unsubscribed · manual · complained · bounced · erased
    Column("reason", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("source", Text),
    UniqueConstraint("email_key", "topic"),
)

# What the reader of a mailbox chose on the preference page.
preferences = Table(
    "preferences",
    metadata,
    Column("email_key", Text, primary_key=True),
    # At most so many messages in the cap's span; NULL: as the cap allows.
    Column("max_messages", Integer),
    Column("paused_until", UtcDateTime),
    Column("at", UtcDateTime, nullable=False),
    Column("source", Text),
)

# Keyed hashes of addresses whose owners were erased: all that is kept of them.
erased_addresses = Table(
    "erased_addresses",
    metadata,
    Column("address_hash", Text, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)

# Who of us did what to whose data.
audit = Table(
    "audit",
    metadata,
    identity(),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text),
    Column("detail", Json),
    Index(None, "at"),
    Index(None, "subject"),
)
