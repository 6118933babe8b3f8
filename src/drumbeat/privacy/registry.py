"""What every column of every table holds of a person, and what becomes of it: written by hand, read by all of privacy.

A test goes over the tables' own columns: one that is missing here, or stands here twice, fails it. So whoever adds a
column has to say whether it is part of an export and what an erasure makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from sqlalchemy import Table

from drumbeat.store.tables import metadata

NOBODY, NAMED = "nobody", "named"
"""Ways to a person beside a column: none, or by looking for their names in the rows' texts."""


@dataclass(frozen=True)
class Policy:
    """What a table holds, and what an erasure makes of it.

    `by`: the column that leads to the person (`id` of customers, `customer_id`, `message_id`, `email_key`, ...),
    NOBODY or NAMED. `within`: the table whose rows these are parts of, and `part`: what they are called there in an
    export. `delete`: an erasure deletes the rows. Of all other tables every column stands in exactly one list:

    keep    tells nobody who it is: numbers, instants, our own words
    null    becomes NULL
    empty   becomes '' or {}, where NULL is not allowed
    stub    becomes a random name of its own, `erased:...`
    words   stays where nothing in it points to the person, else only the code it begins with
    own     has code of its own in erase.py

    `hidden`: left out of an export, since it is about our own people and not about the customer.
    """

    why: str
    by: str
    within: str | None = None
    part: str | None = None
    delete: bool = False
    keep: str = ""
    null: str = ""
    empty: str = ""
    stub: str = ""
    words: str = ""
    own: str = ""
    hidden: str = ""

    def columns(self, fate: str) -> tuple[str, ...]:
        """Return the columns with a fate: keep, null, empty, stub, words, own or hidden."""
        found: str = getattr(self, fate)
        return tuple(found.split())

    def fates(self) -> Iterator[tuple[str, str]]:
        """Give each column with its fate."""
        for one in fields(self):
            if one.name in ("keep", "null", "empty", "stub", "words", "own"):
                yield from ((column, one.name) for column in self.columns(one.name))


POLICIES: Mapping[str, Policy] = {
    "customers": Policy(
        "who it is",
        by="id",
        stub="external_id",
        null="email email_key first_name last_name country city language time_zone phone telegram_id manager "
        "birth_date created_at",
        empty="attributes",
        keep="id person_id seed loaded_at",
    ),
    "customer_stats": Policy(
        "sums over orders",
        by="customer_id",
        keep="customer_id orders total first_order_at last_order_at",
    ),
    "consents": Policy("what they agree to now: nobody is left to agree", by="customer_id", delete=True),
    "consent_events": Policy(
        "that consent was given or taken back, without what shows by whom",
        by="customer_id",
        null="proof",
        keep="id customer_id topic granted at source loaded_at",
    ),
    "opt_ins": Policy("what they asked for, with its proof", by="customer_id", delete=True),
    "suppressions": Policy(
        "addresses; the keyed hash goes on keeping mail away", by="email_key", delete=True
    ),
    "preferences": Policy("choices of a mailbox", by="email_key", delete=True),
    "orders": Policy(
        "figures; the number by which the shop knows an order would name its buyer",
        by="customer_id",
        stub="external_id",
        keep="id customer_id ordered_at status total currency loaded_at",
    ),
    "order_items": Policy(
        "products, which are nobody's",
        by="order_id",
        within="orders",
        part="items",
        keep="id order_id line product title quantity unit_price",
    ),
    "carts": Policy(
        "as orders; the link leads into somebody's cart",
        by="customer_id",
        stub="external_id",
        null="url",
        keep="id customer_id version updated_at total currency loaded_at",
    ),
    "cart_items": Policy(
        "products, which are nobody's",
        by="cart_id",
        within="carts",
        part="items",
        keep="id cart_id line product title quantity unit_price",
    ),
    "coupons": Policy(
        "the code is one person's, and a title may greet them",
        by="customer_id",
        stub="external_id",
        null="title",
        keep="id customer_id value currency starts_at expires_at redeemed_at loaded_at",
    ),
    "events": Policy(
        "that something happened; its properties may hold anything",
        by="customer_id",
        stub="external_id",
        empty="properties",
        keep="id customer_id name at loaded_at",
    ),
    "messages": Policy(
        "the ledger: every figure is counted from it",
        by="customer_id",
        null="address_key remote_id",
        words="answer",
        own="occasion state reason",
        keep="id run_id campaign step channel customer_id subject_id sender kind topic template priority obeys_cap "
        "counts_toward_cap planned_at due_at expires_at handing_over_at sent_at via",
    ),
    "message_events": Policy(
        "what happened to a message; servers' answers quote addresses",
        by="message_id",
        within="messages",
        part="events",
        words="detail",
        keep="id message_id at state",
    ),
    "outbox": Policy(
        "what waits to be handed over: it is withdrawn",
        by="message_id",
        within="messages",
        part="waiting",
        delete=True,
    ),
    "responses": Policy(
        "what readers and servers told: the kind is a figure, the rest may tell who",
        by="message_id",
        within="messages",
        part="responses",
        null="url email_key",
        own="raw dedupe_key",
        keep="id message_id kind at class bounce reason source loaded_at",
    ),
    "tasks": Policy(
        "what one of us was to do for them",
        by="customer_id",
        empty="title text",
        null="note",
        own="state done_at done_by",
        keep="id message_id customer_id assignee created_at due_at",
        hidden="assignee done_by",
    ),
    "inbox": Policy(
        "calls and mails as they came",
        by=NAMED,
        own="headers body state error",
        keep="id source dedupe_key received_at attempts worked_at",
    ),
    "audit": Policy(
        "what we did to their data",
        by=NAMED,
        own="subject detail",
        keep="id at actor action",
        hidden="actor",
    ),
    "throttles": Policy(
        "limits by server and domain; the last answer may quote an address",
        by=NAMED,
        own="answer",
        keep="key next_at queued_until blocked_until failures days day used",
        hidden="key next_at queued_until blocked_until failures days day used answer",
    ),
    "erased_addresses": Policy(
        "keyed hashes, the reason why mail stays away", by=NOBODY, keep="address_hash at"
    ),
    "products": Policy(
        "what the shop sells",
        by=NOBODY,
        keep="id external_id title price url image_url attributes loaded_at",
    ),
    "runs": Policy("figures of runs", by=NOBODY, keep="id kind as_of started_at finished_at summary"),
    "slots": Policy("connections that workers hold", by=NOBODY, keep="key worker taken until"),
}


def table(name: str) -> Table:
    """Return a table by name."""
    return metadata.tables[name]


def personal() -> list[str]:
    """Return the tables with rows that lead to a person by a column, parents before their parts."""
    return [name for name, policy in POLICIES.items() if policy.by not in (NOBODY, NAMED)]


def parts_of(name: str) -> list[str]:
    """Return the tables whose rows are parts of a table's."""
    return [part for part, policy in POLICIES.items() if policy.within == name]


def exported(name: str) -> list[str]:
    """Return the columns of a table that stand in an export, in the table's order."""
    hidden = POLICIES[name].columns("hidden")
    return [column.name for column in table(name).columns if column.name not in hidden]


TOUCHED = [name for name, policy in POLICIES.items() if policy.by != NOBODY]
"""The tables that an erasure changes: PostgreSQL's VACUUM goes over these."""
