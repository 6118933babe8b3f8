"""The last check: consent, suppression and the cap once more, at the moment messages are handed over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, Select, bindparam, case, literal, select, update

from drumbeat.ledger.cap import CapRule, chosen_by, lock_handover, lock_people, reached_before
from drumbeat.ledger.reach import MAIL, SMS, TELEGRAM, address_key, unreachable
from drumbeat.ledger.states import Move, Reason, State, move, move_many
from drumbeat.store.engine import writing
from drumbeat.store.tables import customers, messages, outbox
from drumbeat.store.types import UtcDateTime

ADDRESS: Mapping[str, str] = {MAIL: "email", SMS: "phone", TELEGRAM: "telegram_id"}
"""The customer's column that a channel writes to; the others need none."""


class Wanted(NamedTuple):
    """A message to hand over, and the address that it is written to."""

    message_id: int
    sender: str
    address: str | None = None


class _Other(NamedTuple):
    """Another message that has, or may have, reached the same person."""

    message_id: int
    channel: str
    sent_at: datetime | None


def begin(
    engine: Engine,
    wanted: Sequence[Wanted],
    *,
    worker: str,
    at: datetime,
    rules: Sequence[CapRule],
    channel: str = MAIL,
) -> dict[int, Reason | None]:
    """Move messages to HANDING_OVER, all in one commit, or withdraw them; return None for each to go on with, else why not.

    To be called directly before the content of the first of them leaves. `worker` must hold the messages'
    leases at `at`; all are of one `channel`. Withdrawn messages are settled here: SKIPPED for a missing
    address or consent, a suppression and a pause, EXPIRED when their time is over; one over the cap stays
    PLANNED and is due again when a place comes free (the cap was lowered, the reader chose fewer, or two
    customers turned out to be one person). Workers marking mails of one sender are put in order by a lock.
    Where a customer has another address by now than the message is written to, its lease is given up, so that
    it is claimed and written anew.
    """
    if not wanted:
        return {}
    decided: dict[int, Reason | None] = {}
    with writing(engine) as connection:
        lock_people(connection)
        # Statements of their own: what is counted next must be seen after the locks were won.
        for sender in sorted({one.sender for one in wanted}):
            lock_handover(connection, sender)
        found = connection.execute(
            _standing(channel, State.PLANNED),
            {"ids": [one.message_id for one in wanted], "worker": worker, "at": at},
        )
        rows = {row.id: row for row in found}
        # Another channel's cap says nothing of these: a reader with their SMS of the week may still get mail.
        applicable = [rule for rule in rules if rule.channel in (None, channel)]
        cap = _Cap(connection, [row for row in rows.values() if row.obeys_cap], at, applicable)
        going: list[Row[Any]] = []
        for one in wanted:
            row = rows.get(one.message_id)
            reason = Reason.LEASE_LOST if row is None else _judge(connection, row, one, at, channel)
            if reason is None and row is not None and row.obeys_cap and not cap.has_place(connection, row):
                reason = Reason.CAPPED
            decided[one.message_id] = reason
            if reason is None and row is not None:
                cap.takes(row, channel)
                going.append(row)
        moved = move_many(
            connection,
            [
                Move(
                    row.id,
                    State.HANDING_OVER,
                    at,
                    values={"handing_over_at": at, "address_key": row.address_key or None},
                )
                for row in going
            ],
        )
    return {
        message_id: Reason.LEASE_LOST if reason is None and message_id not in moved else reason
        for message_id, reason in decided.items()
    }


def check_again(
    engine: Engine,
    wanted: Wanted,
    *,
    worker: str,
    at: datetime,
    lease_until: datetime,
    channel: str = MAIL,
    eligible: bool = True,
) -> Reason | None:
    """Judge a message once more that was marked a while ago and whose content has not left; None to go on.

    Consent, suppression, expiry and address; its place under the cap it holds by its mark. Renews its lease.
    `eligible`: what the caller found of its trigger and segment, where it looked. A message that is another
    worker's by now, or was called uncertain meanwhile, is LEASE_LOST.
    """
    with writing(engine) as connection:
        ours = connection.execute(
            update(outbox)
            .where(outbox.c.message_id == wanted.message_id, outbox.c.lease_owner == worker)
            .values(lease_until=lease_until)
            .returning(outbox.c.message_id)
        ).first()
        if ours is None:
            return Reason.LEASE_LOST
        row = connection.execute(
            _standing(channel, State.HANDING_OVER),
            {"ids": [wanted.message_id], "worker": worker, "at": at},
        ).one_or_none()
        if row is None:
            return Reason.LEASE_LOST
        if wanted.address is not None and channel in ADDRESS and row.address != wanted.address:
            move(connection, row.id, State.PLANNED, at=at, handing_over_at=None)
        reason = _judge(connection, row, wanted, at, channel)
        if reason is None and not eligible:
            reason = Reason.NO_LONGER_ELIGIBLE
            move(connection, row.id, State.SKIPPED, at=at, reason=reason)
        return reason


