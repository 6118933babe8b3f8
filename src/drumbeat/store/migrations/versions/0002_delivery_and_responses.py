"""Channels, limits of delivery, what comes back, preferences, proof of consent, privacy.

Frozen: a change of drumbeat.store.tables needs a migration of its own (CONTRIBUTING.md), this file stays.
"""

import sqlalchemy as sa
from alembic import op

from drumbeat.store.types import Identity, Json, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the new tables and add the new columns."""
    op.create_table(
        "audit",
        sa.Column("id", Identity, autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("detail", Json, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"])

    op.create_table(
        "erased_addresses",
        sa.Column("address_hash", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_erased_addresses")),
    )
    op.create_table(
        "inbox",
        sa.Column("id", Identity, autoincrement=True, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("headers", Json, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'new'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("worked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_inbox_dedupe_key")),
    )
    op.create_index(
        "ix_inbox_new",
        "inbox",
        ["id"],
        postgresql_where=sa.text("state = 'new'"),
        sqlite_where=sa.text("state = 'new'"),
    )
    op.create_index(op.f("ix_inbox_received_at"), "inbox", ["received_at"])

    op.create_table(
        "preferences",
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("max_messages", sa.Integer(), nullable=True),
        sa.Column("paused_until", UtcDateTime(), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("email_key", name=op.f("pk_preferences")),
    )
    op.create_table(
        "slots",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", "worker", name=op.f("pk_slots")),
    )
    op.create_table(
        "throttles",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=True),
        sa.Column("queued_until", UtcDateTime(), nullable=True),
        sa.Column("blocked_until", UtcDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("days", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("used", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_throttles")),
    )
    op.create_table(
        "consent_events",
        sa.Column("id", Identity, autoincrement=True, nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("proof", Json, nullable=True),
        sa.Column("loaded_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_consent_events_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_events")),
    )
    op.create_index(op.f("ix_consent_events_customer_id"), "consent_events", ["customer_id"])

    op.create_table(
        "opt_ins",
        sa.Column("id", Identity, autoincrement=True, nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("topics", Json, nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("confirmed_at", UtcDateTime(), nullable=True),
        sa.Column("proof", Json, nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_opt_ins_customer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opt_ins")),
    )
    op.create_index("ix_opt_ins_asked_at", "opt_ins", ["asked_at"])
    op.create_index(op.f("ix_opt_ins_customer_id"), "opt_ins", ["customer_id"])

    op.create_table(
        "tasks",
        sa.Column("id", Identity, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("assignee", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.Column("done_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_tasks_customer_id")),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_tasks_message_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("message_id", name=op.f("uq_tasks_message_id")),
    )
    op.create_index("ix_tasks_assignee_state_due_at", "tasks", ["assignee", "state", "due_at"])

    op.add_column("customers", sa.Column("phone", sa.Text(), nullable=True))
    op.add_column("customers", sa.Column("telegram_id", sa.Text(), nullable=True))
    op.add_column("customers", sa.Column("manager", sa.Text(), nullable=True))

    op.add_column(
        "messages", sa.Column("channel", sa.Text(), server_default=sa.text("'mail'"), nullable=False)
    )
    op.add_column("messages", sa.Column("address_key", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("via", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("remote_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_messages_remote_id",
        "messages",
        ["remote_id"],
        postgresql_where=sa.text("remote_id IS NOT NULL"),
        sqlite_where=sa.text("remote_id IS NOT NULL"),
    )

    op.create_index("ix_outbox_next", "outbox", [sa.text("priority DESC"), "due_at", "message_id"])

    # SQLite cannot drop NOT NULL in place: the table is written anew.
    with op.batch_alter_table("responses") as batch_op:
        batch_op.add_column(sa.Column("email_key", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("bounce", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("reason", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("source", sa.Text(), nullable=True))
        batch_op.alter_column("message_id", existing_type=sa.BIGINT(), nullable=True)
        batch_op.create_index(
            "ix_responses_email_key_at",
            ["email_key", "at"],
            postgresql_where=sa.text("email_key IS NOT NULL"),
            sqlite_where=sa.text("email_key IS NOT NULL"),
        )
