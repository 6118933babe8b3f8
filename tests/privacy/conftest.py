"""The crowd, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from privacy.crowd import SECRET, TRACES, Crowd
from servers.shop import make_shop
from sqlalchemy import Engine

from drumbeat.project.load import Project, load_project
from drumbeat.store.engine import connect


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A shop with one campaign that has a goal."""
    monkeypatch.setenv("DRUMBEAT_SECRET", SECRET)
    return load_project(make_shop(tmp_path / "shop", campaign={"goal": {"order": {"within": "5d"}}}))


@pytest.fixture
def crowd(store: Engine, project: Project, now: datetime) -> Crowd:
    """Emma and Ben."""
    made = Crowd(store, project, now)
    made.fill()
    return made


@pytest.fixture
def traces() -> Callable[[str], list[str]]:
    """Says what of Emma is found in a text."""
    return lambda text: [trace for trace in TRACES if trace in text.lower()]


@pytest.fixture
def postgresql_or_sqlite(store_url: str) -> Iterator[Engine]:
    """An empty database of the test's own, on both."""
    engine = connect(store_url)
    yield engine
    engine.dispose()
