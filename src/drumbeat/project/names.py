"""The names a campaign uses: each must exist where it is defined.

They are read from the file as it stands, not from the checked settings: a wrong priority must not hide a
wrong segment until the next attempt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drumbeat.document import Document, Loc
from drumbeat.issues import Issue, nearest
from drumbeat.project.faults import issues_of
from drumbeat.project.models import ProjectConfig
from drumbeat.segments.grammar import EVERYONE, Segment
from drumbeat.settings import NAME_PATTERN
from drumbeat.triggers import Trigger


@dataclass(frozen=True)
class Known:
    """What campaigns may name. None stands for a file that cannot be read, which has a fault of its own."""

    root: Path
    config: ProjectConfig | None
    segments: Mapping[str, Segment] | None
    kinds: Mapping[str, type[Trigger]] | None


def check_names(document: Document, known: Known, found: list[Issue]) -> None:
    """Add a fault for each name in the campaign that nothing answers to, and for a file under another name."""
    name = _text_at(document, ("campaign",))
    if name is not None and name != document.path.stem:
        message = f"the campaign '{name}' stands in {document.path.name}."
        fix = f"Name the file {name}.yaml, so that it is found by its name."
        found.append(Issue(document.value_place(("campaign",)), "DB010", message, fix))
    if known.segments is not None:
        _check(document, ("segment",), "DB011", "segment", (EVERYONE, *known.segments), found)
    folders = [p.name for p in (known.root / "templates").glob("[a-z]*") if p.is_dir()]
    _check(document, ("message", "template"), "DB012", "template", folders, found)
    if known.config is not None:
        _check(document, ("topic",), "DB013", "topic", known.config.topics, found)
        _check(document, ("sender",), "DB015", "sender", known.config.senders, found)


def check_trigger(document: Document, known: Known, found: list[Issue]) -> Trigger | None:
    """Return the campaign's trigger; add faults and return None where its kind or parameters are wrong."""
    value = document.value.get("trigger") if isinstance(document.value, dict) else None
    if known.kinds is None or not isinstance(value, dict) or len(value) != 1:
        return None  # of another shape than one kind: the settings' own check says so
    ((kind, parameters),) = value.items()
    if not isinstance(kind, str):
        return None
    if kind not in known.kinds:
        place = document.place(("trigger", kind))
        found.append(Issue(place, "DB014", f"unknown trigger '{kind}'.", nearest(kind, known.kinds)))
        return None
    try:
        return known.kinds[kind].model_validate({} if parameters is None else parameters)
    except ValidationError as error:
        found += issues_of(error, known.kinds[kind], document, within=("trigger", kind))
        return None


def _check(
    document: Document, loc: Loc, code: str, what: str, known: Iterable[str], found: list[Issue]
) -> None:
    name, known = _text_at(document, loc), list(known)
    if name is not None and name not in known:
        found.append(
            Issue(document.value_place(loc), code, f"unknown {what} '{name}'.", nearest(name, known))
        )


def _text_at(document: Document, loc: Loc) -> str | None:
    value: Any = document.value
    for part in loc:
        value = value.get(part) if isinstance(value, dict) else None
    # What is no name at all is said by the settings' own check.
    return value if isinstance(value, str) and re.match(NAME_PATTERN, value) else None
