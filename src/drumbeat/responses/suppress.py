"""Suppress addresses: what a reader's no, or a dead mailbox, does at once.

Mails of that person that still wait are withdrawn when their turn comes: `ledger.handover` looks at
suppressions and consent once more before a mail leaves.

A suppression names a mailbox (`ingest.people.email_key`), a whole domain (`@example.com`), a phone (`tel:+44...`) or
a Telegram chat (`tg:...`): the keys of `ledger.reach.address_key`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, case, delete, or_, select

from drumbeat.errors import UsageError
from drumbeat.issues import nearest
from drumbeat.ledger.reach import MAIL, SMS, TELEGRAM
from drumbeat.responses.consent import Change, asked_since, change, granted_topics
from drumbeat.responses.record import Response, possible, record
from drumbeat.store.dialect.insert import insert
from drumbeat.store.tables import customers, messages, suppressions

STRENGTH: Mapping[str, int] = {"unsubscribed": 1, "manual": 2, "complained": 3, "bounced": 4, "erased": 5}
"""There is one row per address and topic: a stronger reason replaces a weaker one, never the other way.

The three strongest stop service mail too (`ledger.reach.DEAD_ADDRESS`), so an earlier unsubscribe must not
hide a later bounce.
"""

EVERY_TOPIC = ""
"""The topic of a suppression that holds for all of them."""

OWN_CHOICE = ("unsubscribed",)
"""Reasons that a reader can take back; all others are facts, or decisions of the company."""

ASKED_ANEW = (*OWN_CHOICE, "erased")
"""Reasons that a reader takes back by asking for mail and confirming it: who was erased may come back on their own."""

ONLY_TOPIC, EVERYTHING = "topic", "everything"
"""`raw["scope"]` of an unsubscribe: only the mail's topic; all topics of all channels. Without: all of the channel."""


def suppress(
    connection: Connection,
    email_key: str,
    *,
    topic: str = EVERY_TOPIC,
    reason: str,
    at: datetime,
    source: str,
) -> bool:
    """Keep marketing mail of `topic` (default: all) from an address; return whether that changed anything.

    `email_key` is the address as `ingest.people.email_key` writes it, or `@example.com` for all of a domain.
    `reason`: one of STRENGTH. Saying it again changes nothing. Raises UsageError for an unknown reason.
    """
    return suppress_all(connection, {(email_key, topic): at}, reason=reason, source=source) > 0


def suppress_customer(
    connection: Connection,
    customer_id: int,
    *,
    topic: str = EVERY_TOPIC,
    reason: str,
    at: datetime,
    source: str,
) -> bool:
    """Suppress a customer's address, for every customer with that mailbox. False without address."""
    key = connection.execute(select(customers.c.email_key).where(customers.c.id == customer_id)).scalar()
    return key is not None and suppress(connection, key, topic=topic, reason=reason, at=at, source=source)


def suppress_all(
    connection: Connection, since: Mapping[tuple[str, str], datetime], *, reason: str, source: str
) -> int:
    """Suppress many addresses, each for one topic; `since`: by address key and topic. Return how many changed."""
    if reason not in STRENGTH:
        raise UsageError(f"unknown reason '{reason}' to suppress an address. {nearest(reason, STRENGTH)}")
    if not since:
        return 0
    statement = insert(connection, suppressions)
    standing = case(STRENGTH, value=suppressions.c.reason, else_=0)
    changed = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["email_key", "topic"],
            set_={name: statement.excluded[name] for name in ("reason", "at", "source")},
            where=standing < STRENGTH[reason],
        ).returning(suppressions.c.id),
        [
            {"email_key": key, "topic": topic, "reason": reason, "at": at, "source": source}
            for (key, topic), at in sorted(since.items())
        ],
    )
    return len(changed.all())


