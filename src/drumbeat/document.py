"""YAML files with the place of every value, and none of YAML 1.1's surprises.

Scalars are read by the core schema of YAML 1.2: only `true` and `false` are booleans, so `on`, `no` and
`yes` stay words; `10:30` stays text (1.1 reads 630); dates stay text. A repeated key, a second document,
a merge key and an anchor that contains itself are faults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from drumbeat.errors import ProjectError
from drumbeat.issues import Issue, Place

MAX_NODES = 200_000
"""More values than this in one file are taken for an alias bomb."""

MAX_DEPTH = 100
"""Deeper nesting is refused before it exhausts Python's stack (at about 300)."""

Loc = tuple[str | int, ...]
"""The way to a value: keys and list positions from the top, as pydantic writes it."""


@dataclass(frozen=True)
class Document:
    """A YAML file's plain value and where each part of it stands."""

    path: Path
    value: Any
    _places: dict[Loc, Place] = field(repr=False)
    _values: dict[Loc, Place] = field(repr=False)

    def place(self, loc: Sequence[str | int] = ()) -> Place:
        """Return where the entry at `loc` stands: its key in a mapping, its value in a list.

        Where `loc` leads nowhere (a missing key, a step a validator added), the nearest entry above.
        """
        return self._nearest(self._places, loc)

    def value_place(self, loc: Sequence[str | int] = ()) -> Place:
        """Return where the value at `loc` begins, or the nearest entry above."""
        return self._nearest(self._values, loc)

    def _nearest(self, places: dict[Loc, Place], loc: Sequence[str | int]) -> Place:
        way = tuple(loc)
        while way and way not in places:
            way = way[:-1]
        return places.get(way, Place(self.path))


class _Loader(yaml.CSafeLoader):
    """libyaml's parser with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(f"^(?:{_pattern})$"),
        [*_first, *([""] if _tag == "null" else [])],
    )


def read_document(path: Path, *, shown_as: Path | None = None) -> Document:
    """Read a YAML file. Raises ProjectError with one Issue a fault; `shown_as` is the path printed in it."""
    shown = shown_as or path
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProjectError(
            [Issue(Place(shown), "DB002", f"is not UTF-8 text (byte {error.start}).", "Save it as UTF-8.")]
        ) from None
    except OSError as error:
        raise ProjectError([Issue(Place(shown), "DB001", f"cannot be read: {error.strerror}.")]) from None
    return parse_document(text, shown)


def parse_document(text: str, path: Path) -> Document:
    """Parse YAML text; `path` is used for places only. Raises ProjectError."""
    loader = _Loader(text)
    try:
        _check_depth(text, path)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ProjectError([_invalid(error, text, path)]) from None
    except yaml.YAMLError as error:
        raise ProjectError(
            [Issue(Place(path), "DB003", f"is not valid YAML: {' '.join(str(error).split())}.")]
        ) from None
    finally:
        loader.dispose()
    builder = _Builder(path)
    value = builder.build(node, ()) if node is not None else None
    if builder.issues:
        raise ProjectError(builder.issues)
    return Document(path, value, builder.places, builder.values)


def _check_depth(text: str, path: Path) -> None:
    """Refuse nesting that would exhaust the stack of libyaml, which then ends the process, or Python's."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            if depth > MAX_DEPTH:
                mark = event.start_mark
                place = Place(path, mark.line + 1, mark.column + 1) if mark else Place(path)
                raise ProjectError(
                    [Issue(place, "DB005", f"is nested more than {MAX_DEPTH} deep.", "Flatten it.")]
                )
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _invalid(error: yaml.MarkedYAMLError, text: str, path: Path) -> Issue:
    """Say what the parser found, in words that tell what to do where it is a common slip."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Issue(Place(path), "DB003", f"is not valid YAML: {error.problem or error.context}.")
    place = Place(path, mark.line + 1, mark.column + 1)
    if text[mark.index : mark.index + 1] == "\t":
        return Issue(place, "DB003", "a tab stands where YAML wants blanks.", "Indent with blanks.")
    problem = error.problem or error.context or ""
    if problem.startswith("but "):  # the parser's sentence begins in `context`
        problem = f"{error.context}, {problem}"
    return Issue(place, "DB003", f"is not valid YAML: {problem}.")


class _Builder:
    """Turns YAML nodes into plain values and notes each one's place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[Loc, Place] = {}
        self.values: dict[Loc, Place] = {}
        self.issues: list[Issue] = []
        self._open: set[int] = set()
        self._count = 0

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        place = self._at(node)
        self.values[loc] = place
        self.places.setdefault(loc, place)
        self._count += 1
        if len(loc) > MAX_DEPTH:
            raise ProjectError(
                [Issue(place, "DB005", f"is nested more than {MAX_DEPTH} deep.", "Flatten it.")]
            )
        if self._count > MAX_NODES:
            raise ProjectError(
                [Issue(place, "DB005", f"holds more than {MAX_NODES:,} values (aliases counted).")]
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            self._fault(node, "DB005", "an anchor contains itself.", "Write the value out.")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*loc, i)) for i, item in enumerate(node.value)]
            return dict(self._entries(node, loc))
        finally:
            self._open.discard(id(node))

    def _entries(self, node: yaml.Node, loc: Loc) -> Iterator[tuple[str | int, Any]]:
        seen: dict[str | int, Place] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if isinstance(key, bool) or not isinstance(key, str | int):
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                self._fault(key_node, "DB004", f"the key '{shown}' is not a word.", "Put it in quotes.")
                continue
            if key == "<<":
                self._fault(key_node, "DB004", "merge keys (<<) are not supported.", "Write the entries out.")
                continue
            place = self._at(key_node)
            if key in seen:
                self._fault(
                    key_node,
                    "DB006",
                    f"the key '{key}' is given twice (first on line {seen[key].line}).",
                    "Keep one of them.",
                )
                continue
            seen[key] = place
            self.places[(*loc, key)] = place
            yield key, self.build(value_node, (*loc, key))

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        tag, text = node.tag.rpartition(":")[2], node.value
        if tag == "str":
            return text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        try:
            if tag == "int":
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if tag == "float":
                return float(text)
        except ValueError:  # a tag of its own on another word, or more digits than Python reads
            self._fault(node, "DB004", f"cannot read '{text[:40]}' as a number.", "Put it in quotes.")
            return None
        self._fault(node, "DB004", f"the tag '{node.tag}' is not supported.", "Remove it.")
        return None

    def _at(self, node: yaml.Node) -> Place:
        return Place(self.path, node.start_mark.line + 1, node.start_mark.column + 1)

    def _fault(self, node: yaml.Node, code: str, message: str, fix: str = "") -> None:
        self.issues.append(Issue(self._at(node), code, message, fix))
