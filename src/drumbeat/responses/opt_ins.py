"""Double opt-in: someone asks for mail to an address, and its reader confirms. Nothing is sent before.

Asking makes a row of `opt_ins` with the proof of it; the trigger `opt_in` sends the confirmation through the
ledger; confirming grants the consent, with the proof of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from drumbeat.ingest.people import PEOPLE
from drumbeat.responses.consent import Change, change, mailbox_of
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response, possible, record
from drumbeat.responses.suppress import ASKED_ANEW, OWN_CHOICE, suppressions_of, welcome_back
from drumbeat.store.dialect.locks import lock
from drumbeat.store.tables import customers, messages, opt_ins

SOURCE = "opt_in"

GOOD_FOR = timedelta(days=7)
"""How long a confirmation can be pressed."""

AT_MOST = ((timedelta(hours=1), 1), (timedelta(days=1), 3))
"""So many confirmations to one mailbox in each span, whoever asks: a form must not be a way to flood somebody."""


class Asked(StrEnum):
    """What became of asking. Nobody outside is told which: it would say who is known here."""

    NOTED = "noted"  # a confirmation will be sent
    TOO_OFTEN = "too_often"  # the last one is not long ago
    BLOCKED = "blocked"  # no mail goes to this address, whatever its reader chooses


def ask(
    connection: Connection,
    *,
    email: str,
    email_key: str,
    topics: Sequence[str],
    external_id: str,
    language: str | None,
    first_name: str | None,
    at: datetime,
    proof: Mapping[str, Any],
) -> Asked:
    """Note that someone asked for mail to an address, and nothing else.

    `external_id`: for a customer that is not known yet; `language` and `first_name` are kept for such a one only, as
    nobody has shown yet that the mailbox is theirs. `topics`: names; `proof`: what the form showed, and the words of
    the topics under `topics`.
    """
    # Two at once must not both find that none was sent.
    lock(connection, "opt_in", email_key)
    if any(
        row.reason not in ASKED_ANEW and row.topic == "" for row in suppressions_of(connection, email_key)
    ):
        return Asked.BLOCKED
    ids = mailbox_of(connection, email_key)
    for span, most in AT_MOST:
        asked = select(func.count()).where(opt_ins.c.customer_id.in_(ids), opt_ins.c.asked_at > at - span)
        if ids and connection.execute(asked).scalar_one() >= most:
            return Asked.TOO_OFTEN
    customer_id = (
        ids[0]
        if ids
        else _customer(
            connection,
            {
                "external_id": external_id,
                "email": email,
                "email_key": email_key,
                "language": language,
                "first_name": first_name,
                "created_at": at,
                "loaded_at": at,
            },
        )
    )
    connection.execute(
        insert(opt_ins).values(
            customer_id=customer_id,
            topics=list(topics),
            asked_at=at,
            expires_at=at + GOOD_FOR,
            proof={"address": email_key, "asked": dict(proof)},
        )
    )
    return Asked.NOTED


def _customer(connection: Connection, row: Mapping[str, Any]) -> int:
    """Return the mailbox's customer, made where there is none, as a person of its own."""
    # Against an import of the same address: whoever is second sees the other's row, and persons are one.
    lock(connection, PEOPLE)
    known = connection.execute(
        select(customers.c.id)
        .where(
            or_(
                customers.c.email_key == row["email_key"],
                customers.c.external_id == row["external_id"],
            )
        )
        .order_by(customers.c.id)
        .limit(1)
    ).scalar()
    if known is not None:
        return int(known)
    new = int(connection.execute(insert(customers).values(row).returning(customers.c.id)).scalar_one())
    connection.execute(update(customers).where(customers.c.id == new).values(person_id=new))
    return new


