"""Erased people: how an address is known again of which nothing but a keyed hash is kept.

    erased_addresses.address_hash = <key id>:<keyed BLAKE2b of the address as suppressions name it>

The keys come from the project's secrets, so the hashes alone, in a stolen copy of the database, tell nobody whether
an address is among them. New hashes are made with the first key; an address is looked for under all of them, so
that a key can be replaced. A hash whose key is lost can never match again: `check_keys` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from hashlib import blake2b

from sqlalchemy import ColumnElement, Connection, Table, func, select

from drumbeat.errors import UsageError
from drumbeat.store.dialect.insert import insert
from drumbeat.store.dialect.words import starts_with
from drumbeat.store.tables import customers, erased_addresses

STUB = "erased:"
"""How the external id of an erased customer begins; a random word follows."""

REASON = "erased"
"""The reason of a suppression that an import of an erased address brings."""

IN_ONE_QUERY = 2_000
_KEY_ID = 8


def is_erased(rows: Table = customers) -> ColumnElement[bool]:
    """Return the condition on customers that their data was erased: only numbers are left of them."""
    return starts_with(rows.c.external_id, STUB)


class Erased:
    """Knows erased addresses again. `secrets`: gives the secrets, asked when the first one is needed."""

    def __init__(self, secrets: Callable[[], Sequence[bytes]]) -> None:
        self._secrets = secrets

    def names(self, address: str) -> list[str]:
        """Return what an address would be kept as, under each key; the first is for new ones."""
        data = address.encode("utf-8", "surrogatepass")
        return [
            f"{key_id}:{blake2b(data, key=key, digest_size=20, person=b'drumbeat.addr').hexdigest()}"
            for key_id, key in self._keys
        ]

    def remember(self, connection: Connection, addresses: Iterable[str], at: datetime) -> None:
        """Keep addresses as erased at `at`."""
        rows = [{"address_hash": self.names(address)[0], "at": at} for address in sorted(set(addresses))]
        if rows:
            statement = insert(connection, erased_addresses)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["address_hash"], set_={"at": statement.excluded.at}
                ),
                rows,
            )

    def since(self, connection: Connection, addresses: Collection[str]) -> dict[str, datetime]:
        """Return those of the addresses that were erased, and when last."""
        by_name = {name: address for address in addresses for name in self.names(address)}
        wanted = sorted(by_name)
        found: dict[str, datetime] = {}
        for start in range(0, len(wanted), IN_ONE_QUERY):
            rows = connection.execute(
                select(erased_addresses).where(
                    erased_addresses.c.address_hash.in_(wanted[start : start + IN_ONE_QUERY])
                )
            )
            for row in rows:
                address = by_name[row.address_hash]
                found[address] = max(row.at, found.get(address, row.at))
        return found

    def check_keys(self, connection: Connection) -> None:
        """Raise UsageError where addresses were kept under a key that is not among ours any more."""
        ours = {key_id for key_id, _ in self._keys}
        key_id = func.substr(erased_addresses.c.address_hash, 1, _KEY_ID)
        counted = connection.execute(select(key_id, func.count()).group_by(key_id)).tuples()
        lost = sum(number for name, number in counted if name not in ours)
        if lost:
            raise UsageError(
                f"{lost:,} erased addresses cannot be known again: the secret they were kept under is not set; put it "
                "behind the present one, or into the variable that privacy.key_env in project.yaml names"
            )

    @cached_property
    def _keys(self) -> list[tuple[str, bytes]]:
        return [
            (
                blake2b(secret, digest_size=_KEY_ID // 2, person=b"drumbeat.eraseid").hexdigest(),
                blake2b(secret, digest_size=32, person=b"drumbeat.erased").digest(),
            )
            for secret in self._secrets()
        ]


def any_erased(connection: Connection) -> bool:
    """Say whether there is any erased address to look out for."""
    return connection.execute(select(erased_addresses.c.address_hash).limit(1)).first() is not None
