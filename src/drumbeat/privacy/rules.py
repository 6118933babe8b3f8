"""What each setting of `retention:` removes, as a table: which rows, and what becomes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, func, or_, select, update

from drumbeat.ledger.states import Reason
from drumbeat.privacy.bare import only_rules
from drumbeat.responses.inbox import DONE
from drumbeat.store.tables import (
    audit,
    consent_events,
    events,
    inbox,
    message_events,
    messages,
    opt_ins,
    responses,
    tasks,
)

LONGEST_CODE = 13
"""Characters of a reply code with an enhanced status (`550 5.7.606`): a text no longer than that stays."""

_CODE = re.compile(r"\d{3}(?:[ -]\d\.\d{1,3}\.\d{1,3})?(?!\d)")


@dataclass(frozen=True)
class Part:
    """Rows of one table that a rule empties or deletes.

    `old`: which rows are over their time before an instant, given that and the instant up to which an earlier run has
    done its work (None: nothing yet). `columns`: what is read of a row, `emptied` gives from these what they become;
    without, rows are deleted.
    """

    of: Table
    old: Callable[[datetime, datetime | None], ColumnElement[bool]]
    columns: Sequence[str] = ()
    emptied: Callable[[Row[Any]], Mapping[str, Any]] | None = None

    def count(self, connection: Connection, before: datetime, done: datetime | None) -> int:
        """Return how many rows there are to do."""
        which = select(func.count()).select_from(self.of).where(self.old(before, done))
        return connection.execute(which).scalar_one()

    def do(
        self, connection: Connection, before: datetime, done: datetime | None, after: int, most: int
    ) -> list[int]:
        """Do at most so many rows, those with an id above `after`; return their ids."""
        columns = [self.of.c[name] for name in ("id", *self.columns)]
        rows = connection.execute(
            select(*columns)
            .where(self.of.c.id > after, self.old(before, done))
            .order_by(self.of.c.id)
            .limit(most)
            .with_for_update(skip_locked=True)
        ).all()
        ids = [row.id for row in rows]
        if self.emptied is None:
            connection.execute(delete(self.of).where(self.of.c.id.in_(ids)))
            return ids
        # Few different ends for many rows: one statement each.
        by_end: dict[str, tuple[Mapping[str, Any], list[int]]] = {}
        for row in rows:
            end = self.emptied(row)
            by_end.setdefault(repr(end), (end, []))[1].append(row.id)
        for end, some in by_end.values():
            connection.execute(update(self.of).where(self.of.c.id.in_(some)).values(end))
        return ids


def _over(column: ColumnElement[Any], *more: ColumnElement[bool]) -> Any:
    return lambda before, _done: and_(column < before, *more)


def _raw(before: datetime, done: datetime | None) -> ColumnElement[bool]:
    """Rows with rules alone stay as they are; what tells them from others is only the time they were done at."""
    loaded = responses.c.loaded_at
    old = and_(responses.c.raw.is_not(None), loaded < before)
    return old if done is None else and_(old, loaded >= done)


def _code_of(text: str) -> str | None:
    found = _CODE.match(text.lstrip())
    return found.group() if found is not None else None


def _long(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(func.length(column) > LONGEST_CODE, column.not_in([str(reason) for reason in Reason]))


PARTS: Mapping[str, Sequence[Part]] = {
    "inbox": [Part(inbox, _over(inbox.c.received_at, inbox.c.state == DONE))],
    "responses_raw": [
        Part(responses, _raw, ["raw"], lambda row: {"raw": only_rules(row.raw)}),
    ],
    "message_details": [
        Part(
            message_events,
            _over(message_events.c.at, _long(message_events.c.detail)),
            ["detail"],
            lambda row: {"detail": _code_of(row.detail)},
        ),
        Part(
            messages,
            _over(func.coalesce(messages.c.sent_at, messages.c.planned_at), _long(messages.c.answer)),
            ["answer"],
            lambda row: {"answer": _code_of(row.answer)},
        ),
    ],
    "unconfirmed": [Part(opt_ins, _over(opt_ins.c.expires_at, opt_ins.c.confirmed_at.is_(None)))],
    "tasks": [
        Part(
            tasks,
            _over(
                tasks.c.done_at,
                tasks.c.state != "open",
                or_(tasks.c.text != "", tasks.c.title != "", tasks.c.note.is_not(None)),
            ),
            [],
            lambda _row: {"title": "", "text": "", "note": None},
        )
    ],
    "events": [Part(events, _over(events.c.at))],
    "consents_proof": [
        Part(
            consent_events,
            _over(consent_events.c.at, consent_events.c.proof.is_not(None)),
            [],
            lambda _row: {"proof": None},
        ),
        Part(
            opt_ins,
            _over(opt_ins.c.confirmed_at, opt_ins.c.proof.is_not(None)),
            [],
            lambda _row: {"proof": None},
        ),
    ],
    "audit": [Part(audit, _over(audit.c.at))],
    "inactive_customers": [],
}
"""By the name of the setting; customers that are made anonymous are privacy.silent's work."""
