"""A task is given exactly once, whatever is cut off, and its people list and close it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, select
from support.notes import ledger, note

from drumbeat.cli import cli
from drumbeat.clock import FixedClock
from drumbeat.delivery import Answer, Outcome
from drumbeat.delivery import task as task_module
from drumbeat.delivery.task import TaskBackend
from drumbeat.errors import StoreError, UsageError
from drumbeat.outbox.deliver import deliver
from drumbeat.outbox.tasks import close_task, find_task, list_tasks
from drumbeat.planning.plan import plan
from drumbeat.project.load import Project
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import audit, tasks

Make = Callable[..., Project]
HOUR = timedelta(hours=1)


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours runs after it."""


@pytest.fixture
def planned(store: Engine, make: Make, people: Any, agree: Any, now: datetime) -> Project:
    """A project with three tasks planned: for Priya, for Tom, and for whoever has no manager."""
    project = make(["task"])
    for manager in ("priya", "tom", None):
        (customer,) = people.add(manager=manager, phone="+447700900123")
        agree(customer)
        people.happen("task", customer, now - HOUR)
    plan(store, project, as_of=now)
    return project


def rows(engine: Engine) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.execute(select(tasks).order_by(tasks.c.id)).all())


def test_tasks_go_to_the_manager_else_to_the_desk_and_are_due_as_the_campaign_says(
    store: Engine, planned: Project, clock: FixedClock, now: datetime
) -> None:
    assert deliver(store, planned, clock=clock).sent == 3
    found = rows(store)
    assert [(t.assignee, t.title) for t in found] == [
        ("priya", "Call Name1"),
        ("tom", "Call Name2"),
        ("desk", "Call Name3"),
    ]
    assert {t.due_at for t in found} == {now + timedelta(days=2)}
    assert {t.created_at for t in found} == {now}


def test_without_a_time_of_its_own_a_task_is_due_after_that_of_project_yaml(
    store: Engine, make: Make, people: Any, agree: Any, clock: FixedClock, now: datetime
) -> None:
    project = make(["task"], message={"template": "call", "channel": "task"})
    (customer,) = people.add()
    agree(customer)
    people.happen("task", customer, now - HOUR)
    plan(store, project, as_of=now)
    deliver(store, project, clock=clock)
    assert rows(store)[0].due_at == now + timedelta(days=1)


def test_the_same_message_handed_over_twice_is_one_task(
    store: Engine, planned: Project, clock: FixedClock
) -> None:
    deliver(store, planned, clock=clock)
    first = rows(store)
    again = [
        note(t.assignee, channel="task", key=str(t.id), message_id=t.message_id, due_at=t.due_at,
             fields={"title": "again", "customer_id": t.customer_id, "created_at": t.created_at})
        for t in first
    ]  # fmt: skip
    answers: list[Answer] = []
    TaskBackend(store).hand_over(again, lambda one: True, lambda one, answer: answers.append(answer))
    assert [a.outcome for a in answers] == [Outcome.ACCEPTED] * 3
    assert rows(store) == first


def cut(monkeypatch: pytest.MonkeyPatch, *, after: bool, error: BaseException) -> None:
    """Break the insert off, before it or after it but before its commit."""
    insert = task_module._insert

    def broken(connection: Any, notes: Any) -> None:
        if after:
            insert(connection, notes)
        raise error

    monkeypatch.setattr(task_module, "_insert", broken)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [Killed("stop"), StoreError("locked")], ids=["stopped", "store"])
def test_what_is_cut_off_before_its_commit_was_not_given_and_is_given_by_the_next_run(
    store: Engine,
    planned: Project,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    after: bool,
    error: BaseException,
) -> None:
    with monkeypatch.context() as patched:
        cut(patched, after=after, error=error)
        with pytest.raises(type(error)):
            deliver(store, planned, clock=clock)
    assert rows(store) == []
    assert {row[1] for row in ledger(store)} == {"planned"}
    clock.advance(HOUR)
    assert deliver(store, planned, clock=clock).sent == 3
    assert len(rows(store)) == 3


