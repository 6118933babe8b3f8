"""Options, instants and the reference project, for every test; stores and small projects: tests/support."""

from __future__ import annotations

import os
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drumbeat.clock import FixedClock

pytest_plugins = ["support.databases", "support.projects", "support.tables"]

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes golden files anew instead of comparing with them."""
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew instead of comparing"
    )


NEEDED_IN_CI = ("postgresql", "smtp", "prefect", "browser")
"""Markers of tests that may be skipped on a machine without the server, but never where DRUMBEAT_NO_SKIP is set."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where DRUMBEAT_NO_SKIP says that everything needed is there."""
    report = yield
    needed = any(item.get_closest_marker(name) for name in NEEDED_IN_CI)
    if report.skipped and needed and os.environ.get("DRUMBEAT_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped, but DRUMBEAT_NO_SKIP is set: {call.excinfo.value if call.excinfo else ''}"
        )
    return report


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The reference project."""
    return ROOT


@pytest.fixture
def now() -> datetime:
    """An instant inside the reference data."""
    return datetime(2011, 12, 5, 9, 0, tzinfo=UTC)


@pytest.fixture
def clock(now: datetime) -> FixedClock:
    """A clock that stands at `now` until a test moves it."""
    return FixedClock(now)
