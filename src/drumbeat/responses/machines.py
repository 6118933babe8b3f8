"""Tell readers from machines: by what a request looks like, and by how fast links are followed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, update

from drumbeat.document import parse_document
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.record import Response, possible
from drumbeat.store.dialect.time import shifted
from drumbeat.store.tables import responses

BURST_LINKS = 3
"""So many different links of one mail within BURST_SPAN: a scanner goes through a mail, a reader chooses."""

BURST_SPAN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of machines.yaml; see there."""

    rule: str
    actor: Actor
    kind: Kind | None = None
    method: str | None = None
    agent_is: str | None = None
    agent_contains: tuple[str, ...] = ()
    header: Mapping[str, str] = field(default_factory=dict)

    def fits(self, kind: Kind, method: str, headers: Mapping[str, str]) -> bool:
        """Say whether all of the rule's conditions hold. `headers` has names in small letters."""
        agent = headers.get("user-agent", "").strip()
        return (
            (self.kind is None or self.kind is kind)
            and (self.method is None or self.method == method)
            and (self.agent_is is None or self.agent_is == agent)
            and (
                not self.agent_contains or any(part.lower() in agent.lower() for part in self.agent_contains)
            )
            and all(headers.get(name) == value for name, value in self.header.items())
        )


@cache
def rules() -> tuple[Rule, ...]:
    """Return the rules that come with Drumbeat, in order."""
    text = files("drumbeat.responses").joinpath("machines.yaml").read_text(encoding="utf-8")
    return tuple(_rule(entry) for entry in parse_document(text, Path("machines.yaml")).value)


def _rule(entry: dict[str, Any]) -> Rule:
    settings = {
        name: value for name, value in entry.items() if name not in ("class", "kind", "agent_contains")
    }
    return Rule(
        **settings,
        actor=Actor(entry["class"]),
        kind=Kind(entry["kind"]) if "kind" in entry else None,
        agent_contains=tuple(entry.get("agent_contains", ())),
    )


def judge(
    kind: Kind, method: str, headers: Mapping[str, str], known: Sequence[Rule] | None = None
) -> tuple[Actor, str]:
    """Return who most likely sent a request, and the name of the rule that says so ('' where none fits)."""
    for rule in rules() if known is None else known:
        if rule.fits(kind, method, headers):
            return rule.actor, rule.rule
    return Actor.UNKNOWN, ""


def mark_bursts(connection: Connection, hits: Iterable[Response]) -> int:
    """Class as machine every stored click that is part of a burst on the hits' messages; return how many.

    A burst is seen only when its last click is in, so earlier ones are classed anew; what was seen of them
    stays as it is.
    """
    clicks = [hit for hit in hits if hit.kind is Kind.CLICKED]
    if not clicks:
        return 0
    one, other = responses.alias("one"), responses.alias("other")
    in_burst = connection.execute(
        select(one.c.id, one.c.raw)
        .join(
            other,
            (other.c.message_id == one.c.message_id)
            & (other.c.kind == Kind.CLICKED)
            & (other.c.at > shifted(one.c.at, -BURST_SPAN))
            & (other.c.at < shifted(one.c.at, BURST_SPAN)),
        )
        .where(
            one.c.message_id.in_(possible(hit.message_id for hit in clicks)),
            one.c.kind == Kind.CLICKED,
            one.c["class"] != Actor.MACHINE,
            one.c.at > min(hit.at for hit in clicks) - BURST_SPAN,
        )
        .group_by(one.c.id, one.c.raw)
        .having(func.count(other.c.url.distinct()) >= BURST_LINKS)
        .order_by(one.c.id)
    ).all()
    for row in in_burst:
        connection.execute(
            update(responses)
            .where(responses.c.id == row.id)
            .values({"class": Actor.MACHINE, "raw": {**(row.raw or {}), "rule": "burst_of_links"}})
        )
    return len(in_burst)