def lift(
    connection: Connection,
    keys: Collection[str],
    *,
    topics: Collection[str] | None = None,
    reasons: Collection[str] = OWN_CHOICE,
) -> list[tuple[str, str]]:
    """Take suppressions back; return the address and topic of each. `topics`: None is all, "" is EVERY_TOPIC.

    Only those for `reasons`: a reader's new yes takes back the reader's no, never a bounce or a complaint.
    """
    taken_back = delete(suppressions).where(
        suppressions.c.email_key.in_(keys), suppressions.c.reason.in_(reasons)
    )
    if topics is not None:
        taken_back = taken_back.where(suppressions.c.topic.in_(topics))
    found = connection.execute(taken_back.returning(suppressions.c.email_key, suppressions.c.topic))
    return sorted((row.email_key, row.topic) for row in found)


def welcome_back(
    connection: Connection,
    keys: Collection[str],
    customer_ids: Collection[int],
    topics: Collection[str],
    reasons: Collection[str] = OWN_CHOICE,
) -> None:
    """Take a reader's no back for `topics`, and for nothing else. `reasons`: of the suppressions that count as one.

    An unsubscribe from everything may cover topics that the reader agreed to before: for those it goes on, topic
    by topic, so that a yes to one letter brings back no other.
    """
    blanket = connection.execute(
        select(suppressions.c.email_key, suppressions.c.at, suppressions.c.source).where(
            suppressions.c.email_key.in_(keys),
            suppressions.c.topic == EVERY_TOPIC,
            suppressions.c.reason.in_(reasons),
        )
    ).all()
    others = set().union(*granted_topics(connection, customer_ids).values()) - set(topics)
    for row in blanket:
        since = {(row.email_key, topic): row.at for topic in others}
        suppress_all(connection, since, reason=OWN_CHOICE[0], source=row.source or "")
    lift(connection, keys, topics={EVERY_TOPIC, *topics}, reasons=reasons)


def suppressions_of(connection: Connection, key: str) -> Sequence[Row[Any]]:
    """Return every suppression that keeps mail from an address, its domain's included.

    Columns: those of `suppressions`; those of the address first, then by topic.
    """
    names = [key]
    if "@" in key[1:]:
        names.append(f"@{key.rpartition('@')[2]}")
    return connection.execute(
        select(suppressions)
        .where(suppressions.c.email_key.in_(names))
        .order_by((suppressions.c.email_key == key).desc(), suppressions.c.topic)
    ).all()


class Reader(NamedTuple):
    """A customer's addresses in every channel, as suppressions name them."""

    id: int
    email_key: str | None
    phone: str | None
    telegram_id: str | None

    def key(self, channel: str) -> str | None:
        """Return the address in a channel; None without, and for channels that go to our own people."""
        if channel == MAIL:
            return self.email_key
        if channel == SMS:
            return None if self.phone is None else f"tel:{self.phone}"
        return f"tg:{self.telegram_id}" if channel == TELEGRAM and self.telegram_id is not None else None


READER = (customers.c.id, customers.c.email_key, customers.c.phone, customers.c.telegram_id)
"""The columns of a Reader."""


def readers_at(connection: Connection, keys: Iterable[str]) -> list[Reader]:
    """Return every customer who is reached at one of the addresses (mailboxes, phones, chats), by id."""
    named = set(keys)
    phones = {key.removeprefix("tel:") for key in named if key.startswith("tel:")}
    chats = {key.removeprefix("tg:") for key in named if key.startswith("tg:")}
    anyone = or_(
        customers.c.email_key.in_(named), customers.c.phone.in_(phones), customers.c.telegram_id.in_(chats)
    )
    if not phones and not chats:  # the two have no index; a mailbox has
        anyone = customers.c.email_key.in_(named)
    rows = connection.execute(select(*READER).where(anyone).order_by(customers.c.id))
    return [Reader(*row) for row in rows]


