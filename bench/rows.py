"""The made-up rows, as SQL expressions over the number `n` of a customer: plain arithmetic, no chance.

Every customer has 5 orders, 10 events, a cart with 2 lines, 2 coupons and 8 mails of history, and rows of
every kind follow each other by customer number once for each of the five, ten, ...: as in a real shop, one
customer's rows do not lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from bench.setting import FIRST_RUN, ZONES, Words

DAY = 86_400
Row = dict[str, str]


def statements(w: Words, count: int) -> Iterator[tuple[str, Row]]:
    """Yield (table, expression by column) in the order in which the tables are to be filled."""
    loaded = w.after("-3600")
    yield "customers", _customer(w) | {"loaded_at": loaded}
    for topic in ("offers", "news"):
        yield (
            "consents",
            {
                "customer_id": "n",
                "topic": f"'{topic}'",
                "granted": "n % 10 <> 9",
                "at": w.after("-" + _spread("consent", 900 * DAY)),
                "loaded_at": loaded,
            },
        )
    yield (
        "suppressions",
        {
            "email_key": f"CASE WHEN n % 50 = 13 THEN {_email()} ELSE 'gone' || n || '@shop.example' END",
            "topic": "''",
            "reason": "'unsubscribed'",
            "at": loaded,
        },
    )
    for k in range(5):
        yield "orders", _order(w, k, k * count) | {"loaded_at": loaded}
    yield "carts", _cart(w) | {"loaded_at": loaded}
    for line in range(2):
        yield (
            "cart_items",
            {
                "id": f"{line * count} + n",
                "cart_id": "n",
                "line": str(line + 1),
                "product": "'p' || n % 3000",
                "title": "'Thing ' || n % 3000",
                "quantity": "CASE WHEN n % 40 = 0 THEN 0 ELSE 1 + n % 4 END",
                "unit_price": "10000 + n % 90000",
            },
        )
    for k in range(2):
        yield "coupons", _coupon(w, k, k * count) | {"loaded_at": loaded}
    for k in range(10):
        yield (
            "events",
            {
                "id": f"{k * count} + n",
                "customer_id": "n",
                "name": _pick(["product_viewed"] * 3 + ["searched", "signed_in"], f"(n + {k}) % 5"),
                "at": w.after("-" + _spread(f"event {k}", 365 * DAY)),
                "properties": w.json("'{}'"),
                "loaded_at": loaded,
            },
        )
    yield "runs", {"id": f"n + {FIRST_RUN - 1}", "kind": "'plan'", "as_of": loaded, "started_at": loaded}
    for k in range(8):
        yield "messages", _message(w, k, k * count)
    yield "outbox", {"message_id": f"{3 * count} + n", "due_at": loaded, "priority": "20"}


def only(table: str) -> str:
    """Return which `n` a table has rows for."""
    return {"outbox": f"WHERE {_WAITING[3]}", "runs": "WHERE n = 1"}.get(table, "")


def _spread(key: str, span: int) -> str:
    """An evenly spread number from 0 to below `span`, another for each key."""
    factor = int.from_bytes(blake2b(key.encode(), digest_size=4).digest()) | 1
    return f"((n * {factor} % 4294967296) * {span} / 4294967296)"


def _pick(values: list[str], number: str) -> str:
    branches = " ".join(f"WHEN {i} THEN '{value}'" for i, value in enumerate(values))
    return f"CASE {number} {branches} END"


# Every fiftieth customer shares the mailbox of the one before: one person with two rows.
_PERSON = "CASE WHEN n % 50 = 7 THEN n - 1 ELSE n END"


def _email() -> str:
    return f"'c' || CAST(100000000 + {_PERSON} AS TEXT) || '@shop.example'"


def _customer(w: Words) -> Row:
    # Three in ten from Britain, two from Germany, and so on.
    countries = ["GB", "GB", "GB", "DE", "DE", "RU", "US", "FR", "JP", "AU"]
    zones = [ZONES[country] for country in countries]
    attributes = (
        'CASE WHEN n % 500 = 3 THEN \'{"staff": true}\' WHEN n % 20 = 4 THEN \'{"loyalty_tier": "gold"}\''
        ' ELSE \'{"loyalty_tier": "blue"}\' END'
    )
    return {
        "id": "n",
        "external_id": "'c' || CAST(100000000 + n AS TEXT)",
        "person_id": _PERSON,
        "email": _email(),
        "email_key": _email(),
        "first_name": "'Name' || n",
        "last_name": "'Family' || n % 5000",
        "country": _pick(countries, "n % 10"),
        "language": "'en'",
        "time_zone": f"CASE WHEN n % 97 <> 0 THEN {_pick(zones, 'n % 10')} END",
        "birth_date": w.day(_spread("birth", 20_000)),
        "created_at": w.after("-" + _spread("created", 1_500 * DAY)),
        "seed": "n % 5000 = 0",
        "attributes": w.json(attributes),
    }


def _order(w: Words, k: int, start: int) -> Row:
    return {
        "id": f"{start} + n",
        "external_id": f"'o' || CAST({1_000_000_000 + start} + n AS TEXT)",
        "customer_id": "n",
        "ordered_at": w.after("-" + _spread(f"order {k}", 1_095 * DAY)),
        "status": f"CASE WHEN {_spread(f'status {k}', 20)} = 0 THEN 'cancelled' ELSE 'placed' END",
        "total": f"50000 + {_spread(f'total {k}', 4_000_000)}",
        "currency": "'GBP'",
    }


def _cart_id() -> str:
    return "CAST(2000000000 + n AS TEXT)"


def _cart(w: Words) -> Row:
    return {
        "id": "n",
        "external_id": _cart_id(),
        "customer_id": "n",
        "version": "1 + n % 3",
        "updated_at": w.after("-" + _spread("cart", 90 * DAY)),
        "total": _spread("worth", 2_000_000),
        "currency": "'GBP'",
        "url": "'https://shop.example/cart/' || n",
    }


def _coupon(w: Words, k: int, start: int) -> Row:
    until = f"{_spread(f'coupon {k}', 180 * DAY)} - {60 * DAY}"
    redeemed = w.after(f"{until} - {20 * DAY}")
    return {
        "id": f"{start} + n",
        "external_id": f"CAST({3_000_000_000 + start} + n AS TEXT)",
        "customer_id": "n",
        "title": "'Ten off'",
        "value": "100000",
        "currency": "'GBP'",
        "starts_at": w.after(f"{until} - {30 * DAY}"),
        "expires_at": w.after(until),
        "redeemed_at": f"CASE WHEN {_spread(f'redeemed {k}', 2)} = 0 THEN {redeemed} END",
    }


_CAMPAIGNS = ("abandoned_cart", "expiring_promo", "anniversary")
_DEFERRED = "n % 40 = 20"
_WAITING = {0: _DEFERRED, 3: "n % 30 = 1"}
"""Which of the mails, by place in the history, were not sent yet: kept back by the cap, or in the outbox."""


def _message(w: Words, k: int, start: int) -> Row:
    """One mail of the history: about one a week; for two eighths of the customers five and three of late.

    The first three are of the bench's own campaigns, a part of them about the very cart or coupon that is
    due now: those occasions are settled.
    """
    campaign = _CAMPAIGNS[k] if k < 3 else "newsletter"
    occasion = {
        0: f"'cart:' || {_cart_id()} || ':v' || CASE WHEN n % 4 = 0 THEN 1 + n % 3 ELSE 0 END",
        1: "'coupon:' || CASE WHEN n % 5 = 0 THEN CAST(3000000000 + n AS TEXT) ELSE 'old' || n END",
        2: "CASE WHEN n % 25 = 0 THEN 'anniversary:2026' ELSE 'anniversary:2025' END",
    }.get(k, f"'schedule:2026-0{k}-01'")
    state = "CASE WHEN n % 100 = 0 THEN 'refused' WHEN n % 1000 = 1 THEN 'uncertain' ELSE 'sent' END"
    if k in _WAITING:
        state = f"CASE WHEN {_WAITING[k]} THEN '{'deferred' if k == 0 else 'planned'}' ELSE {state} END"
    weekly, recent = f"{k * 7 * DAY} + {_spread(f'sent {k}', 7 * DAY)}", _spread(f"sent {k}", 8 * DAY)
    busy = f"n % 8 = 5 AND {k} < 5 OR n % 8 = 1 AND {k} < 3"
    sent = w.after(f"- (CASE WHEN {busy} THEN {recent} ELSE {weekly} END)")
    return {
        "id": f"{start} + n",
        "run_id": str(FIRST_RUN),
        "campaign": f"'{campaign}'",
        "step": "'mail'",
        "customer_id": "n",
        "occasion": occasion,
        "subject_id": "n" if k < 3 else "CAST(NULL AS bigint)",
        "sender": "'shop'",
        "kind": "'marketing'",
        "topic": "'offers'",
        "template": f"'{campaign}'",
        "priority": "50",
        "obeys_cap": "n > 0",
        "counts_toward_cap": "n > 0",
        "state": state,
        "reason": f"CASE WHEN {k} = 0 AND {_DEFERRED} THEN 'capped' END",
        "planned_at": sent,
        "due_at": sent,
        "expires_at": w.after("86400"),
        "sent_at": f"CASE WHEN NOT ({_WAITING.get(k, 'n < 0')}) THEN {sent} END",
    }
