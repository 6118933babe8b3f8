"""What `plan --json` and `explain --json` print has the shape that docs/commands.md promises."""

from __future__ import annotations

from datetime import timedelta

import pytest

from drumbeat.planning.explain import explain
from drumbeat.planning.plan import plan

PLAN = {"run", "as_of", "dry_run", "given_up", "campaigns"}
PLAN_CAMPAIGN = {"campaign", "candidates", "planned", "deferred", "skipped"}
EXPLAIN = {
    *("customer", "campaign", "as_of", "conclusion", "enabled", "ledger", "due", "occasions", "trigger"),
    *("segment", "refusal", "cap", "window_opens"),
}
LEDGER = {"message", "occasion", "state", "reason", "planned_at", "sent_at", "answer", "history"}
SEGMENT = {"text", "place", "met", "found", "children"}
CAP = {"used", "messages", "held_by", "obeyed", "channel"}


@pytest.fixture
def manual(project_root):
    return (project_root / "docs" / "commands.md").read_text(encoding="utf-8")


def test_the_plan(store, people, make_project, manual, now):
    shape = plan(store, make_project(), as_of=now).to_json()
    assert set(shape) == PLAN
    assert set(shape["campaigns"][0]) == PLAN_CAMPAIGN
    assert [key for key in PLAN | PLAN_CAMPAIGN if f'"{key}"' not in manual] == []


def test_the_explanation(store, people, make_project, manual, now):
    (customer,) = people.add()
    people.happen("hello", customer, now - timedelta(hours=1))
    plan(store, make_project(), as_of=now)
    (found,) = explain(store, make_project(), "c1", as_of=now)
    shape = found.to_json()
    assert set(shape) == EXPLAIN
    assert set(shape["ledger"][0]) == LEDGER
    assert set(shape["segment"]) == SEGMENT
    assert set(shape["cap"]) == CAP
    promised = EXPLAIN | LEDGER | SEGMENT | CAP
    assert [key for key in promised if f'"{key}"' not in manual and f"`{key}`" not in manual] == []
