"""Each kind's cases: rows in, occasions out, on both databases. The cases are data: add one to the YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from drumbeat.clock import parse_instant
from drumbeat.document import read_document
from drumbeat.store.engine import reading
from drumbeat.store.tables import customers
from drumbeat.triggers import Moment, Trigger
from drumbeat.triggers.contract import check_trigger

CASES = Path(__file__).parent / "cases"
KEYS = {"case", "given", "params", "as_of", "time_zone", "due"}


def _cases() -> list[Any]:
    found = []
    for file in sorted(CASES.glob("*/*.yaml")):
        value = read_document(file).value
        for case in value["cases"]:
            merged = {**{k: v for k, v in value.items() if k != "cases"}, **case}
            assert set(merged) <= KEYS, f"{file}: {set(merged) - KEYS}"
            found.append(
                pytest.param(file.parent.name, merged, id=f"{file.parent.name}/{file.stem}: {case['case']}")
            )
    return found


@pytest.mark.parametrize(("kind", "case"), _cases())
def test_case(
    kind: str,
    case: Mapping[str, Any],
    kinds: Mapping[str, type[Trigger]],
    case_store: Engine,
    load: Callable[[Any], None],
    names: Callable[[], dict[int, str]],
) -> None:
    """The rows given lead to the occasions said, no more and no fewer, and the contract holds."""
    load(case.get("given") or {})
    trigger = kinds[kind].model_validate(case.get("params") or {})
    with reading(case_store) as connection:
        zones = connection.execute(select(customers.c.time_zone).distinct()).scalars().all()
        moment = Moment(
            parse_instant(case["as_of"]),
            case.get("time_zone", "Europe/London"),
            tuple(z for z in zones if z is not None),
        )
        found = connection.execute(trigger.select(moment)).all()
    name = names()
    occasions = sorted((name[row.customer_id], row.occasion, row.due_at, row.expires_at) for row in found)
    expected = case["due"] or []
    assert occasions == sorted(
        (e["customer"], e["occasion"], _at(e["due_at"]), _at(e["expires_at"])) for e in expected
    )
    assert check_trigger(trigger, moment, case_store) == []


def _at(text: str) -> datetime:
    return parse_instant(text)


def test_there_are_enough_cases_to_speak_of() -> None:
    """A typo in a path must not turn the cases into nothing."""
    assert len(_cases()) >= 45
