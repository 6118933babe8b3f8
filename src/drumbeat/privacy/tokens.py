"""The names that a person's messages bear outside: signed tokens, providers' ids, the names of files they were put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from drumbeat.privacy.names import Names
from drumbeat.privacy.person import Person
from drumbeat.rendering.identity import message_id
from drumbeat.rendering.links import Links
from drumbeat.store.tables import customers, messages

IN_ONE_QUERY = 2_000


def links_of(secrets: Sequence[bytes]) -> list[Links]:
    """Return what makes tokens under each of the secrets."""
    return [Links("https://links.invalid", secret) for secret in secrets]


def message_ids(connection: Connection, person: Person) -> list[int]:
    """Return the ids of a person's messages, in order."""
    return list(
        connection.execute(
            select(messages.c.id).where(messages.c.customer_id.in_(person.ids)).order_by(messages.c.id)
        ).scalars()
    )


def names_of(connection: Connection, person: Person, secrets: Sequence[bytes]) -> Names:
    """Return what points to a person, in texts of ours and others'."""
    ids = message_ids(connection, person)
    remote = connection.execute(
        select(messages.c.remote_id).where(
            messages.c.customer_id.in_(person.ids), messages.c.remote_id.is_not(None)
        )
    ).scalars()
    made = links_of(secrets)
    return Names(
        person.addresses,
        ids=person.external_ids,
        full_names=[(r.first_name, r.last_name) for r in person.rows if r.first_name and r.last_name],
        words=person.words,
        tokens=[links.mail_token(one) for one in ids for links in made],
        remote_ids=remote.all(),
    )


def file_names(connection: Connection, person: Person, secrets: Sequence[bytes]) -> Mapping[str, int]:
    """Return the keyed hash that names each of a person's messages where they are put into folders, with its id.

    It is made from campaign, step, customer and occasion, so it is worked out before these are erased.
    """
    rows = connection.execute(
        select(
            messages.c.id,
            messages.c.channel,
            messages.c.campaign,
            messages.c.step,
            customers.c.external_id,
            messages.c.occasion,
        )
        .join(customers, customers.c.id == messages.c.customer_id)
        .where(messages.c.customer_id.in_(person.ids))
    ).all()
    found = {}
    for row in rows:
        named = row[2:]
        for parts in (named, (row.channel, *named)):
            for secret in secrets:
                whole = message_id(secret, "names.invalid", *parts)
                found[whole[1 : whole.index("@")]] = int(row.id)
    return found
