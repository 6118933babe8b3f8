"""Whether an address gets mail, and what keeps it away: for those who are asked by a reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from drumbeat.ledger.reach import DEAD_ADDRESS, MAIL, SMS, TELEGRAM, unreachable
from drumbeat.ledger.states import Reason
from drumbeat.responses.suppress import EVERY_TOPIC, readers_at, suppressions_of
from drumbeat.store.tables import customers, preferences

if TYPE_CHECKING:
    from drumbeat.project.models import Topic


@dataclass(frozen=True)
class Standing:
    """One suppression that keeps mail from the address; `key` is the address or its domain."""

    key: str
    topic: str
    reason: str
    at: datetime
    source: str | None


@dataclass(frozen=True)
class Verdict:
    """What holds for an address. `topics`: why each is not sent, None where it is; `service`: the same for service
    messages. `customers`: external ids of all with this address; without any, nothing is sent to it."""

    key: str
    customers: tuple[str, ...]
    suppressions: tuple[Standing, ...]
    topics: Mapping[str, str | None]
    service: str | None
    paused_until: datetime | None = None
    max_messages: int | None = None

    @property
    def any_mail(self) -> bool:
        """Say whether anything at all is sent to the address."""
        return self.service is None or None in self.topics.values()


def channel_of(key: str) -> str:
    """Return the channel whose address a key is."""
    return SMS if key.startswith("tel:") else TELEGRAM if key.startswith("tg:") else MAIL


def look_up(connection: Connection, key: str, topics: Mapping[str, Topic], at: datetime) -> Verdict:
    """Return what holds for an address at `at`: for its customers, else by its suppressions alone."""
    channel = channel_of(key)
    standing = tuple(
        Standing(row.email_key, row.topic, row.reason, row.at, row.source)
        for row in suppressions_of(connection, key)
    )
    wanted = [name for name, topic in topics.items() if topic.channel == channel]
    readers = readers_at(connection, [key])
    ids = [reader.id for reader in readers]
    mailboxes = [reader.email_key for reader in readers if reader.email_key is not None]
    # What a mailbox's reader chose holds for all channels.
    chosen = connection.execute(
        select(preferences.c.paused_until, preferences.c.max_messages)
        .where(preferences.c.email_key.in_([key, *mailboxes]))
        .order_by(preferences.c.at.desc())
        .limit(1)
    ).first()
    rest = {
        "paused_until": chosen.paused_until if chosen is not None else None,
        "max_messages": chosen.max_messages if chosen is not None else None,
    }
    if not ids:
        return Verdict(
            key,
            (),
            standing,
            {name: _without_customer(standing, name) for name in wanted},
            _dead(standing),
            **rest,
        )
    names = tuple(
        connection.execute(
            select(customers.c.external_id).where(customers.c.id.in_(ids)).order_by(customers.c.id)
        ).scalars()
    )
    rows = connection.execute(
        select(
            unreachable(marketing=False, topic="", channel=channel, at=at),
            *(unreachable(marketing=True, topic=name, channel=channel, at=at) for name in wanted),
        ).where(customers.c.id.in_(ids))
    ).all()
    service, *others = (_best(set(found)) for found in zip(*rows, strict=True))
    return Verdict(key, names, standing, dict(zip(wanted, others, strict=True)), service, **rest)


def _best(found: set[Any]) -> str | None:
    """Of several customers with one address, one who is reached is enough."""
    return None if None in found else str(min(found))


def _without_customer(standing: tuple[Standing, ...], topic: str) -> str:
    named = any(one.topic in (EVERY_TOPIC, topic) for one in standing)
    return Reason.SUPPRESSED if named else Reason.NO_CONSENT


def _dead(standing: tuple[Standing, ...]) -> str:
    dead = any(one.reason in DEAD_ADDRESS for one in standing)
    return Reason.SUPPRESSED if dead else Reason.NO_ADDRESS
