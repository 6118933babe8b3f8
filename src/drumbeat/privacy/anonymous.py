"""A person's rows made anonymous: what the registry says of each column, and the columns with rules of their own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, case, cast, delete, literal, select, update

from drumbeat.ledger.states import Move, Reason, State, move_many
from drumbeat.privacy.bare import empty_responses, tells_something
from drumbeat.privacy.export import audit_rows, condition
from drumbeat.privacy.names import Names
from drumbeat.privacy.person import Person
from drumbeat.privacy.registry import POLICIES, personal, table
from drumbeat.privacy.rename import renamed_occasions
from drumbeat.responses.inbox import DONE
from drumbeat.store.dialect.bulk import changed
from drumbeat.store.erased import STUB
from drumbeat.store.tables import (
    audit,
    customers,
    inbox,
    messages,
    responses,
    suppressions,
    tasks,
    throttles,
)

IN_ONE_STATEMENT = 1_000

FIRST = ("suppressions", "preferences", "consents")
"""Written first, in the order in which an unsubscribe writes them: so that the two never wait for each other."""


class Anonymous:
    """One person's rows on one connection. `stub`: the name of what is left; `rows`: how many changed, by table."""

    def __init__(
        self, connection: Connection, person: Person, names: Names, *, at: datetime, actor: str
    ) -> None:
        self._connection, self._person, self._names = connection, person, names
        self._at, self._actor = at, actor
        self._addresses = sorted(person.addresses)
        known = [one for one in person.external_ids if one.startswith(STUB)]
        self.stub = known[0] if known else f"{STUB}{secrets.token_hex(8)}"
        self.withdrawn = 0
        self.rows: dict[str, int] = {}

    def suppressed(self) -> list[str]:
        """Return the addresses that are suppressed, for whatever reason."""
        mine = suppressions.c.email_key.in_(self._addresses)
        return sorted(
            self._connection.execute(select(suppressions.c.email_key).where(mine).distinct()).scalars()
        )

    def make(self, calls: Sequence[int], *, thorough: bool = True) -> None:
        """Make the rows anonymous. `calls`: the inbox's rows that name them.

        Not `thorough`: rows that only a look through a whole table could find are left.
        """
        named_in = self._names if thorough else None
        entries = [row["id"] for row in audit_rows(self._connection, self._person, named_in)]
        occasions = renamed_occasions(self._connection, self._person, self._names, self.stub)
        self._withdraw()
        others = [name for name in personal() if name not in FIRST]
        for name in (*FIRST, *others):
            self._by_policy(name)
        self._rename(occasions)
        self._responses()
        self._close_tasks()
        if thorough:
            self._messages_of_others()
        self._inbox(calls)
        self._throttles()
        self._audit(entries)

    def _count(self, name: str, number: int) -> None:
        if number:
            self.rows[name] = self.rows.get(name, 0) + number

    def _withdraw(self) -> None:
        waiting = self._connection.execute(
            select(messages.c.id).where(
                messages.c.customer_id.in_(self._person.ids),
                messages.c.state.in_((State.PLANNED, State.DEFERRED)),
            )
        ).scalars()
        moves = [Move(one, State.SKIPPED, self._at, Reason.ERASED) for one in sorted(waiting)]
        for start in range(0, len(moves), IN_ONE_STATEMENT):
            self.withdrawn += len(move_many(self._connection, moves[start : start + IN_ONE_STATEMENT]))

    def _by_policy(self, name: str) -> None:
        """Delete or empty a table's rows as the registry says."""
        policy, of, mine = POLICIES[name], table(name), condition(self._person, name)
        if policy.delete:
            self._count(name, changed(self._connection, delete(of).where(mine)))
            return
        number = sum(self._words(name, column) for column in policy.columns("words"))
        values: dict[str, Any] = dict.fromkeys(policy.columns("null"))
        values |= {column: _empty(of.c[column]) for column in policy.columns("empty")}
        values |= {column: self._stub_of(of) for column in policy.columns("stub")}
        if values:  # of all their rows, so that those with words are among them
            number = changed(self._connection, update(of).where(mine).values(values))
        self._count(name, number)

    def _stub_of(self, of: Any) -> ColumnElement[str]:
        # Unique by the row's own number; the first customer row bears the name itself.
        numbered = literal(f"{self.stub}:", Text) + cast(of.c.id, Text)
        if of is not customers or not self._person.rows:
            return numbered
        return case((customers.c.id == self._person.ids[0], literal(self.stub, Text)), else_=numbered)

    def _words(self, name: str, column: str) -> int:
        of, number = table(name), 0
        rows = self._connection.execute(
            select(of.c.id, of.c[column]).where(condition(self._person, name), of.c[column].is_not(None))
        ).all()
        for row_id, text in rows:
            if (kept := self._names.scrubbed(text)) != text:
                self._connection.execute(update(of).where(of.c.id == row_id).values({column: kept}))
                number += 1
        return number

    def _rename(self, occasions: Mapping[int, str]) -> None:
        for message_id, occasion in sorted(occasions.items()):
            renamed = update(messages).where(messages.c.id == message_id).values(occasion=occasion)
            self._connection.execute(renamed)

    def _responses(self) -> None:
        theirs = condition(self._person, "responses") & tells_something()
        empty_responses(self._connection, theirs, self.stub)
        about_address = responses.c.email_key.in_(self._addresses)
        self._count("responses", empty_responses(self._connection, about_address, self.stub))

    def _close_tasks(self) -> None:
        closed = {"state": "cancelled", "done_at": self._at, "done_by": self._actor}
        still_open = tasks.c.customer_id.in_(self._person.ids) & (tasks.c.state == "open")
        self._connection.execute(update(tasks).where(still_open).values(closed))

    def _messages_of_others(self) -> None:
        """Take the addresses out of other people's messages: they may have had one of them before."""
        rows = self._connection.execute(
            select(messages.c.id, messages.c.answer).where(messages.c.address_key.in_(self._addresses))
        ).all()
        for row in rows:
            emptied = {"address_key": None, "answer": self._names.scrubbed(row.answer)}
            self._connection.execute(update(messages).where(messages.c.id == row.id).values(emptied))
        self._count("messages", len(rows))

    def _inbox(self, ids: Sequence[int]) -> None:
        emptied: dict[str, Any] = {"body": b"", "headers": {}, "state": DONE, "error": None}
        for start in range(0, len(ids), IN_ONE_STATEMENT):
            some = inbox.c.id.in_(ids[start : start + IN_ONE_STATEMENT])
            self._connection.execute(update(inbox).where(some).values(emptied))
        self._count("inbox", len(ids))

    def _throttles(self) -> None:
        for row in self._connection.execute(select(throttles).where(throttles.c.answer.is_not(None))).all():
            if self._names.named(row.answer.casefold()):
                emptied: dict[str, Any] = {"answer": self._names.scrubbed(row.answer)}
                self._connection.execute(update(throttles).where(throttles.c.key == row.key).values(emptied))
                self._count("throttles", 1)

    def _audit(self, entries: Sequence[int]) -> None:
        """Give the audit log's entries about them the stub's name: the one change that the log knows."""
        for row in self._connection.execute(select(audit).where(audit.c.id.in_(entries))).all():
            about_them = row.subject in self._person.subjects
            emptied = {
                "subject": self.stub if about_them else row.subject,
                "detail": self._names.cleaned(row.detail, self.stub, about_them=about_them),
            }
            self._connection.execute(update(audit).where(audit.c.id == row.id).values(emptied))
        self._count("audit", len(entries))


def _empty(column: Any) -> Any:
    return "" if isinstance(column.type, Text) else {}
