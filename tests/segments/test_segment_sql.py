"""The SQL that segments become, to be read: golden/<segment>.<database>.sql, written by --update-golden."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from drumbeat.document import parse_document
from drumbeat.errors import UsageError
from drumbeat.segments.compile import compile_segment
from drumbeat.segments.grammar import parse_segments
from drumbeat.store.tables import customers

GOLDEN = Path(__file__).parent / "golden"
AS_OF = datetime(2011, 12, 5, 9, tzinfo=UTC)
DIALECTS: dict[str, Dialect] = {"postgresql": postgresql.dialect(), "sqlite": sqlite.dialect()}
SEGMENTS, FAULTS = parse_segments(
    parse_document(
        """
reachable_shoppers:
  all:
    - consent: offers
    - country: {in: [GB, DE, RU]}
    - orders: {count: {at_least: 1}, within: 365d}
    - not: {segment: staff}
loyal:
  any:
    - orders: {total: {at_least: 500}, within: 365d}
    - attribute: {loyalty_tier: gold}
    - events: {name: product_viewed, count: {at_least: 3}, within: 7d}
staff:
  seed: true
all_time_value:
  orders: {total: {at_least: 1000}, last: {not_within: 90d}}
""",
        Path("segments.yaml"),
    )
)


@pytest.mark.parametrize("database", DIALECTS)
@pytest.mark.parametrize("name", SEGMENTS)
def test_the_sql_of_a_segment_is_the_golden_one(
    name: str, database: str, request: pytest.FixtureRequest
) -> None:
    statement = select(customers.c.id).where(compile_segment(SEGMENTS, name, AS_OF))
    options = {"literal_binds": database == "postgresql", "render_postcompile": True}
    text = str(statement.compile(dialect=DIALECTS[database], compile_kwargs=options))
    text = re.sub(r" *\n", "\n", text) + "\n"
    golden = GOLDEN / f"{name}.{database}.sql"
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == text


def test_the_reference_segments_have_no_fault() -> None:
    assert FAULTS == []


def test_no_clock_is_read_in_sql() -> None:
    for name in SEGMENTS:
        for dialect in DIALECTS.values():
            sql = str(compile_segment(SEGMENTS, name, AS_OF).compile(dialect=dialect)).lower()
            assert not re.search(r"now\(|current_|julianday|strftime", sql)


def test_an_unknown_segment_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"unknown segment 'loyall'\. Did you mean 'loyal'\?"):
        compile_segment(SEGMENTS, "loyall", AS_OF)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="has no time zone"):
        compile_segment(SEGMENTS, "loyal", AS_OF.replace(tzinfo=None))
