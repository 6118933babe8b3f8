"""From what providers and mail servers tell to facts, and what follows from them, many at once.

    events -> the messages they are about -> responses -> suppressions, evidence, uncertain ends resolved

All of it in the caller's transaction; the same events again change nothing. What follows:

    hard bounce              the address is suppressed (`bounced`) at once, for everything
    soft bounces in a row    the same, after as many as project.yaml says (responses.soft)
    complaint                suppressed (`complained`) at once, for every topic
    unsubscribed             as one by our own link; suppressed for every topic where no message is known
    subscribed               by a phone or chat that said no before: that no is taken back. By mail it is not: there
                             the reader's consent counts, and it was withdrawn
    rejected, failed         nothing, unless the reason is a dead address or the provider's own list
    anything a message of uncertain end cannot cause unless it was sent: it was sent

A mail can be forged, a checked webhook cannot: what comes by mail has consequences only where our own signed
token names the message. Else anybody could end the mails of anybody by writing to the bounce mailbox.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Literal, NamedTuple

from sqlalchemy import Connection, select

from drumbeat.ledger.states import State, resolve
from drumbeat.rendering.links import Links
from drumbeat.responses.arrived import MAIL
from drumbeat.responses.evidence import weigh
from drumbeat.responses.find import Found, address_key, find_messages
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.machines import Machines, shipped
from drumbeat.responses.reasons import HARD, BounceReason
from drumbeat.responses.record import SMTP, Response, record
from drumbeat.responses.soft import soft_rows
from drumbeat.responses.suppress import EVERY_TOPIC, lift, suppress_all, unsubscribe
from drumbeat.responses.told import clean, told
from drumbeat.responses.webhooks import Event
from drumbeat.store.tables import suppressions

NOT_SENT = frozenset({Kind.REJECTED, Kind.FAILED})
"""Kinds of messages that were kept back."""

PROVES_SENT = frozenset(Kind) - NOT_SENT - {Kind.SUBSCRIBED, Kind.UNKNOWN}
"""Kinds that a message cannot cause unless it was taken over."""

PLAIN = frozenset({Kind.QUEUED, Kind.SENT, Kind.DELIVERED, Kind.OPENED, Kind.CLICKED})
"""Kinds that say all there is to say; of others the provider's own words are kept with the response."""

ABOUT_ADDRESS = frozenset(
    {Kind.BOUNCED, Kind.DEFERRED, Kind.REJECTED, Kind.FAILED, Kind.COMPLAINED, Kind.AUTORESPONDED}
)
"""Kinds that say something of the address; only these are stored with it where the message is known."""


class Telling(NamedTuple):
    """An event and who told it: a provider's name, or `mail`."""

    teller: str
    event: Event


@dataclass
class Applied:
    """What came of events. `unmatched`: places of those whose message may only be stored in a moment."""

    stored: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    suppressed: int = 0
    unmatched: list[int] = field(default_factory=list)


class _Fact(NamedTuple):
    """An event with its message, and the address that consequences are for."""

    telling: Telling
    found: Found | None
    address: str | None
    response: Response

    @property
    def counts(self) -> bool:
        """Say whether it may have consequences."""
        return self.telling.teller != MAIL or (self.found is not None and self.found.signed)


def apply(
    connection: Connection,
    links: Links,
    tellings: Sequence[Telling],
    *,
    at: datetime,
    soft_bounces: int,
    machines: Machines | None = None,
    patient: Iterable[int] = (),
) -> Applied:
    """Store events and do what follows from them. `at`: now.

    `patient`: places of events that can wait: where one names a message only by the provider's id, and that
    id is not in the ledger (the answer that brings it is recorded a moment after the mail went out), it is
    left out and listed in `unmatched`.
    """
    found = find_messages(connection, links, [telling.event for telling in tellings])
    waiting = {
        place for place in patient if found[place] is None and tellings[place].event.remote_id is not None
    }
    facts = [
        _fact(telling, found[place], machines or shipped())
        for place, telling in enumerate(tellings)
        if place not in waiting
    ]
    applied = Applied(unmatched=sorted(waiting))
    applied.kinds.update(str(fact.response.kind) for fact in facts)
    by_link, others = _parted(facts)
    applied.stored = record(connection, [fact.response for fact in others], loaded_at=at)
    for source, refusals in by_link.items():
        applied.stored += unsubscribe(connection, refusals, source=source)
    weigh(connection, [fact.response for fact in facts])
    _resolve(connection, facts, at)
    _welcome_back(connection, [fact for fact in facts if fact.counts])
    applied.suppressed = _suppress(connection, [fact for fact in facts if fact.counts], at, soft_bounces)
    return applied


