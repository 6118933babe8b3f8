"""Order lines: one row a line, from which the customers, products and orders come too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    MetaData,
    Select,
    Subquery,
    Table,
    case,
    cast,
    delete,
    func,
    insert,
    select,
)

from drumbeat.ingest.mapping import Mapping
from drumbeat.ingest.merge import Merged, upsert
from drumbeat.ingest.targets import TARGETS
from drumbeat.store.dialect.bulk import changed, settled
from drumbeat.store.tables import customers, order_items, orders, products

_TYPES: dict[str, Column[Any]] = {
    "order": orders.c.external_id,
    "customer": customers.c.external_id,
    "country": customers.c.country,
    "ordered_at": orders.c.ordered_at,
    "currency": orders.c.currency,
    "product": order_items.c.product,
    "title": order_items.c.title,
    "quantity": order_items.c.quantity,
    "unit_price": order_items.c.unit_price,
}


def staging_table() -> Table:
    """Return the temporary table of order lines; `is_line` is false where a row only names its customer."""
    columns: list[Column[Any]] = [Column(f.name, _TYPES[f.name].type) for f in TARGETS["order_lines"].fields]
    staged = Table(
        "import_rows",
        MetaData(),
        Column("row", BigInteger, nullable=False),
        *columns,
        Column("cancelled", Boolean, nullable=False),
        Column("is_line", Boolean, nullable=False),
        prefixes=["TEMPORARY"],
    )
    Index("ix_import_rows", staged.c.order, staged.c.row)
    return staged


def of_two_customers(staged: Table) -> Select[Any]:
    """Lines of orders that name more than one customer: nobody can say whose they are. Columns: row, order."""
    torn = (
        select(staged.c.order)
        .where(staged.c.is_line)
        .group_by(staged.c.order)
        .having(func.min(staged.c.customer) < func.max(staged.c.customer))
    )
    return (
        select(staged.c.row, staged.c.order)
        .where(staged.c.is_line, staged.c.order.in_(torn))
        .order_by(staged.c.row)
    )


def remove_torn(connection: Connection, staged: Table) -> None:
    """Take the lines of orders of two customers out of the staged ones."""
    torn = of_two_customers(staged).order_by(None).subquery()
    connection.execute(delete(staged).where(staged.c.row.in_(select(torn.c.row))))


def merge(connection: Connection, staged: Table, mapping: Mapping, loaded_at: datetime) -> dict[str, Merged]:
    """Merge staged lines; return what happened to each table, `order_items` among them.

    An order is told whole: lines that the store has beyond those of the input are removed.
    """
    given = mapping.columns.keys()
    done: dict[str, Merged] = {}

    def put(table: Table, source: Subquery, key: tuple[str, ...], mapped: list[str]) -> None:
        with _written_out(connection, table, source) as rows:
            done[table.name] = upsert(connection, table, rows, key, mapped, loaded_at)

    country = ["country"] if "country" in given else []
    put(customers, _customers(staged, country), ("external_id",), country)
    if "product" in given:
        titled = ["title", "price"] if "title" in given else ["price"]
        put(products, _products(staged, mapping.no_product, titled), ("external_id",), titled)
    told = ["customer_id", "ordered_at", "status", "total", *(["currency"] if "currency" in given else [])]
    put(orders, _orders(staged, told), ("external_id",), told)
    line: list[str] = [name for name in ("product", "title", "quantity", "unit_price") if name in given]
    put(order_items, _lines(staged, line), ("order_id", "line"), line)
    done["order_items"] = done["order_items"]._replace(removed=_remove_surplus(connection, staged))
    return done


@contextmanager
def _written_out(connection: Connection, table: Table, source: Subquery) -> Iterator[Table]:
    """Put a query's rows into a temporary table: an upsert reads them three times, sorting each time."""
    columns: list[Column[Any]] = [Column(c.name, table.c[c.name].type) for c in source.c if c.name != "row"]
    rows = Table("import_told", MetaData(), Column("row", BigInteger), *columns, prefixes=["TEMPORARY"])
    rows.create(connection)
    connection.execute(
        insert(rows).from_select([c.name for c in rows.c], select(*(source.c[c.name] for c in rows.c)))
    )
    settled(connection, rows)
    yield rows
    rows.drop(connection)


