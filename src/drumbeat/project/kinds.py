"""The project's trigger kinds: its `triggers/` package, imported under a name of its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from drumbeat.errors import ProjectError, UsageError
from drumbeat.issues import Issue, Place
from drumbeat.triggers import Trigger


def trigger_kinds(root: Path) -> Mapping[str, type[Trigger]]:
    """Return the project's trigger kinds by name. Raises ProjectError where they cannot be imported."""
    found: list[Issue] = []
    kinds = import_kinds(root, found)
    if kinds is None:
        raise ProjectError(found)
    return kinds


def import_kinds(root: Path, found: list[Issue]) -> Mapping[str, type[Trigger]] | None:
    """Import `triggers/__init__.py` and return its KINDS; add a fault and return None where that fails."""
    entry = root / "triggers" / "__init__.py"
    shown = Path("triggers/__init__.py")
    if not entry.is_file():
        found.append(
            Issue(Place(shown), "DB016", "is missing.", "It lists the trigger kinds: KINDS = {...}.")
        )
        return None
    name = f"drumbeat_project_{blake2b(str(root.resolve()).encode(), digest_size=6).hexdigest()}_triggers"
    spec = importlib.util.spec_from_file_location(name, entry, submodule_search_locations=[str(entry.parent)])
    if spec is None or spec.loader is None:  # cannot happen for a .py file
        raise UsageError(f"cannot import {entry}")
    for stale in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[stale]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a company's own code may raise anything
        found.append(
            Issue(
                _raised_at(error, root, shown),
                "DB016",
                f"cannot be imported: {' '.join(f'{type(error).__name__}: {error}'.split())}.",
            )
        )
        return None
    kinds: Any = getattr(module, "KINDS", None)
    if not isinstance(kinds, Mapping) or not all(
        isinstance(name, str) and isinstance(kind, type) and issubclass(kind, Trigger)
        for name, kind in kinds.items()
    ):
        found.append(
            Issue(
                Place(shown),
                "DB016",
                "has no KINDS.",
                "Expected a dict from a kind's name to its Trigger class.",
            )
        )
        return None
    return kinds


def _raised_at(error: BaseException, root: Path, default: Path) -> Place:
    """Return the innermost line of the project's own files in the error's traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        path = Path(error.filename)
        return Place(
            path.relative_to(root) if path.is_relative_to(root) else path,
            error.lineno or 1,
            error.offset or 1,
        )
    place, frame = Place(default), error.__traceback__
    while frame is not None:
        path = Path(frame.tb_frame.f_code.co_filename)
        if path.is_relative_to(root):
            place = Place(path.relative_to(root), frame.tb_lineno)
        frame = frame.tb_next
    return place
