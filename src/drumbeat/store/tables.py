"""The tables. Every column is said once, here; migrations are checked against this file.

Ids are plain integers (a UUIDv4 key costs 2.3 times the insert time); `external_id` is the name that the
company's own systems use. Instants are UTC; `loaded_at` is when Drumbeat learned of a row, the business
time columns say when it happened.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

from drumbeat.store.types import Identity, Json, Money, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Identity, primary_key=True, autoincrement=True)


def _customer(*, nullable: bool = False) -> Column[int]:
    return Column("customer_id", BigInteger, ForeignKey("customers.id"), nullable=nullable)


customers = Table(
    "customers",
    metadata,
    _id(),
    Column("external_id", Text, nullable=False, unique=True),
    # The person behind one or several customer rows with the same mailbox: what the cap counts by.
    # Filled by ingest.people.assign(); NULL only between an insert and that call.
    Column("person_id", BigInteger),
    Column("email", Text),
    # The address in the one form that suppressions and people are matched by: see ingest.people.email_key.
    Column("email_key", Text),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("country", Text),
    Column("city", Text),
    Column("language", Text),
    Column("time_zone", Text),
    Column("birth_date", Date),
    Column("created_at", UtcDateTime),
    # A member of our own staff who gets copies; reports can leave them out.
    Column("seed", Boolean, nullable=False, server_default=false()),
    Column("attributes", Json, nullable=False, server_default=text("'{}'")),
    Column("loaded_at", UtcDateTime, nullable=False),
    Index(None, "person_id"),
    Index(None, "email_key"),
    Index(None, "birth_date"),
    # The anniversary of created_at: 0.03 s with it, 3 s without (200k customers, SQLite).
    Index(None, "created_at"),
)

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

suppressions = Table(
    "suppressions",
    metadata,
    _id(),
    Column("email_key", Text, nullable=False),
    # '' is every topic; service mail is stopped only by reasons that say the address is dead.
    Column("topic", Text, nullable=False, server_default=text("''")),
    # unsubscribed · complained · bounced · manual
    Column("reason", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("source", Text),
    UniqueConstraint("email_key", "topic"),
)

products = Table(
    "products",
    metadata,
    _id(),
    Column("external_id", Text, nullable=False, unique=True),
    Column("title", Text),
    Column("price", Money),
    Column("url", Text),
    Column("image_url", Text),
    Column("attributes", Json, nullable=False, server_default=text("'{}'")),
    Column("loaded_at", UtcDateTime, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    _id(),
    Column("external_id", Text, nullable=False, unique=True),
    _customer(),
    Column("ordered_at", UtcDateTime, nullable=False),
    # placed · cancelled
    Column("status", Text, nullable=False, server_default=text("'placed'")),
    Column("total", Money, nullable=False),
    Column("currency", Text),
    Column("loaded_at", UtcDateTime, nullable=False),
    Index(
        "ix_orders_customer_id_ordered_at",
        "customer_id",
        "ordered_at",
        postgresql_include=["total", "status"],
    ),
    Index("ix_orders_ordered_at", "ordered_at", postgresql_include=["customer_id"]),
)

order_items = Table(
    "order_items",
    metadata,
    _id(),
    Column("order_id", BigInteger, ForeignKey("orders.id"), nullable=False),
    Column("line", Integer, nullable=False),
    # The product's external id as the order named it; the products table may not know it.
    Column("product", Text),
    Column("title", Text),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", Money, nullable=False),
    UniqueConstraint("order_id", "line"),
)

carts = Table(
    "carts",
    metadata,
    _id(),
    Column("external_id", Text, nullable=False, unique=True),
    _customer(),
    # Counts the changes of the cart: a changed cart is a new occasion.
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("total", Money, nullable=False),
    Column("currency", Text),
    Column("url", Text),
    Column("loaded_at", UtcDateTime, nullable=False),
    Index("ix_carts_updated_at", "updated_at", postgresql_include=["customer_id", "version"]),
    Index(None, "customer_id"),
)

cart_items = Table(
    "cart_items",
    metadata,
    _id(),
    Column("cart_id", BigInteger, ForeignKey("carts.id"), nullable=False),
    Column("line", Integer, nullable=False),
    Column("product", Text),
    Column("title", Text),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", Money, nullable=False),
    UniqueConstraint("cart_id", "line"),
)

coupons = Table(
    "coupons",
    metadata,
    _id(),
    Column("external_id", Text, nullable=False, unique=True),
    _customer(),
    Column("title", Text),
    Column("value", Money),
    Column("currency", Text),
    Column("starts_at", UtcDateTime),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("redeemed_at", UtcDateTime),
    Column("loaded_at", UtcDateTime, nullable=False),
    Index(
        "ix_coupons_open_expires_at",
        "expires_at",
        postgresql_include=["customer_id"],
        postgresql_where=text("redeemed_at IS NULL"),
        sqlite_where=text("redeemed_at IS NULL"),
    ),
    Index(None, "customer_id"),
)

events = Table(
    "events",
    metadata,
    _id(),
    Column("external_id", Text, unique=True),
    _customer(),
    Column("name", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("properties", Json, nullable=False, server_default=text("'{}'")),
    Column("loaded_at", UtcDateTime, nullable=False),
    Index("ix_events_customer_id_name_at", "customer_id", "name", "at"),
    Index("ix_events_name_at", "name", "at"),
)

# One row a customer with at least one order that stands; kept by ingest.stats.refresh(). The anniversary
# of the first order takes 0.04 s from here and 10.7 s from the orders (1M customers, PostgreSQL).
customer_stats = Table(
    "customer_stats",
    metadata,
    Column("customer_id", BigInteger, ForeignKey("customers.id"), primary_key=True),
    Column("orders", Integer, nullable=False),
    Column("total", Money, nullable=False),
    Column("first_order_at", UtcDateTime, nullable=False),
    Column("last_order_at", UtcDateTime, nullable=False),
    Index(None, "first_order_at"),
    Index(None, "last_order_at"),
)

runs = Table(
    "runs",
    metadata,
    _id(),
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
    _id(),
    Column("run_id", BigInteger, ForeignKey("runs.id"), nullable=False),
    Column("campaign", Text, nullable=False),
    Column("step", Text, nullable=False, server_default=text("'mail'")),
    _customer(),
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
)

# What happened to a message after it was planned; append-only.
message_events = Table(
    "message_events",
    metadata,
    _id(),
    Column("message_id", BigInteger, ForeignKey("messages.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False),
    Column("detail", Text),
    Index(None, "message_id"),
)

responses = Table(
    "responses",
    metadata,
    _id(),
    # Makes storing idempotent: the same fact told twice is one row.
    Column("dedupe_key", Text, nullable=False, unique=True),
    Column("message_id", BigInteger, ForeignKey("messages.id"), nullable=False),
    # delivered · opened · clicked · bounced · complained · unsubscribed: responses.kinds
    Column("kind", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # human · machine · unknown
    Column("class", Text, nullable=False, server_default=text("'unknown'")),
    Column("url", Text),
    Column("raw", Json),
    Column("loaded_at", UtcDateTime, nullable=False),
    Index("ix_responses_message_id_kind", "message_id", "kind"),
)
