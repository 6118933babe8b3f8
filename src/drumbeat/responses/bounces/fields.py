"""The groups of `Name: value` lines that reports for machines consist of."""

from __future__ import annotations

import re
from collections.abc import Iterator

from drumbeat.responses.bounces.mime import LONGEST_HEADER, Headers

MOST_GROUPS = 300
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60}):[ \t]*(.*)", re.DOTALL)
_BLANK = re.compile(r"\n[ \t]*\n")


def groups_in(text: str) -> Iterator[Headers]:
    """Give the groups of a report, parted by blank lines, in order; what begins with no field is left out.

    A line that is no field continues the one before it, blank in front or not: some servers write replies of
    several lines as they came.
    """
    position = 0
    for _ in range(MOST_GROUPS):
        blank = _BLANK.search(text, position)
        block = text[position : blank.start() if blank else len(text)]
        if (group := _group(block)).rows:
            yield group
        if blank is None:
            return
        position = blank.end()


def _group(block: str) -> Headers:
    rows: list[tuple[str, list[str]]] = []
    size = 0
    for line in block.split("\n"):
        if (match := _FIELD.fullmatch(line)) is not None:
            rows.append((match.group(1).lower(), [match.group(2)]))
            size = len(match.group(2))
        elif rows and size < LONGEST_HEADER:
            rows[-1][1].append(line.strip())
            size += len(line)
    return Headers(tuple((name, " ".join(lines)[:LONGEST_HEADER].strip()) for name, lines in rows))