class Standing(StrEnum):
    """Where an opt-in stands."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    EXPIRED = "expired"  # its time is over, or the customer has another address by now


@dataclass(frozen=True)
class OptIn:
    """What someone asked for. `words`: of its topics, as they were shown; `message_id`: of the confirmation, if sent."""

    id: int
    customer_id: int
    email_key: str | None
    topics: tuple[str, ...]
    words: Mapping[str, str]
    asked_at: datetime
    proof: Mapping[str, Any]
    standing: Standing
    message_id: int | None


def occasion(opt_in_id: int) -> str:
    """Return the occasion that the trigger `opt_in` gives an opt-in."""
    return f"opt_in:{opt_in_id}"


def find(connection: Connection, opt_in_id: int, at: datetime) -> OptIn | None:
    """Return an opt-in as it stands at `at`; None where it is not there (any more)."""
    row = connection.execute(
        select(opt_ins, customers.c.email_key)
        .join(customers, customers.c.id == opt_ins.c.customer_id)
        .where(opt_ins.c.id.in_(possible([opt_in_id])))
    ).first()
    if row is None:
        return None
    proof = row.proof or {}
    moved = row.email_key is None or proof.get("address") != row.email_key
    standing = Standing.OPEN
    if row.confirmed_at is not None:
        standing = Standing.CONFIRMED
    elif row.expires_at <= at or moved:
        standing = Standing.EXPIRED
    message_id = connection.execute(
        select(func.max(messages.c.id)).where(
            messages.c.customer_id == row.customer_id, messages.c.occasion == occasion(row.id)
        )
    ).scalar()
    words = proof.get("asked", {}).get("topics", {})
    return OptIn(
        row.id,
        row.customer_id,
        row.email_key,
        tuple(row.topics),
        words if isinstance(words, Mapping) else {},
        row.asked_at,
        proof,
        standing,
        message_id,
    )


def confirm(connection: Connection, found: OptIn, *, at: datetime, proof: Mapping[str, Any]) -> str | None:
    """Confirm an open opt-in; return None, or the reason of a suppression that keeps mail away all the same.

    Consent to its topics is granted for every customer with the mailbox, with the proof of asking and of
    confirming. The reader's own unsubscribes from these topics are taken back, and from nothing else, and so is an
    erasure; never a bounce, a complaint or a decision of the company. Confirming twice is once.
    """
    key = found.email_key
    if key is None:  # cannot be: an opt-in without a mailbox is not open
        return None
    confirmed = connection.execute(
        update(opt_ins)
        .where(opt_ins.c.id == found.id, opt_ins.c.confirmed_at.is_(None))
        .values(confirmed_at=at, proof={**found.proof, "confirmed": dict(proof)})
        .returning(opt_ins.c.id)
    ).first()
    if confirmed is not None:
        _grant(connection, found, key, at, proof)
    stronger = [
        row.reason
        for row in suppressions_of(connection, key)
        if row.reason not in OWN_CHOICE and row.topic in ("", *found.topics)
    ]
    return stronger[0] if stronger else None


def _grant(connection: Connection, found: OptIn, key: str, at: datetime, proof: Mapping[str, Any]) -> None:
    ids = mailbox_of(connection, key)
    welcome_back(connection, [key], ids, found.topics, ASKED_ANEW)
    whole = {
        "opt_in": found.id,
        "asked": {**found.proof.get("asked", {}), "at": found.asked_at.isoformat()},
        "confirmed": {**proof, "at": at.isoformat()},
        **({"message": found.message_id} if found.message_id is not None else {}),
    }
    change(
        connection,
        [
            Change(customer_id, topic, granted=True, at=at, source=SOURCE, proof=whole)
            for customer_id in ids
            for topic in found.topics
        ],
        renew=True,
    )
    if found.message_id is not None:
        record(
            connection,
            [
                Response(
                    message_id=found.message_id,
                    kind=Kind.SUBSCRIBED,
                    at=at,
                    dedupe_key=f"{Kind.SUBSCRIBED}:{found.message_id}",
                    actor=Actor.HUMAN,
                    raw={"opt_in": found.id, "topics": list(found.topics)},
                )
            ],
        )
