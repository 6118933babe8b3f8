"""Turns pydantic's validation errors into Issues with places and suggestions."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from drumbeat.document import Document, Loc
from drumbeat.issues import Issue, nearest


def issues_of(
    error: ValidationError, model: type[BaseModel], document: Document, within: Loc = ()
) -> list[Issue]:
    """Return one Issue a fault. `within` is the way from the document's top to the validated value."""
    issues: dict[tuple[object, str], Issue] = {}
    for fault in error.errors():
        loc = (*within, *fault["loc"])
        kind = fault["type"]
        if kind == "extra_forbidden":
            name = str(fault["loc"][-1])
            known = _fields_at(model, fault["loc"][:-1])
            issue = Issue(document.place(loc), "DB021", f"unknown key '{name}'.", nearest(name, known))
        elif kind == "missing":
            issue = Issue(document.place(loc), "DB022", f"the key '{fault['loc'][-1]}' is missing.")
        else:
            what = ".".join(str(part) for part in loc if not str(part).startswith(("function-", "literal[")))
            message = str(fault["msg"]).removeprefix("Value error, ")
            issue = Issue(
                document.value_place(loc),
                "DB020",
                f"{what or 'the file'}: {message}.",
                "" if kind == "value_error" else f"Found {fault['input']!r}.",
            )
        issues.setdefault((issue.place, issue.code + issue.message), issue)
    return list(issues.values())


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
