"""Checks of segments that name each other: unknown names, circles, and what would grow too large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from drumbeat.issues import Issue, nearest
from drumbeat.segments.nodes import (
    EVERYONE,
    Attribute,
    Field,
    History,
    Node,
    Reference,
    Segment,
    Test,
    children,
)

MAX_DEPTH = 25
"""Conditions inside conditions, references counted; more would exhaust Python's stack when SQL is written."""

MAX_CONDITIONS = 500
"""Conditions of one segment, references expanded; SQLite refuses expressions deeper than 1,000."""

MAX_VALUES = 10_000
"""Values in lists of one segment, references expanded; SQLite binds at most 32,766."""


class _Size(NamedTuple):
    conditions: int = 0
    values: int = 0
    depth: int = 0


def check_references(segments: Mapping[str, Segment]) -> list[Issue]:
    """Return every fault in how segments name each other."""
    check = _Check(segments)
    for name in segments:
        check.measure(name)
    return check.issues


class _Check:
    """Walks the segments; each is measured once, so that doubling references cost nothing here."""

    def __init__(self, segments: Mapping[str, Segment]) -> None:
        self.segments = segments
        self.issues: list[Issue] = []
        self._sizes: dict[str, _Size] = {EVERYONE: _Size(1, 0, 1)}
        self._way: list[str] = []

    def measure(self, name: str) -> _Size:
        if name not in self._sizes:
            self._way.append(name)
            size = self._grow(self.segments[name].root)
            self._way.pop()
            self._sizes[name] = self._limited(name, size)
        return self._sizes[name]

    def _limited(self, name: str, size: _Size) -> _Size:
        """Note what is too large; it counts as nothing from there on, so that it is told once."""
        limits = (
            (size.conditions, MAX_CONDITIONS, "conditions", "Split it."),
            (size.values, MAX_VALUES, "listed values", "Put them into an attribute of the customers."),
            (size.depth, MAX_DEPTH, "levels of nesting", "Flatten it."),
        )
        over = [limit for limit in limits if limit[0] > limit[1]]
        for found, most, what, fix in over:
            text = f"the segment '{name}' has {found:,} {what}, those of segments it names counted;"
            text += f" at most {most:,} can be asked."
            self.issues.append(Issue(self.segments[name].place, "DB038", text, fix))
        return _Size() if over else size

    def _grow(self, node: Node) -> _Size:
        inside = (
            [self._follow(node)] if isinstance(node, Reference) else [self._grow(n) for n in children(node)]
        )
        tests = _tests(node)
        return _Size(
            max(1, len(tests)) + sum(size.conditions for size in inside),
            sum(map(_listed, tests)) + sum(size.values for size in inside),
            1 + max((size.depth for size in inside), default=0),
        )

    def _follow(self, node: Reference) -> _Size:
        if node.name != EVERYONE and node.name not in self.segments:
            known = nearest(node.name, [*self.segments, EVERYONE])
            self.issues.append(Issue(node.place, "DB035", f"unknown segment '{node.name}'.", known))
        elif node.name in self._way:
            circle = " → ".join([*self._way[self._way.index(node.name) :], node.name])
            text = f"the segments name each other in a circle: {circle}."
            self.issues.append(Issue(node.place, "DB036", text, "Remove one of the references."))
        elif len(self._way) > MAX_DEPTH:
            text = f"is more than {MAX_DEPTH} segments away from where the naming began."
            self.issues.append(Issue(node.place, "DB038", text, "Flatten it."))
        else:
            return self.measure(node.name)
        return _Size()


def _tests(node: Node) -> list[Test]:
    match node:
        case Field() | Attribute():
            return list(node.tests)
        case History():
            inside = [test for where in node.where for test in where.tests]
            return [*node.count, *node.total, *node.first, *node.last, *inside, Test("in", node.names)]
        case _:
            return []


def _listed(test: Test) -> int:
    return len(test.value) if isinstance(test.value, tuple) else 1
