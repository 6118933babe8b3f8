"""How much is held about a person, by table."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from drumbeat.privacy.export import audit_rows, condition
from drumbeat.privacy.inbox import rows_naming
from drumbeat.privacy.names import Names
from drumbeat.privacy.person import Person
from drumbeat.privacy.registry import personal, table
from drumbeat.store.tables import responses


def overview(connection: Connection, person: Person, names: Names) -> dict[str, int]:
    """Return the number of a person's rows by table, every table of theirs in it."""
    counts = {}
    for name in personal():
        which = condition(person, name)
        if name == "responses":
            which |= responses.c.email_key.in_(sorted(person.addresses))
        counted = select(func.count()).select_from(table(name)).where(which)
        counts[name] = connection.execute(counted).scalar_one()
    counts["inbox"] = sum(1 for _ in rows_naming(connection, names))
    counts["audit"] = sum(1 for _ in audit_rows(connection, person, names))
    return counts
