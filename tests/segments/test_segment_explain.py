"""What an explanation says: the words of the YAML, their place, the answer, and what was found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select

from drumbeat.document import parse_document
from drumbeat.errors import UsageError
from drumbeat.segments.compile import compile_segment
from drumbeat.segments.explain import Verdict, explain_segment
from drumbeat.segments.grammar import EVERYONE, parse_segments
from drumbeat.segments.references import MAX_CONDITIONS
from drumbeat.store.tables import customers

MANY = MAX_CONDITIONS - 1
AS_OF = datetime(2011, 12, 5, 9, tzinfo=UTC)
SEGMENTS, FAULTS = parse_segments(
    parse_document(
        """
reachable:
  all:
    - consent: offers
    - orders: {count: {at_least: 1}, within: 365d}
    - not: {segment: staff}
  country: {in: [France, "United Kingdom"]}
staff: {seed: true}
many:
  any: [ANY]
""".replace("[ANY]", str([{"city": f"city {n}"} for n in range(MANY)])),
        Path("segments.yaml"),
    )
)
PEOPLE = {
    "ann": {"consents": {"offers": True}, "country": "France", "seed": True, "orders": [{"at": "30d ago"}]},
    "bob": {"consents": {"offers": True}, "country": "France", "orders": [{"at": "400d ago"}]},
}

Fill = Callable[..., dict[str, int]]


def lines(verdict: Verdict, indent: str = "") -> list[str]:
    mark = "+" if verdict.met else "-"
    return [
        f"{indent}{mark} {verdict}",
        *(line for child in verdict.children for line in lines(child, indent + "  ")),
    ]


def test_the_verdict_is_a_tree_with_references_expanded(rows: Connection, fill: Fill) -> None:
    ids = fill(rows, PEOPLE, AS_OF)
    assert lines(explain_segment(rows, SEGMENTS, "reachable", ids["bob"], AS_OF)) == [
        "- all",
        "  - all",
        "    + consent: offers (found: granted on 2011-12-05 09:00 UTC)",
        "    - orders: {count: {at_least: 1}, within: 365d} (found: count 0)",
        "    + not",
        "      - segment: staff",
        "        - seed: true (found: false)",
        "  + country: {in: [France, United Kingdom]} (found: 'France')",
    ]


def test_every_line_knows_where_it_stands(rows: Connection, fill: Fill) -> None:
    ids = fill(rows, PEOPLE, AS_OF)
    verdict = explain_segment(rows, SEGMENTS, "reachable", ids["bob"], AS_OF)
    (why,) = verdict.decisive()
    assert (str(why.place), str(why)) == (
        "segments.yaml:5:7",
        "orders: {count: {at_least: 1}, within: 365d} (found: count 0)",
    )


def test_decisive_leaves_go_through_not_and_references(rows: Connection, fill: Fill) -> None:
    ids = fill(rows, PEOPLE, AS_OF)
    verdict = explain_segment(rows, SEGMENTS, "reachable", ids["ann"], AS_OF)
    assert [str(leaf) for leaf in verdict.decisive()] == ["seed: true (found: true)"]


def test_one_query_answers_all_leaves(rows: Connection, fill: Fill) -> None:
    ids = fill(rows, PEOPLE, AS_OF)
    statements: list[str] = []
    event.listen(rows, "before_cursor_execute", lambda *said: statements.append(said[2]))
    explain_segment(rows, SEGMENTS, "reachable", ids["ann"], AS_OF)
    assert len(statements) == 1


def test_the_largest_segment_is_planned_and_explained(rows: Connection, fill: Fill) -> None:
    ids = fill(rows, {"ann": {"city": f"city {MANY - 1}"}, "bob": {"city": f"city {MANY}"}}, AS_OF)
    condition = compile_segment(SEGMENTS, "many", AS_OF)
    assert list(rows.scalars(select(customers.c.id).where(condition))) == [ids["ann"]]
    assert explain_segment(rows, SEGMENTS, "many", ids["ann"], AS_OF).met
    assert len(list(explain_segment(rows, SEGMENTS, "many", ids["bob"], AS_OF).decisive())) == MANY


def test_everyone_is_met_and_stands_nowhere(rows: Connection, fill: Fill) -> None:
    ids = fill(rows, PEOPLE, AS_OF)
    assert explain_segment(rows, SEGMENTS, EVERYONE, ids["ann"], AS_OF) == Verdict(EVERYONE, None, met=True)


def test_an_unknown_customer_or_segment_is_refused(rows: Connection) -> None:
    with pytest.raises(UsageError, match="no customer has the id 99"):
        explain_segment(rows, SEGMENTS, "reachable", 99, AS_OF)
    with pytest.raises(UsageError, match="no customer has the id 99"):
        explain_segment(rows, SEGMENTS, EVERYONE, 99, AS_OF)
    with pytest.raises(UsageError, match=r"unknown segment 'reachabel'\. Did you mean 'reachable'\?"):
        explain_segment(rows, SEGMENTS, "reachabel", 1, AS_OF)
