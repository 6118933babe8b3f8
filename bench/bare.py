"""The decisions of the three campaigns as SQL written by hand, for the bench's project and nothing else.

What a good engineer would write who knows the data: every figure of the YAML is a literal here, checks that
cannot matter for these campaigns are left out, and nothing is asked of the database that the script knows
(the zones, say). The shapes are those that were the fastest of several on each database.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bench.setting import AS_OF, CAMPAIGNS, HOME_ZONE, ZONES, Raw, Words

DAY = timedelta(days=1)
FIRST_YEAR = 2000
"""No order of the shop is older."""


def plan(raw: Raw) -> dict[str, int]:
    """Decide, write messages and outbox, commit; return how many messages there are by campaign and state."""
    w = raw.words
    raw.begin()
    if raw.postgresql:
        raw.run("SELECT pg_advisory_xact_lock(4711)")
    now = w.at(AS_OF)
    run_id = raw.run(
        f"INSERT INTO runs (kind, as_of, started_at) VALUES ('plan', {now}, {now}) RETURNING id"
    )[0][0]
    raw.run(
        f"UPDATE messages SET state = 'expired', reason = 'capped' WHERE campaign IN {CAMPAIGNS}"
        f" AND state = 'deferred' AND expires_at <= {now}"
    )
    steps = (
        ("abandoned_cart", 80, _carts(w), timedelta(days=2)),
        ("expiring_promo", 70, _coupons(w), timedelta(days=1)),
        ("anniversary", 60, _anniversaries(w), None),
    )
    for campaign, priority, candidates, patience in steps:
        raw.run(_insert(w, run_id, campaign, priority, candidates, patience))
        raw.run(
            "INSERT INTO outbox (message_id, due_at, priority) SELECT id, due_at, priority FROM messages"
            f" WHERE run_id = {run_id} AND campaign = '{campaign}' AND state = 'planned'"
        )
    found = raw.run(
        f"SELECT campaign, state, count(*) FROM messages WHERE campaign IN {CAMPAIGNS} AND run_id = {run_id}"
        " GROUP BY campaign, state"
    )
    raw.run("COMMIT")
    return {f"{campaign} {state}": number for campaign, state, number in found}


def _insert(
    w: Words, run_id: int, campaign: str, priority: int, candidates: str, patience: timedelta | None
) -> str:
    """The cap over the candidates' history, each candidate's place in line, and the INSERT."""
    now, week_ago = w.at(AS_OF), w.at(AS_OF - timedelta(hours=168))
    over = "refusal IS NULL AND used + place > 4"
    when_capped, until = "skipped", "expires_at"
    if patience is not None:
        when_capped = "deferred"
        until = f"CASE WHEN {over} THEN {w.least('expires_at', w.at(AS_OF + patience))} ELSE expires_at END"
    return f"""
        INSERT INTO messages (run_id, campaign, step, customer_id, occasion, subject_id, sender, kind, topic,
            template, priority, obeys_cap, counts_toward_cap, state, reason, planned_at, due_at, expires_at)
        WITH {candidates},
        ranked AS (
            SELECT candidate.*,
                CASE WHEN refusal IS NULL THEN (
                    SELECT count(*) FROM customers u JOIN messages m ON m.customer_id = u.id
                    WHERE u.person_id = candidate.person_id AND m.sender = 'shop' AND m.counts_toward_cap
                        AND (m.state IN ('planned', 'handing_over')
                            OR m.state IN ('sent', 'uncertain') AND m.sent_at > {week_ago})
                ) END AS used,
                row_number() OVER (
                    PARTITION BY person_id, refusal IS NULL ORDER BY due_at, occasion, customer_id) AS place
            FROM candidate
        )
        SELECT {run_id}, '{campaign}', 'mail', customer_id, occasion, subject_id, 'shop', 'marketing', 'offers',
            '{campaign}', {priority}, true, true,
            CASE WHEN {over} THEN '{when_capped}' WHEN refusal IS NULL THEN 'planned' ELSE 'skipped' END,
            CASE WHEN {over} THEN 'capped' ELSE refusal END,
            {now}, send_at, {until}
        FROM ranked
        WHERE true
        ON CONFLICT (campaign, step, customer_id, occasion) DO UPDATE SET run_id = excluded.run_id,
            subject_id = excluded.subject_id, priority = excluded.priority, state = excluded.state,
            reason = excluded.reason, planned_at = excluded.planned_at, due_at = excluded.due_at,
            expires_at = excluded.expires_at
        WHERE messages.state = 'deferred' AND excluded.state <> 'deferred'
    """


def _carts(w: Words) -> str:
    occasion = "'cart:' || c.external_id || ':v' || CAST(c.version AS TEXT)"
    left = w.moved("c.updated_at", timedelta(days=3))
    return f"""candidate AS MATERIALIZED (
        SELECT c.customer_id, u.person_id, {occasion} AS occasion, c.id AS subject_id,
            {w.moved("c.updated_at", timedelta(hours=4))} AS due_at, {left} AS expires_at,
            {_opening(w, time(9), time(20))} AS send_at, {_refusal(w, left, time(9), time(20))} AS refusal
        FROM carts c JOIN customers u ON u.id = c.customer_id
        WHERE c.updated_at > {w.at(AS_OF - timedelta(days=3))}
            AND c.updated_at <= {w.at(AS_OF - timedelta(hours=4))}
            AND c.total >= 200000
            AND {_reachable(w)}
            AND EXISTS (SELECT 1 FROM cart_items i WHERE i.cart_id = c.id AND i.quantity > 0)
            AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id
                AND o.ordered_at >= c.updated_at AND o.ordered_at <= {w.at(AS_OF)} AND o.status = 'placed')
            AND NOT EXISTS (SELECT 1 FROM carts d WHERE d.customer_id = c.customer_id
                AND d.updated_at <= {w.at(AS_OF)}
                AND (d.updated_at > c.updated_at OR d.updated_at = c.updated_at AND d.id > c.id)
                AND EXISTS (SELECT 1 FROM cart_items i WHERE i.cart_id = d.id AND i.quantity > 0))
            AND {_fresh("abandoned_cart", "c.customer_id", occasion)}
    )"""


def _coupons(w: Words) -> str:
    occasion = "'coupon:' || c.external_id"
    due = w.moved("c.expires_at", -timedelta(days=3))
    return f"""candidate AS MATERIALIZED (
        SELECT c.customer_id, u.person_id, {occasion} AS occasion, c.id AS subject_id,
            CASE WHEN c.starts_at > {due} THEN c.starts_at ELSE {due} END AS due_at, c.expires_at,
            {_opening(w, time(9), time(20))} AS send_at,
            {_refusal(w, "c.expires_at", time(9), time(20))} AS refusal
        FROM coupons c JOIN customers u ON u.id = c.customer_id
        WHERE c.redeemed_at IS NULL
            AND c.expires_at > {w.at(AS_OF)} AND c.expires_at <= {w.at(AS_OF + timedelta(days=3))}
            AND (c.starts_at IS NULL OR c.starts_at <= {w.at(AS_OF)} AND c.starts_at < c.expires_at)
            AND {_reachable(w)} AND {_engaged(w)}
            AND {_fresh("expiring_promo", "c.customer_id", occasion)}
    )"""


def _anniversaries(w: Words) -> str:
    """Rough bounds on the indexed instant, one a year, then the local day of the customer's own zone and year.

    The bounds are literals: joined from a list, PostgreSQL read all customers and took 31 s for a million.
    """
    occasion = "'anniversary:2026'"
    middays = [
        datetime(year, AS_OF.month, AS_OF.day, 12, tzinfo=UTC) for year in range(FIRST_YEAR, AS_OF.year)
    ]
    around = " OR ".join(
        f"s.first_order_at >= {w.at(midday - 1.5 * DAY)} AND s.first_order_at < {w.at(midday + 1.5 * DAY)}"
        for midday in middays
    )
    return f"""local_day(zone, year, opens, closes, due_at, expires_at) AS (VALUES {", ".join(_local_days(w))}),
    candidate AS MATERIALIZED (
        SELECT s.customer_id, u.person_id, {occasion} AS occasion, d.year * 10000 + 615 AS subject_id,
            d.due_at, d.expires_at, {_opening(w, time(8), time(21))} AS send_at,
            {_refusal(w, "d.expires_at", time(8), time(21))} AS refusal
        FROM customer_stats s
        JOIN customers u ON u.id = s.customer_id
        JOIN local_day d ON d.zone = coalesce(u.time_zone, '{HOME_ZONE}')
            AND s.first_order_at >= d.opens AND s.first_order_at < d.closes
        WHERE ({around}) AND {_reachable(w)} AND d.expires_at > {w.at(AS_OF)}
            AND {_fresh("anniversary", "s.customer_id", occasion)}
    )"""


def _local_days(w: Words) -> Iterator[str]:
    for name in sorted(ZONES.values()):
        zone = ZoneInfo(name)
        today = AS_OF.astimezone(zone).date()
        for year in range(FIRST_YEAR, today.year):
            bounds = [
                datetime.combine(today.replace(year=year) + d, time(), zone) for d in (timedelta(), DAY)
            ]
            bounds += [datetime.combine(today + d, time(), zone) for d in (timedelta(), DAY)]
            yield f"('{name}', {year}, {', '.join(w.at(b) for b in bounds)})"


def _reachable(w: Words) -> str:
    staff = "coalesce(u.attributes -> 'staff' = 'true'::jsonb, false)"
    if not w.postgresql:
        staff = "coalesce(json_extract(u.attributes, '$.staff') = 1, false)"
    return f"""u.country IN ('GB', 'DE', 'RU', 'US', 'JP') AND NOT {staff}
        AND EXISTS (SELECT 1 FROM consents k WHERE k.customer_id = u.id AND k.topic = 'offers' AND k.granted
            AND k.at <= {w.at(AS_OF)})
        AND EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = u.id AND o.status = 'placed'
            AND o.ordered_at > {w.at(AS_OF - timedelta(days=365))} AND o.ordered_at <= {w.at(AS_OF)})"""


def _engaged(w: Words) -> str:
    gold = "u.attributes ->> 'loyalty_tier' = 'gold'"
    return f"""({gold}
        OR (SELECT sum(o.total) FROM orders o WHERE o.customer_id = u.id AND o.status = 'placed'
            AND o.ordered_at > {w.at(AS_OF - timedelta(days=365))} AND o.ordered_at <= {w.at(AS_OF)}) >= 5000000
        OR (SELECT count(*) FROM events e WHERE e.customer_id = u.id AND e.name = 'product_viewed'
            AND e.at > {w.at(AS_OF - timedelta(days=90))} AND e.at <= {w.at(AS_OF)}) >= 3)"""


def _fresh(campaign: str, customer: str, occasion: str) -> str:
    return (
        f"NOT EXISTS (SELECT 1 FROM messages m WHERE m.campaign = '{campaign}' AND m.step = 'mail'"
        f" AND m.customer_id = {customer} AND m.occasion = {occasion} AND m.state <> 'deferred')"
    )


def _refusal(w: Words, expires_at: str, opens: time, closes: time) -> str:
    """Why not; that consent to `offers` was given is part of the segment already."""
    return f"""CASE WHEN u.email_key IS NULL THEN 'no_address'
        WHEN EXISTS (SELECT 1 FROM suppressions x WHERE x.email_key = u.email_key AND x.topic IN ('', 'offers'))
            THEN 'suppressed'
        WHEN {expires_at} <= {_opening(w, opens, closes)} THEN 'too_late' END"""


def _opening(w: Words, opens: time, closes: time) -> str:
    """The first open instant in the customer's zone: now for most."""
    later: dict[datetime, list[str]] = {}
    for name in sorted(set(ZONES.values())):
        local = AS_OF.astimezone(ZoneInfo(name))
        if opens <= local.time() < closes:
            continue
        day: date = local.date() if local.time() < opens else local.date() + DAY
        later.setdefault(datetime.combine(day, opens, ZoneInfo(name)), []).append(f"'{name}'")
    branches = " ".join(f"WHEN u.time_zone IN ({', '.join(z)}) THEN {w.at(at)}" for at, z in later.items())
    return f"CASE {branches} ELSE {w.at(AS_OF)} END" if branches else w.at(AS_OF)
