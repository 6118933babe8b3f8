"""Tasks: what one of us is to do for a customer, written into the store exactly once.

The message's own row in `tasks` is its hand-over: the same message again finds its row and adds none. So a
hand-over that was cut off can always be cleared up: the row is there, or it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from drumbeat.delivery import Answer, Begin, Done, Note, Outcome
from drumbeat.settings import Duration, Model

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class TaskSettings(Model):
    """`delivery.task` of project.yaml."""

    default_assignee: str | None = Field(
        None, min_length=1, description="Whose tasks they are where a customer has no manager"
    )
    due: Duration = Field(
        default="1d", validate_default=True, description="How long after it was given a task is due"
    )


class TaskBackend:
    """Writes tasks into the store."""

    name = "task"
    eight_bit = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self) -> None:
        """Nothing to get ready."""

    def close(self) -> None:
        """Nothing to let go of."""

    def hand_over(self, parcels: Sequence[Note], begin: Begin, done: Done) -> None:
        """Write tasks, all in one transaction. Raises StoreError where the database fails: nothing is written then."""
        from drumbeat.store.engine import writing

        going: list[Note] = []
        try:
            for note in parcels:
                if begin(note):
                    going.append(note)
                else:
                    done(note, Answer(Outcome.WITHDRAWN, "withdrawn before the task was given"))
            if going:
                with writing(self._engine) as connection:
                    _insert(connection, going)
        except BaseException:
            self._clear_up(going, done)
            raise
        self._tell(going, done)

    def _tell(self, going: Sequence[Note], done: Done) -> None:
        for note in going:
            done(note, Answer(Outcome.ACCEPTED, f"a task for {note.to}"))

    def _clear_up(self, going: Sequence[Note], done: Done) -> None:
        """Say how begun tasks ended where the transaction broke off: by whether they are there."""
        from drumbeat.errors import StoreError
        from drumbeat.store.engine import reading

        try:
            with reading(self._engine) as connection:
                there = written(connection, [note.message_id for note in going])
        except StoreError:
            return  # the next run finds out, from the journal and the store
        for note in going:
            if note.message_id in there:
                self._tell([note], done)
            else:
                done(note, Answer(Outcome.WITHDRAWN, "cut off before the task was given"))


def written(connection: Connection, message_ids: Sequence[int]) -> set[int]:
    """Return which of the messages have a task."""
    from sqlalchemy import select

    from drumbeat.store.tables import tasks

    if not message_ids:
        return set()
    found = connection.execute(select(tasks.c.message_id).where(tasks.c.message_id.in_(message_ids)))
    return set(found.scalars())


def _insert(connection: Connection, notes: Sequence[Note]) -> None:
    from drumbeat.store.dialect.insert import insert
    from drumbeat.store.tables import tasks

    statement = insert(connection, tasks).on_conflict_do_nothing(index_elements=["message_id"])
    connection.execute(statement, [_row(note) for note in sorted(notes, key=lambda note: note.message_id)])


def _row(note: Note) -> dict[str, Any]:
    return {
        "message_id": note.message_id,
        "customer_id": note.fields["customer_id"],
        "assignee": note.to,
        "title": note.fields["title"],
        "text": note.text,
        "created_at": note.fields["created_at"],
        "due_at": note.due_at,
        "state": "open",
    }
