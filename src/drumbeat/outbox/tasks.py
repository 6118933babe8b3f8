"""Tasks: what our own people are to do for customers, after they were given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select, update

from drumbeat.errors import UsageError
from drumbeat.store import audit
from drumbeat.store.tables import customers, messages, tasks

OPEN = "open"


class Task(NamedTuple):
    """A task with whom and what it is about. `customer`: the external id; `overdue`: open after its time."""

    task: int
    assignee: str
    state: str
    title: str
    text: str
    customer: str
    campaign: str
    created_at: datetime
    due_at: datetime
    overdue: bool
    done_at: datetime | None
    done_by: str | None
    note: str | None


def list_tasks(
    connection: Connection,
    *,
    at: datetime,
    assignee: str | None = None,
    state: str | None = OPEN,
    limit: int | None = None,
) -> list[Task]:
    """Return tasks, those due first in front. `state`: None is all. `at`: what is due by then is overdue."""
    wanted = _question().order_by(tasks.c.due_at, tasks.c.id)
    if assignee is not None:
        wanted = wanted.where(tasks.c.assignee == assignee)
    if state is not None:
        wanted = wanted.where(tasks.c.state == state)
    return _read(connection, wanted.limit(limit), at)


def find_task(connection: Connection, task_id: int, *, at: datetime) -> Task:
    """Return one task. Raises UsageError where there is none."""
    found = _read(connection, _question().where(tasks.c.id == task_id), at) if task_id < 2**63 else []
    if not found:
        raise UsageError(f"there is no task {task_id}; `drumbeat tasks list` shows those that are open")
    return found[0]


def close_task(
    connection: Connection, task_id: int, state: str, *, at: datetime, by: str, note: str | None = None
) -> Task:
    """Mark an open task as `done` or `cancelled`, and return it. Raises UsageError for one that is closed, or is none.

    Of two who close it at once, one does.
    """
    closed = connection.execute(
        update(tasks)
        .where(tasks.c.id == task_id, tasks.c.state == OPEN)
        .values(state=state, done_at=at, done_by=by, note=note)
        .returning(tasks.c.id)
    ).first() if task_id < 2**63 else None  # fmt: skip
    task = find_task(connection, task_id, at=at)
    if closed is None:
        when = f" since {task.done_at:%Y-%m-%d %H:%M} UTC, by {task.done_by}" if task.done_at else ""
        raise UsageError(f"task {task_id} is {task.state} already{when}")
    audit.note(connection, at, by, f"tasks {state}", task.customer, {"task": task_id, "note": note})
    return task


def _question() -> Select[Any]:
    return (
        select(tasks, customers.c.external_id.label("customer"), messages.c.campaign)
        .join(customers, customers.c.id == tasks.c.customer_id)
        .join(messages, messages.c.id == tasks.c.message_id)
    )


def _read(connection: Connection, question: Select[Any], at: datetime) -> list[Task]:
    rows: Sequence[Any] = connection.execute(question).all()
    return [
        Task(
            task=row.id,
            assignee=row.assignee,
            state=row.state,
            title=row.title,
            text=row.text,
            customer=row.customer,
            campaign=row.campaign,
            created_at=row.created_at,
            due_at=row.due_at,
            overdue=row.state == OPEN and row.due_at <= at,
            done_at=row.done_at,
            done_by=row.done_by,
            note=row.note,
        )
        for row in rows
    ]
