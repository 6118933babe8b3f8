"""Rows in, customers out: every case of cases/*.yaml, on both databases, in a plan and in an explanation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import Connection, select

from drumbeat.clock import parse_instant
from drumbeat.document import parse_document, read_document
from drumbeat.segments.compile import compile_segment
from drumbeat.segments.explain import explain_segment
from drumbeat.segments.grammar import Segment, parse_segments
from drumbeat.segments.schema import segments_schema
from drumbeat.store.tables import customers

FOLDER = Path(__file__).parent / "cases"
CASES = [
    pytest.param({"as_of": document["as_of"]} | case, id=f"{path.stem}: {case['case']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in [read_document(path).value]
    for case in document["cases"]
]


def parsed(case: dict[str, Any]) -> dict[str, Segment]:
    """The segments of a case; the one it asks about is called `asked`."""
    defined = {**case.get("segments", {}), "asked": case["segment"]}
    segments, issues = parse_segments(
        parse_document(json.dumps(defined, ensure_ascii=False), Path("segments.yaml"))
    )
    assert issues == []
    return segments


@pytest.mark.parametrize("case", CASES)
def test_the_segment_holds_exactly_the_customers_that_the_case_names(
    case: dict[str, Any], rows: Connection, fill: Callable[..., dict[str, int]]
) -> None:
    as_of = parse_instant(case["as_of"])
    ids = fill(rows, case["customers"], as_of)
    condition = compile_segment(parsed(case), "asked", as_of)
    found = set(rows.scalars(select(customers.c.id).where(condition)))
    assert {name for name, number in ids.items() if number in found} == set(case["in"])


@pytest.mark.parametrize("case", CASES)
def test_the_explanation_agrees_with_the_plan_and_says_what_was_found(
    case: dict[str, Any], rows: Connection, fill: Callable[..., dict[str, int]]
) -> None:
    as_of = parse_instant(case["as_of"])
    ids, segments = fill(rows, case["customers"], as_of), parsed(case)
    verdicts = {name: explain_segment(rows, segments, "asked", number, as_of) for name, number in ids.items()}
    assert {name for name, verdict in verdicts.items() if verdict.met} == set(case["in"])
    for name, found in case.get("found", {}).items():
        assert [str(leaf) for leaf in verdicts[name].decisive()] == found


@pytest.mark.parametrize("case", CASES)
def test_the_schema_for_editors_accepts_what_the_program_accepts(case: dict[str, Any]) -> None:
    defined = {**case.get("segments", {}), "asked": case["segment"]}
    assert [error.message for error in Draft202012Validator(segments_schema()).iter_errors(defined)] == []
