"""What several hits together say: later evidence classes earlier hits anew; what was seen of them stays.

    at_delivery          an open or click before the mail was delivered, or within two seconds after
    burst_of_links       three or more different links of one mail within a second of each other
    hidden_link          the link that no reader sees was followed, and this hit came with it
    links_before_open    two or more different links within ten seconds, before any picture was fetched

Not a sign by itself: a single click without an open. Many readers' programs show no pictures.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import CTE, BigInteger, Connection, Select, Text, case, func, or_, select, update
from sqlalchemy.types import TypeEngine

from drumbeat.ledger.states import State, resolve
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response, possible
from drumbeat.store.dialect.rows import OverRows
from drumbeat.store.dialect.time import shifted
from drumbeat.store.tables import messages, responses
from drumbeat.store.types import Json, UtcDateTime

READING_STARTS = timedelta(seconds=2)
"""Nobody reads a mail sooner after it was delivered."""

BURST_LINKS, BURST_SPAN = 3, timedelta(seconds=1)
"""So many different links of one mail within the span: a scanner goes through a mail, a reader chooses."""

UNSEEN_LINKS, UNSEEN_SPAN = 2, timedelta(seconds=10)
"""The same where the mail's pictures were never fetched: who clicks twice so fast has seen the mail."""

HIDDEN_SPAN = timedelta(minutes=10)
"""Around a hit on the hidden link: hits of the same program are the scanner's."""

HIDDEN_NEAR = timedelta(minutes=1)
"""As much nearer, hits of any program: scanners change their names from one link to the next."""

HIDDEN = "hidden_link"
"""The rule's name, on the hit on the hidden link and on those that came with it."""

UNSEEN = "links_before_open"


class Seen(NamedTuple):
    """A stored response, as far as it is judged. `sent_at` and `state` are its message's."""

    id: int
    message_id: int
    kind: str
    at: datetime
    actor: str
    url: str | None
    raw: Mapping[str, Any] | None
    sent_at: datetime | None
    state: str

    @property
    def rule(self) -> str:
        """Return the name of the rule that classed it so far."""
        return str((self.raw or {}).get("rule", ""))

    @property
    def agent(self) -> str:
        """Return the program's name."""
        return str((self.raw or {}).get("agent", ""))


def weigh(connection: Connection, hits: Iterable[Response]) -> int:
    """Judge the hits' messages by everything that is stored around them; return how many were classed anew.

    Call it after `record`, in the same transaction. A hit on a message of UNCERTAIN end proves that it was
    sent, and moves it. Concurrent writers may each miss the other's last hit; the next hit on that message,
    or its delivery, sees both.
    """
    since: dict[int, datetime] = {}
    for hit in hits:
        if hit.message_id is not None and hit.kind in (Kind.OPENED, Kind.CLICKED):
            start = hit.at - HIDDEN_SPAN
            since[hit.message_id] = min(start, since.get(hit.message_id, start))
        elif hit.message_id is not None and hit.kind is Kind.DELIVERED:
            # However long a server kept the mail waiting, what came before it was delivered was no reader's.
            since[hit.message_id] = _LONG_AGO
    wanted = [(i, since[i]) for i in possible(since)]
    # Most mails have one open or one click near, on which there is nothing to judge.
    doubtful = {i for (i,) in _DOUBTFUL.execute(connection, wanted)} if wanted else set()
    if not doubtful:
        return 0
    seen = [Seen(*row) for row in _AROUND.execute(connection, [(i, since[i]) for i in doubtful])]
    _settle(connection, seen)
    by_message: dict[int, list[Seen]] = defaultdict(list)
    for one in seen:
        by_message[one.message_id].append(one)
    judged = [verdict for each in by_message.values() for verdict in judged_together(each)]
    verdicts = _without_readers(connection, judged)
    if verdicts:
        _class(connection, verdicts)
    return len(verdicts)


def judged_together(seen: Sequence[Seen]) -> list[tuple[Seen, str]]:
    """Return which of one message's responses are a machine's and were not taken for one, each with the rule."""
    hits = sorted((one for one in seen if one.kind in (Kind.OPENED, Kind.CLICKED)), key=lambda one: one.at)
    if all(hit.actor == Actor.MACHINE for hit in hits):
        return []
    # Of a message of uncertain end it is only the latest moment that it can have been sent at.
    arrived = [one.sent_at for one in seen[:1] if one.sent_at is not None and one.state == State.SENT]
    arrived += [one.at for one in seen if one.kind == Kind.DELIVERED]
    readable_at = max(arrived) + READING_STARTS if arrived else None
    clicks = _Clicks([hit for hit in hits if hit.kind == Kind.CLICKED])
    first_open = next((hit.at for hit in hits if hit.kind == Kind.OPENED), None)
    found = []
    for hit in hits:
        if hit.actor == Actor.MACHINE:
            continue
        if rule := (
            ("at_delivery" if readable_at is not None and hit.at < readable_at else "")
            or (HIDDEN if clicks.trapped(hit) else "")
            or (_links_rule(hit, clicks, first_open) if hit.kind == Kind.CLICKED else "")
        ):
            found.append((hit, rule))
    return found


