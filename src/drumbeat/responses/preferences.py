"""Preferences: what a mailbox's reader gets now, and what the reader chooses to get from now on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from drumbeat.ledger.reach import MAIL, SMS, TELEGRAM, unreachable
from drumbeat.ledger.states import Reason
from drumbeat.responses.consent import Change, change, granted_topics
from drumbeat.responses.record import possible
from drumbeat.responses.suppress import (
    EVERY_TOPIC,
    OWN_CHOICE,
    READER,
    STRENGTH,
    Reader,
    lift,
    readers_at,
    suppress_all,
    suppressions_of,
)
from drumbeat.store.dialect.insert import insert
from drumbeat.store.tables import customers, messages, preferences

if TYPE_CHECKING:
    from drumbeat.project.models import Topic

SOURCE = "preferences"

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""The end of a pause that lasts until the reader ends it."""

ADDRESSED = (MAIL, SMS, TELEGRAM)
"""Channels that need an address of the reader; the others go to our own systems and people."""


@dataclass(frozen=True)
class Choice:
    """What a reader gets. `max_messages`: in the cap's span; None: as the cap allows. `paused_until`: None: no pause."""

    topics: frozenset[str] = frozenset()
    max_messages: int | None = None
    paused_until: datetime | None = None


@dataclass(frozen=True)
class Mailbox:
    """A message's reader: every customer with that mailbox, and what holds for them now.

    `shown`: the topics that can reach them, by the channels that they have. `blocked`: those of `shown` that no
    choice brings back, each with the reason of the strongest suppression. Without `email_key` (reached in another
    channel only) there is neither a limit nor a pause.
    """

    message_id: int
    readers: tuple[Reader, ...]
    email_key: str | None
    language: str | None
    country: str | None
    time_zone: str | None
    shown: tuple[str, ...]
    blocked: Mapping[str, str]
    choice: Choice

    def keys(self, channel: str) -> set[str]:
        """Return the readers' addresses in a channel."""
        return {key for reader in self.readers if (key := reader.key(channel)) is not None}


def find(
    connection: Connection, message_id: int, topics: Mapping[str, Topic], at: datetime
) -> Mailbox | None:
    """Return the mailbox of a message's reader as it stands at `at`; None for a message that is not there.

    `topics`: those of project.yaml. A topic is chosen where a mail of it would reach one of the mailbox's
    customers, pauses aside.
    """
    row = connection.execute(
        select(*READER, customers.c.language, customers.c.country, customers.c.time_zone)
        .join(messages, messages.c.customer_id == customers.c.id)
        .where(messages.c.id.in_(possible([message_id])))
    ).first()
    if row is None:
        return None
    readers = tuple(readers_at(connection, [row.email_key])) if row.email_key else (Reader(*row[:4]),)
    shown = tuple(
        name
        for name, topic in topics.items()
        if topic.channel not in ADDRESSED or any(reader.key(topic.channel) for reader in readers)
    )
    chosen = connection.execute(
        select(preferences.c.max_messages, preferences.c.paused_until).where(
            preferences.c.email_key == row.email_key
        )
    ).first()
    paused_until = chosen.paused_until if chosen is not None else None
    return Mailbox(
        message_id,
        readers,
        row.email_key,
        row.language,
        row.country,
        row.time_zone,
        shown,
        _blocked(connection, readers, topics, shown),
        Choice(
            _reached(connection, readers, topics, shown, at),
            chosen.max_messages if chosen is not None else None,
            paused_until if paused_until is not None and paused_until > at else None,
        ),
    )


def _reached(
    connection: Connection,
    readers: tuple[Reader, ...],
    topics: Mapping[str, Topic],
    shown: tuple[str, ...],
    at: datetime,
) -> frozenset[str]:
    if not shown:
        return frozenset()
    verdicts = [
        unreachable(marketing=True, topic=name, channel=topics[name].channel, at=at).label(name)
        for name in shown
    ]
    rows = connection.execute(
        select(*verdicts).where(customers.c.id.in_([reader.id for reader in readers]))
    ).all()
    return frozenset(
        name for name, found in zip(shown, zip(*rows, strict=True), strict=True) if set(found) & _REACHED
    )


