"""Who is the same person: customer rows that share a mailbox. The cap counts by person, not by row."""

from __future__ import annotations

import re

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import Connection, Select, func, select, update

from drumbeat.store.dialect.locks import lock
from drumbeat.store.tables import customers

# What every plain address looks like; judged the same as by email-validator (a test compares them)
# in 1.0 µs against 34.6. Everything else goes to the library.
_PLAIN = re.compile(
    r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?\.){1,3}(?:com|net|org|de|fr|uk|ru|nl|it|es)",
    re.ASCII,
)


def normal_address(address: str) -> str:
    """Return a deliverable form of an e-mail address as written: Unicode composed, the domain in small letters.

    Raises ValueError where it is no address. No server is asked.
    """
    if len(address) <= 64 and _PLAIN.fullmatch(address) and "--" not in address:
        return address
    try:
        return validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(f"{address!r} is not an e-mail address: {str(error).rstrip('.')}") from None


def email_key(address: str) -> str:
    """Return the one form of an address by which suppressions and people are matched.

    The domain as the DNS has it (IDNA 2008, A-labels) and all of it in small letters: RFC 5321 section 2.4
    would let a mailbox name mind its case, no mailbox provider does. Raises ValueError for no address.
    """
    normal = normal_address(address)
    if normal.isascii():
        return normal.lower()
    checked = validate_email(normal, check_deliverability=False)
    return (checked.ascii_email or f"{checked.local_part}@{checked.ascii_domain}").lower()


PEOPLE = "people"
"""The lock on who is one person: held alone while persons merge, shared by each hand-over."""


def assign(connection: Connection) -> int:
    """Give every customer a person and merge persons that share an e-mail key; return the rows changed.

    Merges only, never splits: a customer whose address changes keeps the person and, where the new address
    belongs to another, both persons become one. The smallest id wins. So nobody gets a second cap by
    changing the address.
    """
    # Alone against every hand-over: two workers must not take the customers of one person for two people.
    lock(connection, PEOPLE)
    new = update(customers).where(customers.c.person_id.is_(None)).values(person_id=customers.c.id)
    changed = connection.execute(new).rowcount
    # A round moves each person to the smallest neighbour; chains (a-b, b-c, ...) take one round a link.
    merging = _merging().subquery("merging")
    move = (
        update(customers)
        .where(customers.c.person_id == merging.c.person_id)
        .values(person_id=merging.c.into_person)
    )
    while (moved := connection.execute(move).rowcount) > 0:
        changed += moved
    return changed


def _merging() -> Select[tuple[int, int]]:
    """Persons that share an e-mail key with a smaller one. Columns: person_id, into_person."""
    shared = (
        select(customers.c.email_key, func.min(customers.c.person_id).label("smallest"))
        .where(customers.c.email_key.is_not(None))
        .group_by(customers.c.email_key)
        .having(func.min(customers.c.person_id) < func.max(customers.c.person_id))
        .subquery("shared")
    )
    return (
        select(customers.c.person_id, func.min(shared.c.smallest).label("into_person"))
        .join(shared, shared.c.email_key == customers.c.email_key)
        .where(customers.c.person_id > shared.c.smallest)
        .group_by(customers.c.person_id)
    )
