"""abandoned_cart: someone filled a cart, went away, and did not buy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from drumbeat.clock import format_duration
from drumbeat.triggers import Duration, Finding, Moment, Subject, Trigger, sa, sql_time, tables

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select


class AbandonedCart(Trigger):
    """A cart that was left alone and not bought.

        trigger:
          abandoned_cart: {idle_for: 4h, within: 3d, min_total: 20, min_items: 1}

    Due once nobody has touched the cart for `idle_for`, and over at `within` after the last change.
    Left out are carts whose customer placed an order at or after the last change (a cancelled order is no
    purchase), empty ones, ones under `min_total` (in the cart's own currency) or under `min_items` pieces,
    and all but the customer's newest cart with something in it: two carts are one mail.

    Occasion: `cart:<cart>:v<version>`, so a cart that was changed may be reminded of again.
    Subject: the cart. In the template: `cart` (id, total, currency, url, updated_at), `items` (title,
    quantity, unit_price, line_total, product, product_url, image_url), and `total`, `currency`, `url` of the
    cart. Amounts are exact decimals; what the shop did not say is None.
    """

    kind: ClassVar[str] = "abandoned_cart"
    gives: ClassVar[tuple[str, ...] | None] = ("cart", "items", "total", "currency", "url")

    idle_for: Duration = Field(timedelta(hours=4), description="How long nobody has touched the cart")
    within: Duration = Field(
        timedelta(days=3), description="How long after the last change a mail still makes sense"
    )
    min_total: Decimal = Field(Decimal(0), ge=0, description="Smallest total, in the cart's currency")
    min_items: int = Field(1, ge=1, description="Fewest pieces in the cart")

    @model_validator(mode="after")
    def _some_time_is_left(self) -> AbandonedCart:
        if self.idle_for >= self.within:
            raise ValueError("idle_for must be shorter than within, or no cart is ever due")
        return self

    def select(self, moment: Moment) -> Select[Any]:
        """Return the newest idle cart of each customer who has not bought since."""
        carts = tables.carts
        # A range on the indexed column itself: the spans are taken off `as_of`, not added to each row.
        return sa.select(
            carts.c.customer_id,
            (sa.literal("cart:") + carts.c.external_id + ":v" + sa.cast(carts.c.version, sa.Text)).label(
                "occasion"
            ),
            carts.c.id.label("subject_id"),
            sql_time.shifted(carts.c.updated_at, self.idle_for).label("due_at"),
            sql_time.shifted(carts.c.updated_at, self.within).label("expires_at"),
        ).where(
            carts.c.updated_at > moment.as_of - self.within,
            carts.c.updated_at <= moment.as_of - self.idle_for,
            carts.c.total >= self.min_total,
            _holds(carts, self.min_items),
            ~_bought_since(moment),
            ~_newer_cart(moment),
        )

    def context(
        self, connection: Connection, subjects: Sequence[Subject], moment: Moment | None = None
    ) -> dict[Subject, dict[str, Any]]:
        """Return each subject's cart as it is now, with its items. A cart that is gone has nothing to say."""
        del moment
        ids = {subject.subject_id for subject in subjects}
        carts = tables.carts
        found = connection.execute(
            sa.select(
                carts.c.id.label("key"),
                carts.c.external_id.label("id"),
                carts.c.total,
                carts.c.currency,
                carts.c.url,
                carts.c.updated_at,
            ).where(carts.c.id.in_(ids))
        )
        by_id = {row.key: {k: v for k, v in row._mapping.items() if k != "key"} for row in found}
        items = _items(connection, ids)
        return {
            subject: {
                "cart": cart,
                "items": items.get(subject.subject_id, []),
                **{key: cart[key] for key in ("total", "currency", "url")},
            }
            if (cart := by_id.get(subject.subject_id))
            else {}
            for subject in subjects
        }

    def findings(self, connection: Connection, customer_id: int, moment: Moment) -> list[Finding]:
        """Return what each clause found in the customer's newest cart that is not empty."""
        carts = tables.carts
        cart = connection.execute(
            sa.select(
                carts, _holds(carts, self.min_items).label("holds"), _bought_since(moment).label("bought")
            )
            .where(carts.c.customer_id == customer_id, carts.c.updated_at <= moment.as_of, _holds(carts, 1))
            .order_by(carts.c.updated_at.desc(), carts.c.id.desc())
            .limit(1)
        ).first()
        if cart is None:
            return [Finding("a cart with something in it", met=False)]
        age = moment.as_of - cart.updated_at
        last = f"cart {cart.external_id} was changed {cart.updated_at:%Y-%m-%d %H:%M} UTC"
        return [
            Finding(f"idle for {format_duration(self.idle_for)} ({last})", met=age >= self.idle_for),
            Finding(f"changed within {format_duration(self.within)} ({last})", met=age < self.within),
            Finding(
                f"total at least {self.min_total} (found: {cart.total:f})", met=cart.total >= self.min_total
            ),
            Finding(f"at least {self.min_items} pieces", met=cart.holds),
            Finding("not bought since", met=not cart.bought),
        ]


def _holds(carts: Any, pieces: int) -> ColumnElement[bool]:
    """The cart holds at least so many pieces."""
    items = tables.cart_items
    if pieces == 1:  # the common case stops at the first row
        return sa.exists().where(items.c.cart_id == carts.c.id, items.c.quantity > 0)
    counted = sa.select(sa.func.coalesce(sa.func.sum(items.c.quantity), 0)).where(
        items.c.cart_id == carts.c.id
    )
    return counted.scalar_subquery() >= pieces


def _bought_since(moment: Moment) -> ColumnElement[bool]:
    """The customer placed an order at or after the cart's last change."""
    orders = tables.orders
    return sa.exists().where(
        orders.c.customer_id == tables.carts.c.customer_id,
        orders.c.ordered_at >= tables.carts.c.updated_at,
        orders.c.ordered_at <= moment.as_of,
        orders.c.status == "placed",
    )


def _newer_cart(moment: Moment) -> ColumnElement[bool]:
    """The customer has filled another cart later, be it idle yet or not."""
    cart, newer = tables.carts, tables.carts.alias("newer")
    return sa.exists().where(
        newer.c.customer_id == cart.c.customer_id,
        newer.c.updated_at <= moment.as_of,
        sa.or_(
            newer.c.updated_at > cart.c.updated_at,
            sa.and_(newer.c.updated_at == cart.c.updated_at, newer.c.id > cart.c.id),
        ),
        _holds(newer, 1),
    )


def _items(connection: Connection, cart_ids: set[int | None]) -> dict[int | None, list[dict[str, Any]]]:
    """Return the lines of the carts, in their order."""
    lines, products = tables.cart_items, tables.products
    found = connection.execute(
        sa.select(
            lines.c.cart_id,
            lines.c.product,
            sa.func.coalesce(lines.c.title, products.c.title, lines.c.product, "").label("title"),
            lines.c.quantity,
            lines.c.unit_price,
            products.c.url.label("product_url"),
            products.c.image_url,
        )
        .select_from(lines.outerjoin(products, products.c.external_id == lines.c.product))
        .where(lines.c.cart_id.in_(cart_ids), lines.c.quantity > 0)
        .order_by(lines.c.cart_id, lines.c.line)
    )
    items: dict[int | None, list[dict[str, Any]]] = {}
    for row in found:
        item = {key: value for key, value in row._mapping.items() if key != "cart_id"}
        item["line_total"] = row.quantity * row.unit_price
        items.setdefault(row.cart_id, []).append(item)
    return items
