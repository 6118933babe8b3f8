"""A small project in a folder of the test's own, to be spoiled one way at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drumbeat.errors import ProjectError
from drumbeat.project.load import load_project

PROJECT = """\
project: shop
senders:
  shop: {name: Shop, address: hello@shop.example.com, postal_address: 1 Lane}
topics:
  offers: Offers
"""

CAMPAIGN = """\
# A comment, so that lines count as in a real file.
campaign: reminder
description: Remind them
kind: marketing
topic: offers
priority: 80
segment: everyone
trigger:
  abandoned_cart: {idle_for: 4h}
message:
  template: reminder
"""

TRIGGERS = """\
from datetime import timedelta
from typing import ClassVar
from drumbeat.triggers import Duration, Trigger, sa, tables

class AbandonedCart(Trigger):
    kind: ClassVar[str] = "abandoned_cart"
    idle_for: Duration = timedelta(hours=4)
    min_total: int = 0

    def select(self, moment):
        return sa.select(tables.carts)

KINDS = {kind.kind: kind for kind in (AbandonedCart,)}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A sound project with one campaign."""
    files = {
        "project.yaml": PROJECT,
        "segments.yaml": "{}\n",
        "campaigns/reminder.yaml": CAMPAIGN,
        "triggers/__init__.py": TRIGGERS,
        "templates/reminder/subject.txt.j2": "Hello",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def faults(project: Path) -> Callable[[], list[str]]:
    """Load the project and return what is wrong, a line a fault."""

    def read() -> list[str]:
        try:
            load_project(project)
        except ProjectError as error:
            return str(error).splitlines()
        return []

    return read


@pytest.fixture
def change(project: Path) -> Callable[[str, str], None]:
    """Replace one piece of the campaign by another."""

    def replace(old: str, new: str) -> None:
        file = project / "campaigns/reminder.yaml"
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the campaign"
        file.write_text(text.replace(old, new), encoding="utf-8")

    return replace
