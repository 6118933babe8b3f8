"""Reads segments.yaml: names to conditions.

    reachable_shoppers:
      all:
        - consent: offers
        - country: {in: [France, Germany]}
        - orders: {count: {at_least: 1}, within: 365d}
        - not: {segment: staff}

A condition is one mapping; several keys in it mean all of them. docs/segments.md is its manual.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any as Anything

import yaml

from drumbeat.document import Document, Loc
from drumbeat.issues import Issue, Place, nearest
from drumbeat.segments.nodes import (
    EVERYONE,
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
    Test,
    walk,
)
from drumbeat.segments.operators import FIELDS, Source, read_span, read_tests, shown
from drumbeat.segments.references import MAX_DEPTH, check_references

__all__ = ["EVERYONE", "Segment", "parse_segments", "topics_used"]

NAME = r"^[a-z][a-z0-9_]{0,62}$"

LOGIC = ("all", "any", "not", "segment")
LEAVES = ("consent", "attribute", "orders", "events")
KEYS = (*LOGIC, *LEAVES, *FIELDS)
"""Every key that a condition may have."""

HISTORY_KEYS: dict[str, dict[str, str]] = {
    "orders": {
        "count": "count",
        "total": "amount",
        "first": "moment",
        "last": "moment",
        "within": "span",
        "product": "name",
    },
    "events": {
        "name": "name",
        "count": "count",
        "first": "moment",
        "last": "moment",
        "within": "span",
        "where": "json",
    },
}
"""What `orders` and `events` may say, and the kind of each value."""


def parse_segments(document: Document) -> tuple[dict[str, Segment], list[Issue]]:
    """Read every segment, and all faults at once.

    Where there are issues the segments are for checking other files' references only: parts that could not
    be read are left out of them.
    """
    source = Source(document)
    if document.value is None:
        return {}, []
    if not isinstance(document.value, dict):
        source.at_value(
            "DB030", (), f"found {shown(document.value)}, expected names of segments, each with a condition."
        )
        return {}, source.issues
    segments: dict[str, Segment] = {}
    for key, value in document.value.items():
        name = str(key)
        if name == EVERYONE:
            source.at_key(
                "DB037",
                (key,),
                f"the segment '{EVERYONE}' is always there and cannot be defined.",
                "Choose another name.",
            )
        elif not re.match(NAME, name):
            source.at_key(
                "DB037",
                (key,),
                f"'{name}' cannot name a segment.",
                "Use small letters, digits and _, a letter first.",
            )
        root = _Parser(source).condition((key,), value)
        segments[name] = Segment(name, document.place((key,)), root or All("all", document.place((key,)), ()))
    return segments, sorted({*source.issues, *check_references(segments)})


def topics_used(segments: Mapping[str, Segment]) -> Iterator[tuple[str, Place]]:
    """Give each topic that a `consent:` names, with the place of the naming."""
    for segment in segments.values():
        for node in walk(segment.root):
            if isinstance(node, Consent):
                yield node.topic, node.place


class _Parser:
    """Turns the plain values of one segment into nodes; faults go to the source."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def condition(self, loc: Loc, value: Anything, depth: int = 1) -> Node | None:
        """Read one mapping. None where nothing in it could be read."""
        if not isinstance(value, dict):
            self.source.at_value(
                "DB030",
                loc,
                f"found {shown(value)}, expected a condition such as {{country: France}}.",
                _list_fix(value),
            )
            return None
        if not value:
            self.source.at_value(
                "DB030",
                loc,
                "the condition is empty.",
                f"To mean all customers write {{segment: {EVERYONE}}}.",
            )
            return None
        if depth > MAX_DEPTH:
            self.source.at_value("DB038", loc, f"is nested more than {MAX_DEPTH} deep.", "Flatten it.")
            return None
        nodes = [
            node for key, part in value.items() if (node := self._entry((*loc, key), str(key), part, depth))
        ]
        if len(nodes) == 1:
            return nodes[0]
        return All("all", self.source.document.value_place(loc), tuple(nodes)) if nodes else None

    def _entry(self, loc: Loc, key: str, value: Anything, depth: int) -> Node | None:
        place = self.source.document.place(loc)
        match key:
            case "all" | "any":
                return self._group(loc, key, value, depth)
            case "not":
                child = self.condition(loc, value, depth + 1)
                return Not("not", place, child) if child else None
            case "segment" | "consent":
                if not isinstance(value, str):
                    what = "the name of a segment" if key == "segment" else "one topic"
                    self.source.at_value("DB033", loc, f"'{key}': found {shown(value)}, expected {what}.")
                    return None
                text = f"{key}: {_words(value)}"
                return (
                    Reference(text, place, value)
                    if key == "segment"
                    else Consent(text, self.source.document.value_place(loc), value)
                )
            case "attribute":
                found = self._attributes(loc, value, prefix="attribute: ")
                return found[0] if len(found) == 1 else All("all", place, found) if found else None
            case "orders" | "events":
                return self._history(loc, key, value)
            case _ if key in FIELDS:
                return Field(
                    f"{key}: {_words(value)}", place, key, read_tests(self.source, loc, value, FIELDS[key])
                )
        self.source.at_key("DB031", loc, f"unknown condition '{key}'.", nearest(key, KEYS))
        return None

    def _group(self, loc: Loc, key: str, value: Anything, depth: int) -> Node | None:
        if not isinstance(value, list):
            self.source.at_value(
                "DB030",
                loc,
                f"'{key}': found {shown(value)}, expected a list of conditions.",
                "Begin each with '- '.",
            )
            return None
        if not value:
            self.source.at_value(
                "DB030", loc, f"'{key}' holds no condition.", "Name at least one, or remove it."
            )
            return None
        nodes = tuple(
            node for i, item in enumerate(value) if (node := self.condition((*loc, i), item, depth + 1))
        )
        place = self.source.document.place(loc)
        return All(key, place, nodes) if key == "all" else Any(key, place, nodes)

    def _attributes(self, loc: Loc, value: Anything, prefix: str) -> tuple[Attribute, ...]:
        """Read `{loyalty_tier: gold, score: {at_least: 5}}`: one node an entry."""
        if not isinstance(value, dict) or not value:
            self.source.at_value(
                "DB030",
                loc,
                f"'{loc[-1]}': found {shown(value or None)}, expected names with values such as {{tier: gold}}.",
            )
            return ()
        return tuple(
            Attribute(
                f"{prefix}{_words({key: part})}",
                self.source.document.place((*loc, key)),
                str(key),
                read_tests(self.source, (*loc, key), part, "json"),
            )
            for key, part in value.items()
        )

    def _history(self, loc: Loc, kind: Anything, value: Anything) -> Node | None:
        known, name_key = HISTORY_KEYS[kind], "product" if kind == "orders" else "name"
        if not isinstance(value, dict) or (not value and kind == "orders"):
            example = "{count: {at_least: 1}}" if kind == "orders" else "{name: product_viewed}"
            self.source.at_value(
                "DB030", loc, f"'{kind}': found {shown(value or None)}, expected a mapping such as {example}."
            )
            return None
        tests: dict[str, tuple[Test, ...]] = {}
        for key, part in value.items():
            if key not in known:
                self.source.at_key(
                    "DB031", (*loc, key), f"unknown key '{key}' in '{kind}'.", nearest(str(key), known)
                )
            elif key not in ("within", "where"):
                tests[key] = read_tests(self.source, (*loc, key), part, known[key])
        if kind == "events" and "name" not in value:
            self.source.at_key(
                "DB039", loc, "'events' does not say which.", "Add for example name: product_viewed."
            )
        names = [test.value for test in tests.pop(name_key, ())]
        if len(names) > 1:
            self.source.at_value(
                "DB033",
                (*loc, name_key),
                f"'{name_key}': found two operators.",
                "Write one list, {in: [...]}.",
            )
        return History(
            f"{kind}: {_words(value)}",
            self.source.document.place(loc),
            kind,
            **tests,
            within=read_span(self.source, (*loc, "within"), value["within"]) if "within" in value else None,
            names=tuple(str(n) for found in names for n in (found if isinstance(found, tuple) else (found,))),
            where=self._attributes((*loc, "where"), value["where"], prefix="where: ")
            if "where" in known and "where" in value
            else (),
        )


def _list_fix(value: Anything) -> str:
    return "Write all: or any: before the list." if isinstance(value, list) else ""


def _words(value: Anything) -> str:
    """Write a value as YAML on one line; a long one is cut."""
    line = yaml.dump(
        value,
        Dumper=yaml.CSafeDumper,
        default_flow_style=True,
        allow_unicode=True,
        sort_keys=False,
        width=10**6,
    )
    line = line.removesuffix("...\n").strip()
    return line if len(line) <= 300 else f"{line[:297]}..."
