"""Tables that a test shows at the end of the run, whether it passed or not, with any number of processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

PROPERTY = "table"


@pytest.fixture
def show_table(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Show a text among the results: `show_table("what it is\\nrow\\nrow")`; its first line is the heading."""
    return lambda text: record_property(PROPERTY, text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the tables that tests recorded."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, text in getattr(report, "user_properties", ()):
                if name == PROPERTY:
                    heading, _, rows = str(text).partition("\n")
                    terminalreporter.section(heading)
                    terminalreporter.line(rows)
