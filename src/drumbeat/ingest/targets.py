"""What can be imported: every target of a mapping's `into:`, its fields, and what makes a row the same row.

A table by hand: to add a target, add it here and give its columns to `store.tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "text", "integer", "amount", "instant", "date", "boolean", "email", "zone", "phone", "chat", "address"
]


@dataclass(frozen=True)
class Field:
    """One value of a target. `ref`: the table whose `external_id` the value names; `one_of`: all it may be."""

    name: str
    kind: Kind = "text"
    required: bool = False
    ref: str | None = None
    default: object = None
    one_of: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """Return the column of the table: a reference is stored as the id of what it names."""
        return f"{self.name}_id" if self.ref else self.name


@dataclass(frozen=True)
class Target:
    """A kind of row that can be imported.

    `key`: columns that make two rows the same row. `document`: the JSON column for columns kept as they
    are. `newest_by`: a row with a smaller value there never replaces one with a greater; words count in
    the order of their field's `one_of`. `whole`: the rows of one such parent are told together: lines
    that are no longer named are removed.
    """

    table: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    document: str | None = None
    newest_by: str | None = None
    whole: str | None = None

    def field(self, name: str) -> Field:
        """Return a field by name."""
        return next(field for field in self.fields if field.name == name)


_EXTERNAL_ID = Field("external_id", required=True)
_CUSTOMER = Field("customer", required=True, ref="customers")
_LINE = (
    Field("product"),
    Field("title"),
    Field("quantity", "integer", required=True),
    Field("unit_price", "amount", required=True),
)

TARGETS: Mapping[str, Target] = {
    "customers": Target(
        "customers",
        ("external_id",),
        (
            _EXTERNAL_ID,
            Field("email", "email"),
            Field("phone", "phone"),
            Field("telegram_id", "chat"),
            Field("manager"),
            Field("first_name"),
            Field("last_name"),
            Field("country"),
            Field("language"),
            Field("time_zone", "zone"),
            Field("birth_date", "date"),
            Field("created_at", "instant"),
            Field("seed", "boolean", default=False),
        ),
        document="attributes",
    ),
    # An old export must not undo a consent that was withdrawn since: the later `at` wins.
    "consents": Target(
        "consents",
        ("customer_id", "topic"),
        (
            _CUSTOMER,
            Field("topic", required=True),
            Field("granted", "boolean", required=True),
            Field("at", "instant", required=True),
            Field("source"),
        ),
        newest_by="at",
    ),
    "suppressions": Target(
        "suppressions",
        ("email_key", "topic"),
        (
            Field("email", "address", required=True),
            Field("topic", default=""),
            # Weakest first: an import must not turn a dead address into a mere unsubscribe.
            Field("reason", default="manual", one_of=("unsubscribed", "manual", "complained", "bounced")),
            Field("at", "instant", required=True),
            Field("source"),
        ),
        newest_by="reason",
    ),
    "products": Target(
        "products",
        ("external_id",),
        (_EXTERNAL_ID, Field("title"), Field("price", "amount"), Field("url"), Field("image_url")),
        document="attributes",
    ),
    "orders": Target(
        "orders",
        ("external_id",),
        (
            _EXTERNAL_ID,
            _CUSTOMER,
            Field("ordered_at", "instant", required=True),
            Field("status", default="placed", one_of=("placed", "cancelled")),
            Field("total", "amount", required=True),
            Field("currency"),
        ),
    ),
    # One row an order line; customers, products and orders come out of the lines: see ingest.orders.
    "order_lines": Target(
        "order_items",
        ("order_id", "line"),
        (
            Field("order", required=True),
            Field("customer", required=True),
            Field("country"),
            Field("ordered_at", "instant", required=True),
            Field("currency"),
            *_LINE,
        ),
        whole="order_id",
    ),
    "carts": Target(
        "carts",
        ("external_id",),
        (
            _EXTERNAL_ID,
            _CUSTOMER,
            Field("version", "integer", default=1),
            Field("updated_at", "instant", required=True),
            Field("total", "amount", required=True),
            Field("currency"),
            Field("url"),
        ),
        newest_by="version",
    ),
    "cart_lines": Target(
        "cart_items",
        ("cart_id", "line"),
        (Field("cart", required=True, ref="carts"), Field("line", "integer", required=True), *_LINE),
        whole="cart_id",
    ),
    "coupons": Target(
        "coupons",
        ("external_id",),
        (
            _EXTERNAL_ID,
            _CUSTOMER,
            Field("title"),
            Field("value", "amount"),
            Field("currency"),
            Field("starts_at", "instant"),
            Field("expires_at", "instant", required=True),
            Field("redeemed_at", "instant"),
        ),
    ),
    # Without an id of its own an event is known by its content, so that a repeated import finds it again.
    "events": Target(
        "events",
        ("external_id",),
        (
            Field("external_id"),
            _CUSTOMER,
            Field("name", required=True),
            Field("at", "instant", required=True),
        ),
        document="properties",
    ),
}