def _customers(staged: Table, country: list[str]) -> Subquery:
    """One row a customer with the country of the latest line that names one."""
    latest = func.row_number().over(
        partition_by=staged.c.customer,
        order_by=[staged.c.country.is_(None), staged.c.ordered_at.desc(), staged.c.row.desc()],
    )
    first = func.min(staged.c.row).over(partition_by=staged.c.customer)
    ranked = select(staged.c.customer, staged.c.country, latest.label("place"), first.label("row")).subquery()
    chosen = [ranked.c[name] for name in country]
    return (
        select(ranked.c.row, ranked.c.customer.label("external_id"), *chosen)
        .where(ranked.c.place == 1)
        .subquery("named")
    )


def _products(staged: Table, no_product: tuple[str, ...], columns: list[str]) -> Subquery:
    """One row a product with the title and price of its latest line; fees and postage are none."""
    sold = staged.c.product.is_not(None) & staged.c.is_line & ~staged.c.cancelled
    latest = func.row_number().over(
        partition_by=staged.c.product,
        order_by=[staged.c.title.is_(None), staged.c.ordered_at.desc(), staged.c.row.desc()],
    )
    ranked = (
        select(
            func.min(staged.c.row).over(partition_by=staged.c.product).label("row"),
            staged.c.product.label("external_id"),
            staged.c.title,
            staged.c.unit_price.label("price"),
            latest.label("place"),
        )
        .where(sold, staged.c.product.not_in(no_product))
        .subquery()
    )
    return (
        select(ranked.c.row, ranked.c.external_id, *(ranked.c[name] for name in columns))
        .where(ranked.c.place == 1)
        .subquery("sold")
    )


def _orders(staged: Table, columns: list[str]) -> Subquery:
    """One row an order: the earliest time of its lines, the exact sum, cancelled where all lines are."""
    lines = (
        select(
            func.min(staged.c.row).label("row"),
            staged.c.order.label("external_id"),
            func.min(staged.c.customer).label("customer"),
            func.min(staged.c.ordered_at).label("ordered_at"),
            case((func.sum(case((staged.c.cancelled, 0), else_=1)) > 0, "placed"), else_="cancelled").label(
                "status"
            ),
            # Money is stored in whole ten-thousandths, so the product and the sum are exact.
            cast(
                func.sum(cast(staged.c.unit_price, BigInteger) * staged.c.quantity), orders.c.total.type
            ).label("total"),
            func.min(staged.c.currency).label("currency"),
        )
        .where(staged.c.is_line)
        .group_by(staged.c.order)
        .subquery()
    )
    owned = select(lines, customers.c.id.label("customer_id")).join(
        customers, customers.c.external_id == lines.c.customer
    )
    found = owned.subquery()
    return select(found.c.row, found.c.external_id, *(found.c[name] for name in columns)).subquery("told")


def _lines(staged: Table, columns: list[str]) -> Subquery:
    """Lines numbered within their order as they stand in the input, so that exact duplicates stay two lines."""
    number = func.row_number().over(partition_by=staged.c.order, order_by=staged.c.row)
    return (
        select(
            staged.c.row,
            orders.c.id.label("order_id"),
            number.label("line"),
            *(staged.c[name] for name in columns),
        )
        .join(orders, orders.c.external_id == staged.c.order)
        .where(staged.c.is_line)
        .subquery("numbered")
    )


def _remove_surplus(connection: Connection, staged: Table) -> int:
    told = (
        select(orders.c.id, func.count().label("lines"))
        .join(staged, orders.c.external_id == staged.c.order)
        .where(staged.c.is_line)
        .group_by(orders.c.id)
        .subquery()
    )
    surplus = (
        select(order_items.c.id)
        .join(told, told.c.id == order_items.c.order_id)
        .where(order_items.c.line > told.c.lines)
    )
    return changed(connection, delete(order_items).where(order_items.c.id.in_(surplus)))