@pytest.mark.parametrize("committed", [False, True])
def test_a_kill_leaves_no_task_uncertain_the_store_says_what_became_of_it(
    store: Engine, planned: Project, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The worker is gone after `begin`: nothing of it runs any more, and its lease runs out."""

    class Dead(TaskBackend):
        def hand_over(self, parcels: Any, begin: Any, done: Any) -> None:
            if committed:
                super().hand_over(parcels, begin, lambda one, answer: None)
            else:
                for one in parcels:
                    begin(one)
            raise Killed

    with monkeypatch.context() as patched:
        # Neither records anything nor gives back: as after a SIGKILL.
        patched.setattr("drumbeat.outbox.chunk.Chunk._cut_off", lambda self, error: None)
        patched.setattr("drumbeat.outbox.chunk.Chunk._record", lambda self: None)
        patched.setattr("drumbeat.outbox.deliver.release", lambda *words, **names: None)
        patched.setattr("drumbeat.outbox.journal.Journal.close", lambda self: None)
        with pytest.raises(Killed):
            deliver(store, planned, clock=clock, others={"task": Dead(store)})
    assert {row[1] for row in ledger(store)} == {"handing_over"}
    clock.advance(HOUR)
    delivered = deliver(store, planned, clock=clock)
    assert (delivered.sent, delivered.uncertain) == (3, 0)
    assert len(rows(store)) == 3
    assert {row[1] for row in ledger(store)} == {"sent"}


def test_lists_are_by_person_and_state_and_say_what_is_overdue(
    store: Engine, planned: Project, clock: FixedClock, now: datetime
) -> None:
    deliver(store, planned, clock=clock)
    with writing(store) as connection:
        mine = list_tasks(connection, at=now, assignee="priya")
        assert [(t.assignee, t.customer, t.campaign, t.overdue) for t in mine] == [
            ("priya", "c1", "task", False)
        ]
        close_task(connection, mine[0].task, "done", at=now, by="priya", note="ordered")
        late = now + timedelta(days=2)
        assert [t.overdue for t in list_tasks(connection, at=late)] == [True, True]
        assert list_tasks(connection, at=late, assignee="priya") == []
        assert [t.overdue for t in list_tasks(connection, at=late, assignee="priya", state="done")] == [False]
        assert len(list_tasks(connection, at=late, state=None)) == 3
        assert len(list_tasks(connection, at=late, state=None, limit=2)) == 2
        noted = connection.execute(select(audit)).one()
    assert (noted.actor, noted.action, noted.subject) == ("priya", "tasks done", "c1")


def test_a_task_is_closed_once(store: Engine, planned: Project, clock: FixedClock, now: datetime) -> None:
    deliver(store, planned, clock=clock)
    number = rows(store)[0].id
    outcomes: list[str] = []

    def close(state: str) -> None:
        try:
            with writing(store) as connection:
                outcomes.append(close_task(connection, number, state, at=now, by="x").state)
        except UsageError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=close, args=(state,)) for state in ("done", "cancelled")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(store) as connection:
        state = find_task(connection, number, at=now).state
    assert sorted(outcomes) == sorted(
        [state, f"task {number} is {state} already since 2011-12-05 09:00 UTC, by x"]
    )


@pytest.mark.parametrize("number", [0, 999_999, 10**30])
def test_a_task_that_is_none_is_said(store: Engine, now: datetime, number: int) -> None:
    with writing(store) as connection, pytest.raises(UsageError, match=f"there is no task {number}"):
        close_task(connection, number, "done", at=now, by="x")


def test_the_command_lists_shows_and_closes(
    store_url: str, make: Make, monkeypatch: pytest.MonkeyPatch, clock: FixedClock, now: datetime
) -> None:
    from support.projects import People

    from drumbeat.store.engine import connect
    from drumbeat.store.upgrade import upgrade

    monkeypatch.setenv("DRUMBEAT_DATABASE_URL", store_url)
    monkeypatch.setenv("DRUMBEAT_ACTOR", "anna")
    project = make(["task"], segment="everyone", kind="service")
    engine = connect(store_url)
    upgrade(engine)
    people = People(engine)
    (customer,) = people.add(manager="priya")
    people.happen("task", customer, now - HOUR)
    plan(engine, project, as_of=now)
    deliver(engine, project, clock=clock)
    engine.dispose()

    def call(*words: str) -> Any:
        return CliRunner().invoke(cli, ["tasks", *words, "-C", str(project.root)], catch_exceptions=True)

    def read(*words: str) -> Any:
        return json.loads(call(*words, "--json").stdout)

    (listed,) = read("list", "--assignee", "priya", "--as-of", "2011-12-05T10:00+00:00")
    assert set(listed) == {
        *("task", "assignee", "state", "title", "text", "customer", "campaign"),
        *("created_at", "due_at", "overdue", "done_at", "done_by", "note"),
    }
    assert listed["due_at"] == "2011-12-07T09:00:00+00:00"
    assert read("list", "--assignee", "tom") == []
    number = str(listed["task"])
    assert "Call Name1" in call("list", "--as-of", "2011-12-05T10:00+00:00").stdout
    shown = call("show", number, "--as-of", "2011-12-09").stdout
    assert "For priya, due 2011-12-07 09:00 UTC, overdue" in shown
    assert "Customer c1, campaign task" in shown
    assert call("done", number, "--note", "ordered").stdout == f"Task {number} is done: Call Name1\n"
    again = call("cancel", number)
    assert isinstance(again.exception, UsageError)
    assert f"task {number} is done already" in str(again.exception)
    closed = read("show", number)
    assert (closed["state"], closed["done_by"], closed["note"]) == ("done", "anna", "ordered")
    assert call("list").stdout == "No task is open.\n"
