"""Modules that are imported when first used, so that `--help` and `validate` answer at once.

SQLAlchemy alone costs 0.3 s to import. Code that is loaded for checking, but does its SQL only when a
plan runs, takes it from here.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class LazyModule(ModuleType):
    """Stands for the module `name` and imports it at the first attribute that is asked for."""

    def __getattr__(self, attribute: str) -> object:
        return getattr(importlib.import_module(self.__name__), attribute)


def lazy_module(name: str) -> ModuleType:
    """Return a stand-in for the module `name` that imports it at first use."""
    return LazyModule(name)
