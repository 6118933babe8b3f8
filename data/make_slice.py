"""Takes the demo's slice out of the whole Online Retail set. Rows are left exactly as they are.

    python data/make_slice.py ../online_retail.csv.gz data/online_retail_slice.csv.gz

Kept: every row of about 30 % of the customers, chosen by a hash of their number; every customer whose first
order was on 2010-12-05 (the demo runs on 2011-12-05 and shows anniversaries); the customers with the known
dirt; about 6 % of the invoices without a customer. The order of rows stays.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from hashlib import blake2b
from pathlib import Path

CUSTOMERS_OF_100 = 30
ANONYMOUS_OF_100 = 6
ANNIVERSARY = "2010-12-05"
DIRT = frozenset(
    [
        # +80,995 pieces and their cancellation; a customer only of a free line; one of one cancelled order
        *("16446", "13256", "12346"),
        # two countries
        *("12370", "12394", "12417", "12422", "12429", "12431", "12455", "12457"),
    ]
)


def percentile(name: str) -> int:
    """Return a number from 0 to 99 that depends on the name alone."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) % 100


def slice_rows(rows: list[list[str]]) -> list[list[str]]:
    """Return the rows to keep."""
    first: dict[str, str] = {}
    for invoice, _, _, _, at, _, customer, _ in rows:
        if customer and not invoice.startswith("C"):
            first[customer] = min(first.get(customer, at), at)
    keep = {
        customer
        for customer in {row[6] for row in rows}
        if percentile(customer) < CUSTOMERS_OF_100
        or first.get(customer, "").startswith(ANNIVERSARY)
        or customer in DIRT
    }
    return [row for row in rows if (row[6] in keep if row[6] else percentile(row[0]) < ANONYMOUS_OF_100)]


def compressed(header: list[str], rows: list[list[str]]) -> bytes:
    """Return the CSV as gzip without name and time, so that the same rows are the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def main(source: str, target: str) -> None:
    """Read the whole set, write the slice."""
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    kept = slice_rows(rows)
    Path(target).write_bytes(compressed(header, kept))
    customers = len({row[6] for row in kept if row[6]})
    sys.stderr.write(f"{len(kept):,} of {len(rows):,} rows, {customers:,} customers\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
