"""Fixtures: a small shop whose mails are planned."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers.shop import make_shop

from drumbeat.project.load import Project, load_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A shop with one campaign."""
    return load_project(make_shop(tmp_path / "shop"))