class _Clicks:
    """One message's clicks by time: whoever follows a mail's links again and again must not make this slow."""

    def __init__(self, clicks: Sequence[Seen]) -> None:
        self._clicks = clicks
        self._times = [click.at for click in clicks]
        self._traps: list[datetime] = []
        self._traps_of: dict[str, list[datetime]] = defaultdict(list)
        for click in clicks:
            if click.rule == HIDDEN and click.url is None:
                self._traps.append(click.at)
                self._traps_of[click.agent].append(click.at)

    def links(self, at: datetime, span: timedelta, before: datetime | None = None) -> int:
        """Return how many different links were followed less than `span` from `at`, and before `before`."""
        start = bisect_right(self._times, at - span)
        end = bisect_left(self._times, min(at + span, before) if before is not None else at + span)
        return len({click.url for click in self._clicks[start:end]} - {None})

    def trapped(self, hit: Seen) -> bool:
        """Say whether the hidden link was followed so near that this hit is of the same machine."""
        return _any_near(self._traps, hit.at, HIDDEN_NEAR) or _any_near(
            self._traps_of.get(hit.agent, ()), hit.at, HIDDEN_SPAN
        )


def _any_near(times: Sequence[datetime], at: datetime, span: timedelta) -> bool:
    place = bisect_left(times, at - span)
    return place < len(times) and times[place] <= at + span


def _links_rule(hit: Seen, clicks: _Clicks, first_open: datetime | None) -> str:
    if clicks.links(hit.at, BURST_SPAN) >= BURST_LINKS:
        return "burst_of_links"
    unseen = first_open is None or first_open > hit.at
    if unseen and clicks.links(hit.at, UNSEEN_SPAN, first_open) >= UNSEEN_LINKS:
        return UNSEEN
    return ""


def _without_readers(
    connection: Connection, verdicts: Sequence[tuple[Seen, str]]
) -> Sequence[tuple[Seen, str]]:
    """Leave out clicks on mails that were opened before: only what lies near was looked at so far."""
    doubtful = {hit.message_id for hit, rule in verdicts if rule == UNSEEN}
    if not doubtful:
        return verdicts
    first = dict(
        connection.execute(
            select(responses.c.message_id, func.min(responses.c.at))
            .where(responses.c.message_id.in_(doubtful), responses.c.kind == Kind.OPENED)
            .group_by(responses.c.message_id)
        )
        .tuples()
        .all()
    )
    return [
        (hit, rule)
        for hit, rule in verdicts
        if rule != UNSEEN or hit.message_id not in first or first[hit.message_id] > hit.at
    ]


def _settle(connection: Connection, seen: Sequence[Seen]) -> None:
    """Call messages of uncertain end sent: who opens one, or follows its link, has got it."""
    proved = {one.message_id: one for one in seen if one.state == State.UNCERTAIN}
    for message_id, one in proved.items():
        resolve(connection, [message_id], at=one.at, detail=f"{one.kind}, so it was sent")


def _class(connection: Connection, verdicts: Sequence[tuple[Seen, str]]) -> None:
    for hit, rule in sorted(verdicts, key=lambda verdict: verdict[0].id):
        before = {"before": hit.rule} if hit.rule else {}
        connection.execute(
            update(responses)
            .where(responses.c.id == hit.id)
            .values({"class": Actor.MACHINE, "raw": {**(hit.raw or {}), **before, "rule": rule}})
        )


_LONG_AGO = datetime.fromisoformat("1970-01-02T00:00:00+00:00")


_GIVEN: Mapping[str, TypeEngine[Any]] = {"message_id": BigInteger(), "since": UtcDateTime()}


def _near(given: CTE, *columns: Any) -> Select[Any]:
    kinds = [str(kind) for kind in (Kind.OPENED, Kind.CLICKED, Kind.DELIVERED)]
    return (
        select(*columns)
        .select_from(given)
        .join(responses, responses.c.message_id == given.c.message_id)
        .join(messages, messages.c.id == responses.c.message_id)
        .where(responses.c.kind.in_(kinds), responses.c.at >= given.c.since)
    )


def _doubtful(given: CTE, _connection: Connection) -> Any:
    """Select the messages that a rule of this module may say something of; cheap, and not exact."""
    kind, at, url = responses.c.kind, responses.c.at, responses.c.url
    clicked = kind == Kind.CLICKED
    hit_at = func.min(case((kind != Kind.DELIVERED, at)))
    arrived_at = func.max(case((kind == Kind.DELIVERED, at), else_=messages.c.sent_at))
    return (
        _near(given, given.c.message_id)
        .group_by(given.c.message_id, messages.c.state)
        .having(
            or_(
                func.count(case((clicked, url)).distinct()) >= UNSEEN_LINKS,
                func.max(case((clicked & url.is_(None), 1), else_=0)) == 1,
                hit_at < shifted(arrived_at, READING_STARTS),
                messages.c.state == State.UNCERTAIN,
            )
        )
    )


_DOUBTFUL = OverRows(_GIVEN, _doubtful, [BigInteger()])


def _around(given: CTE, _connection: Connection) -> Any:
    names = ("id", "message_id", "kind", "at", "class", "url", "raw")
    return _near(given, *(responses.c[name] for name in names), messages.c.sent_at, messages.c.state)


_AROUND = OverRows(
    _GIVEN,
    _around,
    [BigInteger(), BigInteger(), Text(), UtcDateTime(), Text(), Text(), Json, UtcDateTime(), Text()],
)
