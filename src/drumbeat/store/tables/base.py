"""What every table shares: the metadata, and two columns."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, MetaData

from drumbeat.store.types import Identity

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def identity() -> Column[int]:
    """Return the generated key `id`."""
    return Column("id", Identity, primary_key=True, autoincrement=True)


def customer(*, nullable: bool = False) -> Column[int]:
    """Return the reference `customer_id`."""
    return Column("customer_id", BigInteger, ForeignKey("customers.id"), nullable=nullable)
