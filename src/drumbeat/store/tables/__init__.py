"""The tables. Every column is said once, here; migrations are checked against this package.

Ids are plain integers (a UUIDv4 key costs 2.3 times the insert time); `external_id` is the name that the
company's own systems use. Instants are UTC; `loaded_at` is when Drumbeat learned of a row, the business
time columns say when it happened.
"""

from drumbeat.store.tables.base import metadata
from drumbeat.store.tables.ledger import message_events, messages, outbox, runs, tasks
from drumbeat.store.tables.limits import slots, throttles
from drumbeat.store.tables.readers import (
    audit,
    consent_events,
    consents,
    erased_addresses,
    opt_ins,
    preferences,
    suppressions,
)
from drumbeat.store.tables.responses import inbox, responses
from drumbeat.store.tables.shop import (
    cart_items,
    carts,
    coupons,
    customer_stats,
    customers,
    events,
    order_items,
    orders,
    products,
)

__all__ = [
    "audit",
    "cart_items",
    "carts",
    "consent_events",
    "consents",
    "coupons",
    "customer_stats",
    "customers",
    "erased_addresses",
    "events",
    "inbox",
    "message_events",
    "messages",
    "metadata",
    "opt_ins",
    "order_items",
    "orders",
    "outbox",
    "preferences",
    "products",
    "responses",
    "runs",
    "slots",
    "suppressions",
    "tasks",
    "throttles",
]
