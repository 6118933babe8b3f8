"""JSON Schemas of the project's files, so that an editor completes and checks them while they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drumbeat.errors import UsageError
from drumbeat.project.kinds import trigger_kinds
from drumbeat.project.models import Campaign, ProjectConfig
from drumbeat.segments.schema import segments_schema

FOLDER = Path(".drumbeat/schemas")


def campaign_schema(root: Path) -> dict[str, Any]:
    """Return the schema of a campaign file, with the parameters of every trigger kind of this project.

    Raises ProjectError where the project's triggers cannot be imported.
    """
    schema = Campaign.model_json_schema(by_alias=True)
    kinds = trigger_kinds(root)
    definitions = schema.setdefault("$defs", {})
    properties: dict[str, Any] = {}
    for name, kind in sorted(kinds.items()):
        parameters = kind.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        definitions.update(parameters.pop("$defs", {}))
        definitions[f"trigger_{name}"] = parameters
        properties[name] = {"anyOf": [{"$ref": f"#/$defs/trigger_{name}"}, {"type": "null"}]}
    schema["properties"]["trigger"] = {
        "description": "Why now: one kind with its parameters",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return schema


def write(root: Path) -> list[Path]:
    """Write the schemas into `.drumbeat/schemas` of the project and return the files. Raises UsageError."""
    try:
        return _write(root, root / FOLDER)
    except OSError as error:
        fault = f"cannot write into {root / FOLDER}: {error.strerror}; make the folder writable"
        raise UsageError(fault) from error


def _write(root: Path, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in (
        ("project", ProjectConfig.model_json_schema(by_alias=True)),
        ("campaign", campaign_schema(root)),
        ("segments", segments_schema()),
    ):
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        written.append(path)
    return written
