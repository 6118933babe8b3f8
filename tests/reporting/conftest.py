"""The scene of tests/responses, here too."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_file = Path(__file__).parent.parent / "responses" / "conftest.py"
_spec = importlib.util.spec_from_file_location("drumbeat_test_scene", _file)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

Scene = _module.Scene
scene = _module.scene
