"""Attribute orders to mails: a query over the facts, so that another rule gives another answer at any time.

The rule: last touch. An order belongs to the latest mail that went out before it, to the same person, from
a campaign with a goal, and within that campaign's window. An order counts once; a cancelled one never, and
neither does one that a cancellation of the same person and amount takes back later. (Shops that book a
cancellation as an order of its own do that: in Online Retail 80,995 pieces were ordered, and taken back
twelve minutes later under another number.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, exists, func, literal, or_, select, true

from drumbeat.ledger.cap import REACHED
from drumbeat.store.dialect.time import shifted
from drumbeat.store.tables import customers, messages, orders

CANCELLED = "cancelled"
"""The status of an order that does not stand."""


def attributed_orders(
    goals: Mapping[str, timedelta], *, since: datetime | None = None, until: datetime | None = None
) -> Select[Any]:
    """Return the SELECT of the orders that followed a mail, each with that mail.

    Columns: order_id, message_id, campaign, ordered_at, total.
    `goals`: the window of each campaign that has a goal. An order at the instant of the mail did not follow
    it; one exactly at the window's end still did. A mail of uncertain end counts as sent, as everywhere.
    The person, not the customer row, ties order and mail: `customers.person_id`.
    `since`: leave out mails sent before; for the mails after it the answer is the same, as only a later
    mail can take an order away. `until`: leave out orders after it.
    """
    taken_back = orders.alias("cancellation")
    known_by = taken_back.c.ordered_at <= until if until is not None else true()
    reversed_later = exists(
        select(literal(1)).where(
            taken_back.c.customer_id == orders.c.customer_id,
            taken_back.c.status == CANCELLED,
            taken_back.c.total == -orders.c.total,
            taken_back.c.ordered_at >= orders.c.ordered_at,
            known_by,
        )
    )
    reader, buyer = customers.alias("reader"), customers.alias("buyer")
    by_window: dict[timedelta, list[str]] = defaultdict(list)
    for campaign, window in sorted(goals.items()):
        by_window[window].append(campaign)
    within = [
        and_(messages.c.campaign.in_(names), orders.c.ordered_at <= shifted(messages.c.sent_at, window))
        for window, names in by_window.items()
    ]
    last_first = func.row_number().over(
        partition_by=orders.c.id, order_by=(messages.c.sent_at.desc(), messages.c.id.desc())
    )
    touches = (
        select(
            orders.c.id.label("order_id"),
            messages.c.id.label("message_id"),
            messages.c.campaign,
            orders.c.ordered_at,
            orders.c.total,
            last_first.label("place"),
        )
        .select_from(messages)
        .join(reader, reader.c.id == messages.c.customer_id)
        .join(buyer, buyer.c.person_id == reader.c.person_id)
        .join(orders, orders.c.customer_id == buyer.c.id)
        .where(
            messages.c.campaign.in_(list(goals)),
            messages.c.state.in_(REACHED),
            orders.c.ordered_at > messages.c.sent_at,
            or_(*within) if within else messages.c.id.is_(None),
            orders.c.status != CANCELLED,
            ~reversed_later,
        )
    )
    if since is not None:
        touches = touches.where(messages.c.sent_at >= since)
    if until is not None:
        touches = touches.where(orders.c.ordered_at <= until)
    ranked = touches.subquery("touches")
    return select(
        ranked.c.order_id, ranked.c.message_id, ranked.c.campaign, ranked.c.ordered_at, ranked.c.total
    ).where(ranked.c.place == 1)