def refused(
    connection: Connection,
    refusals: Sequence[tuple[int, str | None, int | None, str | None, str, datetime]],
    *,
    bounce: Literal["hard", "soft"] = "hard",
    soft_bounces: int = 5,
) -> int:
    """Take mail servers' refusals while mails were handed over as bounces; return how many addresses they end.

    A refusal: message id, address key, SMTP code, enhanced status, text, when. `hard`: the answer said that
    the address is dead; `soft`: the message was given up after temporary refusals.
    """
    hits = [
        Response(
            message_id,
            Kind.BOUNCED,
            at,
            f"{SMTP}:{message_id}",
            email_key=key,
            bounce=bounce,
            reason=str(_REASONS.get((status or "").partition(".")[2], _OTHERWISE[bounce])),
            source=SMTP,
            raw=told({"code": code, "status": status, "text": text}),
        )
        for message_id, key, code, status, text, at in refusals
    ]
    record(connection, hits)
    ends = [_End(hit.email_key, hit, SMTP) for hit in hits if hit.email_key]
    if bounce == "hard":
        return _put(connection, ends, "bounced")
    latest = max((hit.at for hit in hits), default=None)
    return 0 if latest is None else _soft(connection, ends, latest, soft_bounces)


_REASONS: Mapping[str, BounceReason] = {
    "1.1": BounceReason.USER_UNKNOWN,
    "1.2": BounceReason.HOST_UNKNOWN,
    "1.3": BounceReason.USER_UNKNOWN,
    "1.6": BounceReason.HAS_MOVED,
    "1.10": BounceReason.NOT_ACCEPTING,
    "2.0": BounceReason.USER_UNKNOWN,
    "2.1": BounceReason.SUSPENDED,
    "2.2": BounceReason.MAILBOX_FULL,
    "4.4": BounceReason.HOST_UNKNOWN,
}
"""From subject and detail of a status (RFC 3463, 3) to a reason, for refusals at hand-over."""

_OTHERWISE = {"hard": BounceReason.USER_UNKNOWN, "soft": BounceReason.OTHER}


class _End(NamedTuple):
    """An address that is to be suppressed, because of which response, and who told."""

    address: str | None
    because: Response
    source: str


def _fact(telling: Telling, found: Found | None, machines: Machines) -> _Fact:
    event = telling.event
    # The recipient that was told may be one that the reader forwards to: it never got a mail of ours.
    address = found.address_key if found is not None else address_key(event.recipient)
    actor, rule = _actor(event, machines)
    told_of = event.raw if event.kind not in PLAIN else {}
    bounce, reason = _judged(event)
    response = Response(
        message_id=None if found is None else found.message_id,
        kind=event.kind,
        at=event.at,
        dedupe_key=_key(telling, found),
        actor=actor,
        url=None if event.url is None else clean(event.url, 2_000),
        raw=told(
            {
                "rule": rule,
                "agent": event.agent,
                "text": event.text,
                "status": event.status,
                "told": told_of,
            }
        ),
        email_key=address if found is None or event.kind in ABOUT_ADDRESS else None,
        bounce=bounce,
        reason=reason,
        source=MAIL if telling.teller == MAIL else f"webhook:{telling.teller}",
    )
    return _Fact(telling, found, address, response)


def _actor(event: Event, machines: Machines) -> tuple[Actor, str]:
    if event.machine is not None:
        return Actor.MACHINE, clean(event.machine, 60) or "told_by_provider"
    if event.kind in (Kind.OPENED, Kind.CLICKED):
        return machines.judge_told(event.kind, event.agent, event.ip)
    return Actor.UNKNOWN, ""


def _judged(event: Event) -> tuple[Literal["hard", "soft"] | None, str | None]:
    """Return a bounce's kind and reason; hard where it is not told but the reason says so."""
    reason = None if event.reason is None else clean(str(event.reason), 60)
    if event.kind is not Kind.BOUNCED:
        # A provider that keeps an address from mail because it bounced before says so.
        return ("hard" if event.bounce == "hard" and event.kind in NOT_SENT else None), reason
    return event.bounce or ("hard" if reason in HARD else "soft"), reason


