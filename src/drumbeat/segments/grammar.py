"""Reads segments.yaml. First slice: names and places only."""

from __future__ import annotations

from dataclasses import dataclass

from drumbeat.document import Document
from drumbeat.issues import Issue, Place

EVERYONE = "everyone"
"""The segment that needs no definition: every customer."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A named audience."""

    name: str
    place: Place


def parse_segments(document: Document) -> tuple[dict[str, Segment], list[Issue]]:
    """Read every segment of segments.yaml; faults come back beside them, all at once."""
    value = document.value or {}
    if not isinstance(value, dict):
        return {}, [Issue(document.place(), "DB030", "segments.yaml must map names to conditions.")]
    return {str(name): Segment(str(name), document.place((name,))) for name in value}, []
