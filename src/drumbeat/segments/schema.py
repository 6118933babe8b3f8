"""The JSON Schema of segments.yaml, for editors that complete and check while one types.

Made from the tables that the parser uses. What a schema cannot say (circles, unknown topics) is left to
`drumbeat validate`.
"""

from __future__ import annotations

from typing import Any

from drumbeat.segments.grammar import EVERYONE, HISTORY_KEYS, NAME
from drumbeat.segments.operators import FIELDS, MAX_NUMBER, OPERATORS

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"

_VALUES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "name": {"type": "string"},
    "flag": {"type": "boolean"},
    "date": {"type": "string", "pattern": f"^{_DATE}$"},
    "count": {"type": "integer", "minimum": 0, "exclusiveMaximum": MAX_NUMBER},
    "amount": {"$ref": "#/$defs/number"},
    "json": {"anyOf": [{"type": ["string", "boolean"]}, {"$ref": "#/$defs/number"}]},
}
"""Kind of value -> what one value of it looks like."""


def segments_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of segments.yaml."""
    condition: dict[str, Any] = {"$ref": "#/$defs/condition"}
    several = {"type": "array", "items": condition, "minItems": 1}
    history = {kind: _history(kind) for kind in HISTORY_KEYS}
    keys: dict[str, Any] = {
        "all": {**several, "description": "Met where every condition is met."},
        "any": {**several, "description": "Met where at least one condition is met."},
        "not": {**condition, "description": "Met exactly where the condition is not."},
        "segment": {"type": "string", "description": f"The name of another segment, or {EVERYONE}."},
        "consent": {"type": "string", "description": "A topic of project.yaml that the customer agreed to."},
        "attribute": {**_entries(), "description": "Entries of the customer's attributes."},
        **history,
        **{field: {"$ref": f"#/$defs/{kind}"} for field, kind in FIELDS.items()},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Drumbeat segments",
        "description": "Named audiences: names, each with a condition. Several keys of a condition mean all of them.",
        "type": ["object", "null"],
        "propertyNames": {"pattern": NAME, "not": {"const": EVERYONE}},
        "additionalProperties": condition,
        "$defs": {
            "condition": {
                "type": "object",
                "properties": keys,
                "additionalProperties": False,
                "minProperties": 1,
            },
            "number": {"type": "number", "exclusiveMinimum": -MAX_NUMBER, "exclusiveMaximum": MAX_NUMBER},
            "span": {
                "type": "string",
                "pattern": r"^(\s*[0-9]+\s*[smhdwSMHDW])+\s*$",
                "examples": ["4h", "30d", "52w"],
            },
            **{kind: _kind(kind) for kind in OPERATORS},
        },
    }


def _history(kind: str) -> dict[str, Any]:
    entries = {
        key: _entries() if key == "where" else {"$ref": f"#/$defs/{what}"}
        for key, what in HISTORY_KEYS[kind].items()
    }
    schema: dict[str, Any] = {
        "type": "object",
        "properties": entries,
        "additionalProperties": False,
        "minProperties": 1,
    }
    return schema | ({"required": ["name"]} if kind == "events" else {})


def _entries() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"$ref": "#/$defs/json"}, "minProperties": 1}


def _kind(kind: str) -> dict[str, Any]:
    """Return the schema of one value, or a mapping of operators, of this kind."""
    operators = {operator: _operand(operator, kind) for operator in OPERATORS[kind]}
    tests = {"type": "object", "properties": operators, "additionalProperties": False, "minProperties": 1}
    if kind == "name":
        tests["maxProperties"] = 1
    return {"anyOf": [_VALUES[kind], tests]} if "is" in operators else tests


def _operand(operator: str, kind: str) -> dict[str, Any]:
    if operator in ("in", "not_in"):
        return {"type": "array", "items": _VALUES[kind], "minItems": 1}
    if operator == "exists":
        return {"type": "boolean"}
    if operator in ("within", "not_within"):
        return {"$ref": "#/$defs/span"}
    if operator in ("contains", "starts_with"):
        return {"type": "string", "minLength": 1}
    if operator in ("before", "after"):
        return _VALUES["date"] if kind == "date" else {"type": "string", "pattern": f"^{_DATE}"}
    if operator in ("at_least", "at_most", "more_than", "less_than") and kind == "json":
        return {"$ref": "#/$defs/number"}
    return _VALUES[kind]