def unsubscribe(connection: Connection, hits: Sequence[Response], *, source: str) -> int:
    """Honour unsubscribes at once; return how many of them were new.

    For each: the response is recorded, the address is suppressed for all marketing of the message's channel, and
    consent to the message's topic is withdrawn for every customer with that address, unless it was given after
    `hit.at`. The address is the one that the message went to, and the one that the customer has by now.
    `hit.raw["scope"]`: ONLY_TOPIC leaves the other topics alone, EVERYTHING ends all topics of all channels.
    One that is heard of late (it was spilled) leaves alone what the reader has asked for since. One that names no
    message but an address (a provider's list) suppresses that address.
    """
    first: dict[tuple[int, str | None], Response] = {}
    for hit in hits:
        if hit.message_id is not None:
            first.setdefault((hit.message_id, _scope(hit)), hit)
    sent = _sent(connection, {message_id for message_id, _ in first})
    ends = [_End(hit, scope, sent[id_]) for (id_, scope), hit in first.items() if id_ in sent]
    sharing = _by_key(connection, {key for end in ends for key in end.keys})
    everyone = {customer_id for end in ends for customer_id in end.ids(sharing)}
    agreed = granted_topics(connection, everyone)
    asked = asked_since(connection, everyone, min((end.hit.at for end in ends), default=None))
    since = {(hit.email_key, EVERY_TOPIC): hit.at for hit in hits if hit.message_id is None and hit.email_key}
    withdrawn: list[Change] = []
    for end in ends:
        for key in end.keys:
            for topic in end.topics(sharing, agreed, asked):
                since[key, topic] = min(end.hit.at, since.get((key, topic), end.hit.at))
        withdrawn += end.withdrawn(sharing, agreed, source)
    suppress_all(connection, since, reason="unsubscribed", source=source)
    change(connection, withdrawn)
    return record(connection, hits)


class _End:
    """One unsubscribe: which addresses and consents it ends."""

    def __init__(self, hit: Response, scope: str | None, message: Row[Any]) -> None:
        self.hit, self.scope, self._message = hit, scope, message
        self._customer = Reader(message.id, message.email_key, message.phone, message.telegram_id)
        channels = (MAIL, SMS, TELEGRAM) if scope == EVERYTHING else (message.channel,)
        keys = {self._customer.key(channel) for channel in channels} | {message.address_key}
        self.keys = sorted(key for key in keys if key)

    def topics(
        self,
        sharing: Mapping[str, set[int]],
        agreed: Mapping[int, set[str]],
        asked: Mapping[int, Mapping[str, datetime]],
    ) -> set[str]:
        """Return the topics that are over; EVERY_TOPIC unless the reader has asked for some of them since."""
        ids = self.ids(sharing)
        again = {
            topic
            for customer_id in ids
            for topic, at in asked.get(customer_id, {}).items()
            if at > self.hit.at
        }
        if self.scope == ONLY_TOPIC:
            return {self._message.topic} - again
        return set().union(*(agreed.get(i, ()) for i in ids)) - again if again else {EVERY_TOPIC}

    def ids(self, sharing: Mapping[str, set[int]]) -> set[int]:
        """Return the customers whom it concerns."""
        return {self._customer.id}.union(*(sharing.get(key, set()) for key in self.keys))

    def withdrawn(
        self, sharing: Mapping[str, set[int]], agreed: Mapping[int, set[str]], source: str
    ) -> list[Change]:
        """Return the consents that it takes back, with what the reader saw and did as their proof."""
        seen = {name: value for name, value in (self.hit.raw or {}).items() if name not in ("scope", "rule")}
        proof = {"message": self._message.message_id, **seen}
        return [
            Change(customer_id, topic, granted=False, at=self.hit.at, source=source, proof=proof)
            for customer_id in self.ids(sharing)
            for topic in {
                self._message.topic,
                *(agreed.get(customer_id, ()) if self.scope == EVERYTHING else ()),
            }
        ]


def _scope(hit: Response) -> str | None:
    scope = (hit.raw or {}).get("scope")
    return scope if scope in (ONLY_TOPIC, EVERYTHING) else None


def _sent(connection: Connection, message_ids: set[int]) -> dict[int, Row[Any]]:
    rows = connection.execute(
        select(
            messages.c.id.label("message_id"),
            messages.c.topic,
            messages.c.channel,
            messages.c.address_key,
            *READER,
        )
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(messages.c.id.in_(possible(message_ids)))
    )
    return {row.message_id: row for row in rows}


def _by_key(connection: Connection, keys: set[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for reader in readers_at(connection, keys):
        for channel in (MAIL, SMS, TELEGRAM):
            if (key := reader.key(channel)) in keys and key is not None:
                found.setdefault(key, set()).add(reader.id)
    return found