@cache
def _standing(channel: str, state: State) -> Select[Any]:
    """Return the SELECT of what holds for each message that the worker still leases.

    Parameters: ids, worker, at. Made once a channel: to make it costs as much as to run it for 250 messages.
    """
    at = bindparam("at", type_=UtcDateTime())
    refusal = case(
        (
            messages.c.kind == "marketing",
            unreachable(marketing=True, topic=messages.c.topic, at=at, channel=channel),
        ),
        else_=unreachable(marketing=False, topic=messages.c.topic, at=at, channel=channel),
    )
    column = ADDRESS.get(channel)
    return (
        select(
            messages.c.id,
            messages.c.sender,
            messages.c.obeys_cap,
            messages.c.counts_toward_cap,
            messages.c.expires_at,
            customers.c.person_id,
            chosen_by(customers.c.person_id).label("chosen"),
            (customers.c[column] if column else literal(None)).label("address"),
            address_key(channel).label("address_key"),
            refusal.label("refusal"),
        )
        .join(customers, customers.c.id == messages.c.customer_id)
        .join(outbox, outbox.c.message_id == messages.c.id)
        .where(
            messages.c.id.in_(bindparam("ids", expanding=True)),
            messages.c.state == state,
            outbox.c.lease_owner == bindparam("worker"),
            outbox.c.lease_until > at,
        )
    )


def _judge(
    connection: Connection, row: Row[Any], wanted: Wanted, at: datetime, channel: str
) -> Reason | None:
    """Settle one message by everything but the cap."""
    if row.expires_at is not None and row.expires_at <= at:
        move(connection, row.id, State.EXPIRED, at=at, reason=Reason.TOO_LATE)
        return Reason.TOO_LATE
    if row.refusal is not None:
        move(connection, row.id, State.SKIPPED, at=at, reason=row.refusal)
        return Reason(row.refusal)
    if wanted.address is not None and channel in ADDRESS and row.address != wanted.address:
        # What was judged above is the new address; the old one may have been given up by a suppression.
        _give_back(connection, row.id, {})
        return Reason.LEASE_LOST
    return None


class _Cap:
    """What has reached the people of some messages, and so whether there is a place for one more."""

    def __init__(
        self, connection: Connection, rows: Sequence[Row[Any]], at: datetime, rules: Sequence[CapRule]
    ) -> None:
        self._at, self._rules = at, rules
        self._reached: dict[tuple[int, str], dict[int, _Other]] = defaultdict(dict)
        self._chosen: dict[int, int] = {}
        if not rows or not rules:
            return
        owner = {row.id: (row.person_id, row.sender) for row in rows}
        longest = max(rule.per for rule in rules)
        for found in connection.execute(reached_before(list(owner), at - longest)):
            other = _Other(found.other_id, found.channel, found.sent_at)
            self._reached[owner[found.message_id]][other.message_id] = other
        self._chosen = {row.person_id: row.chosen for row in rows if row.chosen is not None}

    def takes(self, row: Row[Any], channel: str) -> None:
        """Count a message of this very chunk: the next one to the same person must see it."""
        if row.counts_toward_cap:
            self._reached[row.person_id, row.sender][row.id] = _Other(row.id, channel, None)

    def has_place(self, connection: Connection, row: Row[Any]) -> bool:
        """Say whether every rule leaves a place; where not, put the message off until the place comes free."""
        others = self._reached.get((row.person_id, row.sender), {})
        free_at = None
        for rule in self._rules:
            allowed = rule.messages
            if rule.channel is None:
                allowed = min(allowed, self._chosen.get(row.person_id, allowed))
            counted = sorted(
                (
                    other.sent_at or self._at
                    for other in others.values()
                    if (rule.channel is None or other.channel == rule.channel)
                    and (other.sent_at is None or other.sent_at > self._at - rule.per)
                ),
                reverse=True,
            )
            if len(counted) >= allowed:
                # With k too many, a place comes free when the one that stands at the last place leaves the span.
                last = counted[allowed - 1] if allowed else self._at
                free_at = max(free_at or last + rule.per, last + rule.per)
        if free_at is None:
            return True
        _give_back(connection, row.id, {"due_at": max(free_at, self._at + timedelta(microseconds=1))})
        return False


def _give_back(connection: Connection, message_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(
        update(outbox)
        .where(outbox.c.message_id == message_id)
        .values(lease_until=None, lease_owner=None, **values)
    )
