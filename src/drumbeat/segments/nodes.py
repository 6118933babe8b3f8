"""What a segment is made of: a tree of conditions, each with its words in YAML and its place.

Plain values only: no SQL, no clock. `compile` turns the tree into SQL, `explain` asks it about one customer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

from drumbeat.issues import Place

Scalar: TypeAlias = str | bool | int | float | Decimal | date | datetime | timedelta
"""What an operator compares with. Instants are aware and in UTC."""

EVERYONE = "everyone"
"""The segment that needs no definition: every customer."""

NEGATED = {"is_not": "is", "not_in": "in", "not_within": "within"}
"""Operators that are true exactly where another is not: a missing value satisfies them."""


@dataclass(frozen=True, slots=True)
class Test:
    """One operator with what it compares with: `at_least: 3`. `in` and `not_in` hold a tuple."""

    __test__ = False  # not one of pytest's

    operator: str
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One condition. `text`: as the YAML says it, on one line. `place`: where it stands."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class All(Node):
    """Met where every child is met."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any(Node):
    """Met where at least one child is met."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """Met exactly where its child is not."""

    child: Node


@dataclass(frozen=True, slots=True)
class Reference(Node):
    """Met where the segment `name` is."""

    name: str


@dataclass(frozen=True, slots=True)
class Consent(Node):
    """Met where the customer has granted consent to `topic`, at or before the time of the question."""

    topic: str


@dataclass(frozen=True, slots=True)
class Field(Node):
    """Tests of one column of the customer; all of them must hold."""

    field: str
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Attribute(Node):
    """Tests of one entry of a JSON object: the customer's attributes, or an event's properties."""

    key: str
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class History(Node):
    """Tests of the customer's orders or events; all of them must hold.

    First the rows are chosen: placed orders or events up to the time of the question, `within` the span
    before it, with one of `names` (an order that holds one of these products, an event of this name) and
    with properties that pass `where`. Then `count`, `total` (orders only), `first` and `last` look at them.
    Without a test of `count` there must be at least one row.
    """

    kind: Literal["orders", "events"]
    count: tuple[Test, ...] = ()
    total: tuple[Test, ...] = ()
    first: tuple[Test, ...] = ()
    last: tuple[Test, ...] = ()
    within: timedelta | None = None
    names: tuple[str, ...] = ()
    where: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A named audience: its name, where it is defined, and its condition."""

    name: str
    place: Place
    root: Node


def children(node: Node) -> tuple[Node, ...]:
    """Return the conditions directly inside a condition; references are not followed."""
    match node:
        case All() | Any():
            return node.children
        case Not():
            return (node.child,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Give the condition and all inside it, in the order of the file; references are not followed."""
    yield node
    for child in children(node):
        yield from walk(child)
