"""Says of one customer which conditions of a segment are met, and what was found instead where not.

The same SQL decides here as in a plan: `compile_node`, a column a leaf.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any as Anything

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from drumbeat.errors import UsageError
from drumbeat.issues import Place, nearest
from drumbeat.segments.compile import compile_node
from drumbeat.segments.grammar import EVERYONE
from drumbeat.segments.history import figure
from drumbeat.segments.nodes import (
    All,
    Any,
    Attribute,
    Consent,
    Field,
    History,
    Node,
    Not,
    Reference,
    Segment,
)
from drumbeat.store.tables import consents, customers

_NOWHERE = Place(Path())

_COLUMNS_A_QUERY = 500
"""SQLite gives at most 2,000 columns and PostgreSQL 1,664; larger segments take more than one query."""


@dataclass(frozen=True)
class Verdict:
    """One condition, put to one customer.

    `text`: the condition as the YAML says it (`all`, `any`, `not` for those that hold others).
    `place`: where it stands; None for `everyone`, which stands nowhere. `met`: the answer.
    `found`: what the store holds, such as `count 0`; empty where there are children.
    """

    text: str
    place: Place | None
    met: bool
    found: str = ""
    children: tuple[Verdict, ...] = ()

    def __str__(self) -> str:
        return self.text + (f" (found: {self.found})" if self.found else "")

    def decisive(self) -> Iterator[Verdict]:
        """Give the leaves that made the answer what it is: of an unmet `all` only the unmet ones, and so on."""
        if not self.children:
            yield self
            return
        same = self.children if self.text == "not" else [c for c in self.children if c.met == self.met]
        for child in same:
            yield from child.decisive()


def explain_segment(
    connection: Connection, segments: Mapping[str, Segment], name: str, customer_id: int, as_of: datetime
) -> Verdict:
    """Return the verdict tree of segment `name` for one customer at `as_of` (aware), references expanded.

    One query for all leaves. Raises UsageError where the segment or the customer does not exist.
    """
    if name != EVERYONE and name not in segments:
        raise UsageError(f"unknown segment '{name}'. {nearest(name, [*segments, EVERYONE])}")
    if as_of.tzinfo is None:
        raise UsageError(f"the time {as_of} has no time zone; expected for example 2011-12-05T09:00+00:00")
    as_of = as_of.astimezone(UTC)
    root = Reference(EVERYONE, _NOWHERE, EVERYONE) if name == EVERYONE else segments[name].root
    leaves = list(_leaves(segments, root))
    wanted: list[ColumnElement[Anything]] = []
    slices: list[slice] = []
    for leaf in leaves:
        figures = _figures(leaf, as_of)
        slices.append(slice(len(wanted), len(wanted) + 1 + len(figures)))
        wanted += [sa.type_coerce(compile_node(segments, leaf, as_of), sa.Boolean), *figures]
    values = _ask(connection, wanted, customer_id)
    answers = iter(
        [
            (bool(found[0]), _tell(leaf, found[1:], as_of))
            for leaf, s in zip(leaves, slices, strict=True)
            for found in (values[s],)
        ]
    )
    return _verdict(segments, root, answers)


def _ask(connection: Connection, wanted: list[ColumnElement[Anything]], customer_id: int) -> list[Anything]:
    values: list[Anything] = []
    for start in range(0, max(len(wanted), 1), _COLUMNS_A_QUERY):
        columns = [column.label(f"c{i}") for i, column in enumerate(wanted[start : start + _COLUMNS_A_QUERY])]
        row = connection.execute(
            sa.select(customers.c.id, *columns).where(customers.c.id == customer_id)
        ).one_or_none()
        if row is None:
            raise UsageError(f"no customer has the id {customer_id}")
        values += row[1:]
    return values


def _leaves(segments: Mapping[str, Segment], node: Node) -> Iterator[Node]:
    """Give the leaves in the order in which `_verdict` meets them."""
    match node:
        case All() | Any():
            for child in node.children:
                yield from _leaves(segments, child)
        case Not():
            yield from _leaves(segments, node.child)
        case Reference() if node.name != EVERYONE:
            yield from _leaves(segments, segments[node.name].root)
        case Reference():
            pass
        case _:
            yield node


def _verdict(segments: Mapping[str, Segment], node: Node, answers: Iterator[tuple[bool, str]]) -> Verdict:
    match node:
        case All() | Any():
            children = tuple(_verdict(segments, child, answers) for child in node.children)
            met = (all if isinstance(node, All) else any)(child.met for child in children)
            return Verdict(node.text, node.place, met, children=children)
        case Not():
            child = _verdict(segments, node.child, answers)
            return Verdict(node.text, node.place, not child.met, children=(child,))
        case Reference() if node.name != EVERYONE:
            child = _verdict(segments, segments[node.name].root, answers)
            return Verdict(node.text, node.place, child.met, children=(child,))
        case Reference():
            return Verdict(node.text, None if node.place == _NOWHERE else node.place, met=True)
    met, found = next(answers)
    return Verdict(node.text, node.place, met, found)


def _figures(leaf: Node, as_of: datetime) -> list[ColumnElement[Anything]]:
    """Return what to read so that `_tell` can say what was found."""
    match leaf:
        case Field():
            return [customers.c[leaf.field]]
        case Attribute():
            return [customers.c.attributes]
        case Consent():
            here = (consents.c.customer_id == customers.c.id, consents.c.topic == leaf.topic)
            return [
                sa.select(column).where(*here).correlate(customers).scalar_subquery()
                for column in (consents.c.granted, consents.c.at)
            ]
        case History():
            return [figure(leaf, name, as_of) for name in _told(leaf)]
    raise TypeError(f"no figures for {type(leaf).__name__}")  # pragma: no cover


def _told(leaf: History) -> list[str]:
    return ["count", *(name for name in ("total", "first", "last") if getattr(leaf, name))]


def _tell(leaf: Node, found: list[Anything], as_of: datetime) -> str:
    """Say in words what was found."""
    match leaf:
        case Field():
            return "nothing" if found[0] is None else _written(found[0])
        case Attribute():
            value = found[0].get(leaf.key) if isinstance(found[0], dict) else None
            return "nothing" if value is None else _written(value)
        case Consent():
            granted, at = found
            if granted is None:
                return "never asked"
            later = ", which is later" if at > as_of else ""
            return f"{'granted' if granted else 'refused'} on {_written(at)}{later}"
        case History():
            figures = zip(_told(leaf), found, strict=True)
            return ", ".join(
                f"{name} {'never' if value is None else _written(value)}" for name, value in figures
            )
    raise TypeError(f"no words for {type(leaf).__name__}")  # pragma: no cover


def _written(value: Anything) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        exact = value.normalize()
        return f"{value:.2f}" if -exact.as_tuple().exponent <= 2 else f"{exact:f}"  # type: ignore[operator]
    if isinstance(value, datetime):
        precision = "microseconds" if value.microsecond else "seconds" if value.second else "minutes"
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", precision) + " UTC"
    if isinstance(value, date):
        return value.isoformat()
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