_REACHED: set[Any] = {None, Reason.PAUSED}


def _blocked(
    connection: Connection, readers: tuple[Reader, ...], topics: Mapping[str, Topic], shown: tuple[str, ...]
) -> dict[str, str]:
    standing = {
        channel: [
            [row for row in suppressions_of(connection, key) if row.reason not in OWN_CHOICE]
            for reader in readers
            if (key := reader.key(channel)) is not None
        ]
        for channel in {topics[name].channel for name in shown} & set(ADDRESSED)
    }
    blocked: dict[str, str] = {}
    for name in shown:
        reasons = [
            max(found, key=lambda reason: STRENGTH.get(reason, 0), default=None)
            for rows in standing.get(topics[name].channel, [])
            for found in [[row.reason for row in rows if row.topic in (EVERY_TOPIC, name)]]
        ]
        # One address that is free is enough for the choice to matter.
        if reasons and all(reasons):
            blocked[name] = max(filter(None, reasons), key=lambda reason: STRENGTH.get(reason, 0))
    return blocked


def topic_of(connection: Connection, message_id: int) -> str | None:
    """Return a message's topic; None for a message that is not there."""
    ids = possible([message_id])
    return connection.execute(select(messages.c.topic).where(messages.c.id.in_(ids))).scalar()


def save(
    connection: Connection,
    mailbox: Mailbox,
    choice: Choice,
    topics: Mapping[str, Topic],
    *,
    at: datetime,
    proofs: Mapping[str, Mapping[str, Any]],
) -> None:
    """Let the choice hold from `at` on, for every customer with the mailbox. `proofs`: by topic.

    A topic that is chosen is consented to, and the reader's own unsubscribes from it are taken back, never what a
    bounce, a complaint or the company said. One that was consented to and is not chosen is withdrawn and suppressed,
    so that an import of the old consent brings nothing back; with the last one of a channel, the whole channel is.
    """
    agreed = granted_topics(connection, [reader.id for reader in mailbox.readers])
    # What nobody agreed to is not taken back: a consent that comes later must not meet an old no to it.
    ended = set().union(*agreed.values()) - choice.topics
    free = [name for name in mailbox.shown if name not in mailbox.blocked]
    for channel in sorted({topics[name].channel for name in free} & set(ADDRESSED)):
        names = {name for name in free if topics[name].channel == channel}
        keys, wanted, over = mailbox.keys(channel), names & choice.topics, names & ended
        lifted = lift(connection, keys, topics={*wanted, EVERY_TOPIC} if wanted else ())
        since = {(key, name): at for key in keys for name in over}
        # A no to all of it goes on for the rest, topic by topic.
        since |= {(key, name): at for key, of in lifted if of == EVERY_TOPIC for name in names - wanted}
        if over and not wanted:
            since |= {(key, EVERY_TOPIC): at for key in keys}
        suppress_all(connection, since, reason=OWN_CHOICE[0], source=SOURCE)
    changes = [
        Change(reader.id, name, granted=name in choice.topics, at=at, source=SOURCE, proof=proofs.get(name))
        for name in free
        for reader in mailbox.readers
        if name in choice.topics or name in agreed.get(reader.id, ())
    ]
    new = choice.topics - mailbox.choice.topics
    change(connection, [one for one in changes if one.topic in new], renew=True)
    change(connection, [one for one in changes if one.topic not in new])
    if mailbox.email_key is not None:
        _limit(connection, mailbox.email_key, choice, at)


def _limit(connection: Connection, email_key: str, choice: Choice, at: datetime) -> None:
    statement = insert(connection, preferences).values(
        email_key=email_key,
        max_messages=choice.max_messages,
        paused_until=choice.paused_until,
        at=at,
        source=SOURCE,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["email_key"],
            set_={
                name: statement.excluded[name] for name in ("max_messages", "paused_until", "at", "source")
            },
        )
    )
