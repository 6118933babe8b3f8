"""Random segments against an evaluator in plain Python that shares no code with the compiler."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from drumbeat.document import parse_document
from drumbeat.segments.compile import compile_segment
from drumbeat.segments.explain import explain_segment
from drumbeat.segments.grammar import parse_segments
from drumbeat.store.tables import customers

AS_OF = datetime(2011, 12, 5, 9, tzinfo=UTC)
US = timedelta(microseconds=1)
SPANS = {"1d": timedelta(1), "7d": timedelta(7), "30d": timedelta(30), "365d": timedelta(365)}
DAYS = ["2011-11-28", "2011-12-04", "2011-12-05"]
TEXTS = ["", "a", "A", "ab", "%", "a_b", "Ж", "жЖ"]
NUMBERS: list[int | float] = [0, 1, 2, -1, 0.5, 1.5]
VALUES: list[Any] = [*TEXTS, *NUMBERS, True, False]
ENTRIES: list[Any] = [*VALUES, None, [], ["a", 1], [True, "Ж"], [["a"]], {"a": 1}]
INSTANTS = [
    AS_OF + delta + US * step
    for span in (timedelta(), *SPANS.values())
    for delta in (-span, span)
    for step in (-1, 0, 1)
]
INSTANTS += [
    datetime(2011, 12, 5, tzinfo=UTC),
    datetime(2011, 12, 4, 23, 59, 59, 999999, UTC),
    datetime(2011, 11, 29, tzinfo=UTC),
]


def people() -> dict[str, dict[str, Any]]:
    """Sixty customers with unknown, odd and borderline values; always the same ones."""
    dice = random.Random(20111205)

    def when() -> str:
        return dice.choice(INSTANTS).isoformat()

    def entries() -> dict[str, Any]:
        return {key: dice.choice(ENTRIES) for key in ("x", "ю") if dice.random() < 0.8}

    return {
        f"p{number}": {
            "country": dice.choice([None, *TEXTS]),
            "city": dice.choice([None, *TEXTS]),
            "birth_date": dice.choice([None, *DAYS]),
            "created_at": dice.choice([None, when()]),
            "seed": dice.random() < 0.2,
            "attributes": entries(),
            "consents": {
                topic: {"granted": dice.random() < 0.7, "at": when()}
                for topic in ("offers", "news")
                if dice.random() < 0.7
            },
            "orders": [
                {
                    "at": when(),
                    "total": dice.choice(["0", "0.1", "0.2", "10", "25.5"]),
                    "status": dice.choice(["placed", "placed", "cancelled"]),
                    "products": dice.sample(["A", "a", "B"], dice.randint(0, 2)),
                }
                for _ in range(dice.randint(0, 4))
            ],
            "events": [
                {"name": dice.choice(["viewed", "Viewed"]), "at": when(), "properties": entries()}
                for _ in range(dice.randint(0, 4))
            ],
        }
        for number in range(60)
    }


PEOPLE = people()


# What a random segment looks like: plain values, as they would be read from YAML.


def operators(**choices: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """One or two operators, each with a fitting value."""
    one = st.sampled_from(sorted(choices)).flatmap(
        lambda name: choices[name].map(lambda value: (name.rstrip("_"), value))
    )
    return st.lists(one, min_size=1, max_size=2).map(dict)


def equality(values: list[Any]) -> dict[str, st.SearchStrategy[Any]]:
    value, several = st.sampled_from(values), st.lists(st.sampled_from(values), min_size=1, max_size=3)
    return {"is": value, "is_not": value, "in": several, "not_in": several}


def comparisons(values: list[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return dict.fromkeys(("at_least", "at_most", "more_than", "less_than"), st.sampled_from(values))


PARTS = {name: st.sampled_from([text for text in TEXTS if text]) for name in ("contains", "starts_with")}
EXISTS = {"exists": st.booleans()}
TEXT = st.one_of(st.sampled_from(TEXTS), operators(**equality(TEXTS), **PARTS, **EXISTS))
JSON = st.one_of(
    st.sampled_from(VALUES),
    operators(**equality(VALUES), **comparisons(NUMBERS), **PARTS, **EXISTS, has=st.sampled_from(VALUES)),
)
SPAN = st.sampled_from(sorted(SPANS))
MOMENTS = {
    "before": st.sampled_from([*DAYS, *(i.isoformat() for i in INSTANTS)]),
    "after": st.sampled_from([*DAYS, *(i.isoformat() for i in INSTANTS)]),
    "within": SPAN,
    "not_within": SPAN,
}
DAY = st.one_of(
    st.sampled_from(DAYS),
    operators(**equality(DAYS), **EXISTS, before=st.sampled_from(DAYS), after=st.sampled_from(DAYS)),
)
COUNT = st.one_of(st.integers(0, 3), operators(**equality([0, 1, 2]), **comparisons([0, 1, 2])))
TOTAL = st.one_of(
    st.sampled_from([0, 0.3, 10]),
    operators(**equality([0, 0.3, 10, 25.5]), **comparisons([0, 0.1, 10, 35.5])),
)
PRODUCT = st.one_of(
    st.sampled_from(["A", "a"]),
    st.fixed_dictionaries({"is": st.sampled_from(["A", "B"])}),
    st.fixed_dictionaries({"in": st.lists(st.sampled_from(["A", "a", "B"]), min_size=1, max_size=2)}),
)
HISTORY = {"count": COUNT, "first": operators(**MOMENTS), "last": operators(**MOMENTS), "within": SPAN}
ORDERS = st.fixed_dictionaries({}, optional={**HISTORY, "total": TOTAL, "product": PRODUCT}).filter(bool)
WHERE = st.dictionaries(st.sampled_from(["x", "ю"]), JSON, min_size=1, max_size=2)
EVENTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["viewed", "Viewed", "never"])}, optional={**HISTORY, "where": WHERE}
)
LEAF = st.one_of(
    st.fixed_dictionaries({}, optional={"country": TEXT, "city": TEXT}).filter(bool),
    st.fixed_dictionaries({"birth_date": DAY}),
    st.fixed_dictionaries({"created_at": operators(**MOMENTS, **EXISTS)}),
    st.fixed_dictionaries({"seed": st.booleans()}),
    st.fixed_dictionaries({"consent": st.sampled_from(["offers", "news"])}),
    st.fixed_dictionaries({"segment": st.sampled_from(["everyone", "other"])}),
    st.fixed_dictionaries({"attribute": WHERE}),
    st.fixed_dictionaries({"orders": ORDERS}),
    st.fixed_dictionaries({"events": EVENTS}),
)
TREE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.builds(lambda a, b: {"all": [a], **b}, inner, LEAF),
    ),
    max_leaves=6,
)


# The second opinion: what a segment means, said in plain Python.


def holds(condition: dict[str, Any], person: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(holds_one(key, value, person, other) for key, value in condition.items())


def holds_one(key: str, value: Any, person: dict[str, Any], other: dict[str, Any]) -> bool:
    if key == "all":
        return all(holds(part, person, other) for part in value)
    if key == "any":
        return any(holds(part, person, other) for part in value)
    if key == "not":
        return not holds(value, person, other)
    if key == "segment":
        return value == "everyone" or holds(other, person, other)
    if key == "consent":
        consent = person["consents"].get(value)
        return bool(consent) and consent["granted"] and datetime.fromisoformat(consent["at"]) <= AS_OF
    if key == "attribute":
        return all(passes(person["attributes"].get(name), tests) for name, tests in value.items())
    if key == "orders":
        chosen = [o for o in person["orders"] if o["status"] == "placed"]
        if "product" in value:
            chosen = [o for o in chosen if set(o["products"]) & listed(value["product"])]
        return remembered(chosen, value)
    if key == "events":
        chosen = [e for e in person["events"] if e["name"] == value["name"]]
        for name, tests in value.get("where", {}).items():
            chosen = [e for e in chosen if passes(e["properties"].get(name), tests)]
        return remembered(chosen, value)
    if key == "created_at":
        created = person["created_at"] and datetime.fromisoformat(person["created_at"])
        return passes(created if created and created <= AS_OF else None, value)
    if key == "birth_date":
        return passes(person[key] and date.fromisoformat(person[key]), value)
    return passes(person[key], value)


def listed(product: Any) -> set[str]:
    if isinstance(product, str):
        return {product}
    return set(product["in"]) if "in" in product else {product["is"]}


def remembered(rows: list[dict[str, Any]], value: dict[str, Any]) -> bool:
    rows = [row for row in rows if datetime.fromisoformat(row["at"]) <= AS_OF]
    if "within" in value:
        rows = [row for row in rows if datetime.fromisoformat(row["at"]) > AS_OF - SPANS[value["within"]]]
    moments = sorted(datetime.fromisoformat(row["at"]) for row in rows)
    if "count" in value:
        if not passes(len(rows), value["count"]):
            return False
    elif not rows:
        return False
    total = sum((Decimal(row["total"]) for row in rows), Decimal(0)) if "total" in value else None
    return (
        ("total" not in value or passes(total, value["total"]))
        and ("first" not in value or passes(moments[0] if moments else None, value["first"]))
        and ("last" not in value or passes(moments[-1] if moments else None, value["last"]))
    )


def passes(found: Any, tests: Any) -> bool:
    if not isinstance(tests, dict):
        return same(found, tests)
    return all(passes_one(found, operator, value) for operator, value in tests.items())


def passes_one(found: Any, operator: str, value: Any) -> bool:
    if operator.startswith("not_") or operator == "is_not":
        return not passes_one(found, "is" if operator == "is_not" else operator.removeprefix("not_"), value)
    if operator == "exists":
        return (found is not None) == value
    if operator == "is":
        return same(found, value)
    if operator == "in":
        return any(same(found, item) for item in value)
    if operator == "has":
        return isinstance(found, list) and any(same(item, value) for item in found)
    if operator in ("contains", "starts_with"):
        return isinstance(found, str) and (
            value in found if operator == "contains" else found.startswith(value)
        )
    if found is None:
        return False
    if operator == "within":
        return AS_OF - SPANS[value] < found <= AS_OF
    if operator in ("before", "after"):
        return before(found, value) if operator == "before" else after(found, value)
    if isinstance(found, bool) or not isinstance(found, int | float | Decimal):
        return False
    bound = Decimal(str(value)) if isinstance(found, Decimal) else value
    return {
        "at_least": found >= bound,
        "at_most": found <= bound,
        "more_than": found > bound,
        "less_than": found < bound,
    }[operator]


def same(found: Any, value: Any) -> bool:
    if isinstance(found, date) and not isinstance(found, datetime):
        return found.isoformat() == value
    if isinstance(found, Decimal):
        return found == Decimal(str(value))
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    if isinstance(found, str) or isinstance(value, str):
        return isinstance(found, str) and found == value
    return isinstance(found, int | float) and found == value


def before(found: Any, value: str) -> bool:
    if not isinstance(found, datetime):
        return bool(found < date.fromisoformat(value))
    day = len(value) == 10
    return found < (
        datetime.fromisoformat(value).replace(tzinfo=UTC) if day else datetime.fromisoformat(value)
    )


def after(found: Any, value: str) -> bool:
    if not isinstance(found, datetime):
        return bool(found > date.fromisoformat(value))
    if len(value) == 10:
        return found >= datetime.fromisoformat(value).replace(tzinfo=UTC) + timedelta(days=1)
    return found > datetime.fromisoformat(value)


@pytest.fixture
def filled(rows: Connection, fill: Callable[..., dict[str, int]]) -> Connection:
    fill(rows, PEOPLE, AS_OF)
    return rows


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=TREE, other=LEAF.filter(lambda leaf: "segment" not in leaf))
def test_any_segment_holds_exactly_those_that_plain_python_finds(
    filled: Connection, tree: dict[str, Any], other: dict[str, Any]
) -> None:
    text = json.dumps({"asked": tree, "other": other}, ensure_ascii=False)
    segments, issues = parse_segments(parse_document(text, Path("segments.yaml")))
    assert issues == []
    condition = compile_segment(segments, "asked", AS_OF)
    found = set(filled.scalars(select(customers.c.external_id).where(condition)))
    assert found == {name for name, person in PEOPLE.items() if holds(tree, person, other)}
    rest = set(filled.scalars(select(customers.c.external_id).where(~condition)))
    assert rest == set(PEOPLE) - found, (
        "a customer is neither in the segment nor outside: the condition is NULL"
    )
    for number in (1, 30, 60):
        assert explain_segment(filled, segments, "asked", number, AS_OF).met == (f"p{number - 1}" in found)
