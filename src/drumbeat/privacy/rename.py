"""New names for the occasions of an erased person's messages, in step with those of carts, coupons and the like.

`cart:10017:v2` names the shop's cart. It becomes `cart:erased:...:v2`, the very name that the trigger makes from the
cart's own new name: so the occasion stays settled, and nobody gets a second message for it.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from drumbeat.privacy.names import Names
from drumbeat.privacy.person import Person
from drumbeat.privacy.registry import POLICIES, table
from drumbeat.store.tables import messages

IN_ONE_QUERY = 2_000


def renamed_occasions(connection: Connection, person: Person, names: Names, stub: str) -> dict[int, str]:
    """Return the new occasion of each of a person's messages that needs one, by message id.

    Call it before the names are replaced. An occasion that holds an address or an id of theirs in another way is
    replaced as a whole.
    """
    rows = connection.execute(
        select(messages.c.id, messages.c.occasion).where(messages.c.customer_id.in_(person.ids))
    ).all()
    new_names = _new_names(connection, person, {part for row in rows for part in parts(row.occasion)}, stub)
    new_names |= {row.external_id: stub for row in person.rows}
    found = {}
    for message_id, occasion in rows:
        # The longest part first: an id may itself be made of parts.
        known = sorted((part for part in parts(occasion) if part in new_names), key=len, reverse=True)
        renamed = _replaced(occasion, known[0], new_names[known[0]]) if known else occasion
        if not names.harmless(renamed.replace(stub, "")):
            renamed = f"{stub}:{message_id}"
        if renamed != occasion:
            found[message_id] = renamed
    return found


def parts(occasion: str) -> set[str]:
    """Return every run of the words that colons part an occasion into: `a:b:c` has a, b, c, a:b, b:c and itself."""
    words = occasion.split(":")
    if len(words) > 12:  # no trigger's; and the runs grow with the square
        return {occasion}
    return {":".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)} - {""}


def _new_names(connection: Connection, person: Person, wanted: set[str], stub: str) -> dict[str, str]:
    """Return the names of the person's carts, coupons, ... among those wanted, each with its new one."""
    ordered = sorted(wanted)
    found: dict[str, str] = {}
    for name, policy in POLICIES.items():
        if "external_id" not in policy.columns("stub") or policy.by != "customer_id":
            continue
        of = table(name)
        for start in range(0, len(ordered), IN_ONE_QUERY):
            rows = connection.execute(
                select(of.c.id, of.c.external_id).where(
                    of.c.external_id.in_(ordered[start : start + IN_ONE_QUERY]),
                    of.c.customer_id.in_(person.ids),
                )
            )
            found |= {row.external_id: f"{stub}:{row.id}" for row in rows}
    return found


def _replaced(occasion: str, part: str, new: str) -> str:
    """Replace a run of words once, at the last place where it stands between colons."""
    before, _, after = f":{occasion}:".rpartition(f":{part}:")
    return f"{before}:{new}:{after}".strip(":")