def _key(telling: Telling, found: Found | None) -> str:
    """Return the fact's name: the provider's, else what makes it different from every other."""
    event = telling.event
    whom = address_key(event.recipient) or event.recipient or ""
    if event.event_id:
        # One call of a provider may tell the same id for several recipients.
        parts = ["id", event.event_id, event.kind, whom]
    else:
        which = str(found.message_id) if found is not None else event.message_id or event.remote_id or ""
        parts = [which, event.kind, whom, event.at.isoformat(), event.url or "", event.status or ""]
    digest = blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()
    return f"{telling.teller}:{event.kind}:{digest}"


def _parted(facts: Sequence[_Fact]) -> tuple[dict[str, list[Response]], list[_Fact]]:
    """Part unsubscribes from known messages, by their source, from all other facts."""
    by_link: dict[str, list[Response]] = defaultdict(list)
    others = []
    for fact in facts:
        if fact.response.kind is Kind.UNSUBSCRIBED and fact.found is not None and fact.counts:
            by_link[fact.response.source].append(fact.response)
        else:
            others.append(fact)
    return by_link, others


def _resolve(connection: Connection, facts: Sequence[_Fact], at: datetime) -> None:
    proved: dict[str, set[int]] = defaultdict(set)
    for fact in facts:
        if (
            fact.found is not None
            and fact.found.state == State.UNCERTAIN
            and fact.counts
            and fact.response.kind in PROVES_SENT
        ):
            proved[f"{fact.response.kind}, by {fact.response.source}"].add(fact.found.message_id)
    for detail, ids in sorted(proved.items()):
        resolve(connection, sorted(ids), at=at, detail=detail)


def _welcome_back(connection: Connection, facts: Sequence[_Fact]) -> None:
    """Take back the no of phones and chats that say yes again, unless the no is the later of the two."""
    since = {
        fact.address: fact.response.at
        for fact in sorted(facts, key=lambda fact: fact.response.at)
        if fact.response.kind is Kind.SUBSCRIBED and fact.address is not None and "@" not in fact.address
    }
    if since:
        standing = connection.execute(
            select(suppressions.c.email_key, suppressions.c.at).where(
                suppressions.c.email_key.in_(list(since)), suppressions.c.topic == EVERY_TOPIC
            )
        )
        earlier = [row.email_key for row in standing if row.at <= since[row.email_key]]
        lift(connection, earlier, topics=[EVERY_TOPIC])


def _suppress(connection: Connection, facts: Sequence[_Fact], at: datetime, soft_bounces: int) -> int:
    ends: dict[str, list[_End]] = defaultdict(list)
    soft: list[_End] = []
    for fact in facts:
        end = _End(fact.address, fact.response, fact.response.source)
        if fact.response.bounce == "soft":
            soft.append(end)
        elif (reason := _reason_to_suppress(fact.response, known=fact.found is not None)) is not None:
            ends[reason].append(end)
    changed = sum(_put(connection, each, reason) for reason, each in sorted(ends.items()))
    return changed + _soft(connection, soft, at, soft_bounces)


def _reason_to_suppress(response: Response, *, known: bool) -> str | None:
    if response.bounce == "hard":
        return "bounced"
    if response.kind is Kind.COMPLAINED:
        return "complained"
    if response.kind is Kind.UNSUBSCRIBED:
        return None if known else "unsubscribed"
    if response.kind in NOT_SENT:
        if response.reason in HARD:
            return "bounced"
        if response.reason == BounceReason.UNSUBSCRIBED:
            return "unsubscribed"
    return None


def _put(connection: Connection, ends: Sequence[_End], reason: str) -> int:
    by_source: dict[str, dict[tuple[str, str], datetime]] = defaultdict(dict)
    for end in ends:
        if end.address is not None:
            since, key = by_source[end.source], (end.address, EVERY_TOPIC)
            since[key] = min(end.because.at, since.get(key, end.because.at))
    return sum(
        suppress_all(connection, since, reason=reason, source=source)
        for source, since in sorted(by_source.items())
    )


def _soft(connection: Connection, ends: Sequence[_End], at: datetime, least: int) -> int:
    told_by = {end.address: end.source for end in ends if end.address is not None}
    changed = 0
    for key, row in sorted(soft_rows(connection, list(told_by), least, at).items()):
        source = f"{row.days} soft bounces in a row, the last by {told_by[key]}"
        changed += suppress_all(connection, {(key, EVERY_TOPIC): row.last}, reason="bounced", source=source)
    return changed
