"""Turns pydantic's validation errors into Issues with places and suggestions, in a marketer's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from drumbeat.document import Document, Loc
from drumbeat.issues import Issue, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_EXPECTED: Mapping[str, str] = {
    "model_type": "a mapping, such as {{key: value}}",
    "dict_type": "a mapping, such as {{key: value}}",
    "tuple_type": "a list, such as [a, b]",
    "list_type": "a list, such as [a, b]",
    "string_type": "text",
    "string_too_short": "some text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "time_parsing": "a time of day such as 09:00",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
}
"""What each of pydantic's faults asks for. https://docs.pydantic.dev/latest/errors/validation_errors/"""

_NAME = "a name of small letters, digits and underscores"


def issues_of(
    error: ValidationError, model: type[BaseModel], document: Document, within: Loc = ()
) -> list[Issue]:
    """Return one Issue a fault. `within` is the way from the document's top to the validated value."""
    issues: dict[tuple[object, str], Issue] = {}
    for fault in error.errors():
        issue = _issue(fault, model, document, within)
        issues.setdefault((issue.place, issue.code + issue.message), issue)
    return list(issues.values())


def _issue(fault: ErrorDetails, model: type[BaseModel], document: Document, within: Loc) -> Issue:
    # pydantic adds steps of its own for a mapping's keys and a union's members.
    loc = (*within, *(part for part in fault["loc"] if part != "[key]"))
    kind, last = fault["type"], str(fault["loc"][-1]) if fault["loc"] else ""
    if kind == "extra_forbidden":
        known = _fields_at(model, fault["loc"][:-1])
        return Issue(document.place(loc), "DB021", f"unknown key '{last}'.", nearest(last, known))
    if kind == "missing":
        return Issue(document.place(loc), "DB022", f"the key '{last}' is missing.")
    what = ".".join(map(str, loc)) or "the file"
    if kind == "value_error":
        message = str(fault["msg"]).removeprefix("Value error, ")
        return Issue(document.value_place(loc), "DB020", f"{what}: {_sentence(message)}")
    place = document.place(loc) if "[key]" in fault["loc"] else document.value_place(loc)
    fix = (
        "Put it in quotes."
        if kind == "string_type" and isinstance(fault["input"], bool | int | float)
        else ""
    )
    if kind == "literal_error" and isinstance(fault["input"], str):
        near = nearest(fault["input"], re.findall(r"'([^']+)'", str(fault.get("ctx", {}).get("expected"))))
        fix = near if near.startswith("Did you mean") else ""
    return Issue(place, "DB020", f"{what}: found {_shown(fault)}; expected {_expected(fault)}.", fix)


def _sentence(text: str) -> str:
    return text if text.endswith(("?", ".")) else f"{text}."


def _shown(fault: ErrorDetails) -> str:
    """Write what was found as it stands in YAML, shortened."""
    value: Any = fault["input"]
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list | tuple):
        if fault["type"] in ("too_short", "too_long"):
            return f"{len(value)} ({', '.join(map(str, value))})" if value else "none"
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _expected(fault: ErrorDetails) -> str:
    if fault["type"] == "string_pattern_mismatch":
        pattern = str(fault.get("ctx", {}).get("pattern", ""))
        return _NAME if pattern.startswith("^[a-z][a-z0-9_]") else f"text that matches {pattern}"
    known = _EXPECTED.get(fault["type"])
    return known.format_map(fault.get("ctx", {})) if known else str(fault["msg"])


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys that are known at `loc` inside the model, aliases as written in YAML."""
    current: type[BaseModel] | None = model
    for part in loc:
        if current is None:
            return []
        field = next((f for n, f in current.model_fields.items() if part in (n, f.alias)), None)
        if field is None:
            continue
        current = _model_in(field.annotation)
    return [f.alias or n for n, f in current.model_fields.items()] if current else []


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_in(argument)) is not None:
            return found
    return None
