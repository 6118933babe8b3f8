"""Addresses of erased people that an import brings back: the customer may exist again, and gets no mail."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, or_, select

from drumbeat.errors import UsageError
from drumbeat.store.dialect.insert import insert
from drumbeat.store.erased import REASON, Erased, any_erased
from drumbeat.store.tables import customers, opt_ins, suppressions

IN_ONE_QUERY = 2_000


def suppress_erased(connection: Connection, erased: Erased | None, loaded_at: datetime) -> int:
    """Suppress the erased addresses among the customers that were written at `loaded_at`; return how many there are.

    For every topic, service mail included. Left alone is a mailbox whose owner has asked for mail since, and
    confirmed it: that is their own new will. Only new and changed customers are looked at, 2,000 at a time, and none
    where nobody was erased yet. Raises UsageError where somebody was and `erased` is missing, or lacks a key:
    an import that cannot know erased people again must not go on.
    """
    if not any_erased(connection):
        return 0
    if erased is None:
        raise UsageError(
            "people were erased from this store, and this import has no secret to know them again"
        )
    erased.check_keys(connection)
    found = 0
    last = 0
    while True:
        rows = connection.execute(
            select(customers.c.id, customers.c.email_key, customers.c.phone, customers.c.telegram_id)
            .where(customers.c.loaded_at == loaded_at, customers.c.id > last, _has_address())
            .order_by(customers.c.id)
            .limit(IN_ONE_QUERY)
        ).all()
        if not rows:
            return found
        last = rows[-1].id
        keys = {row.email_key for row in rows} | {f"tel:{row.phone}" for row in rows if row.phone}
        keys |= {f"tg:{row.telegram_id}" for row in rows if row.telegram_id}
        since = erased.since(connection, keys - {None})
        known = {key: at for key, at in since.items() if not _asked_anew(connection, key, at)}
        _suppress(connection, known, loaded_at)
        found += len(known)


def _has_address() -> ColumnElement[bool]:
    columns = (customers.c.email_key, customers.c.phone, customers.c.telegram_id)
    return or_(*(column.is_not(None) for column in columns))


def _asked_anew(connection: Connection, key: str, since: datetime) -> bool:
    confirmed = exists().where(
        opt_ins.c.customer_id == customers.c.id,
        customers.c.email_key == key,
        opt_ins.c.confirmed_at > since,
    )
    return bool(connection.execute(select(confirmed)).scalar())


def _suppress(connection: Connection, known: dict[str, datetime], at: datetime) -> None:
    if not known:
        return
    statement = insert(connection, suppressions)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["email_key", "topic"],
            # The strongest reason there is (responses.suppress.STRENGTH).
            set_={name: statement.excluded[name] for name in ("reason", "at", "source")},
            where=suppressions.c.reason != REASON,
        ),
        [
            {"email_key": key, "topic": "", "reason": REASON, "at": at, "source": "import"}
            for key in sorted(known)
        ],
    )
