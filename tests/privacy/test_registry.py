"""Whoever adds a table or a column must say what an export and an erasure make of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from drumbeat.privacy.export import sections
from drumbeat.privacy.registry import NAMED, NOBODY, POLICIES, Policy, exported, personal
from drumbeat.store.tables import metadata

LEADS_TO_SOMEBODY = ("customer_id", "message_id", "email_key", "address_key", "email", "phone", "telegram_id")


def faults(of: MetaData) -> list[str]:
    """What the registry does not say of the tables, or says wrongly."""
    found = [f"no policy for the table {name}" for name in of.tables if name not in POLICIES]
    found += [f"no table {name}" for name in POLICIES if name not in of.tables]
    for name, policy in POLICIES.items():
        if name in of.tables:
            found += _of_table(name, of.tables[name], policy)
    return found


def _of_table(name: str, table: Table, policy: Policy) -> list[str]:
    columns = {column.name for column in table.columns}
    said = Counter(column for column, _ in policy.fates())
    found = [f"{name}.{column} stands {times} times" for column, times in said.items() if times > 1]
    found += [f"{name} has no column {column}" for column in said if column not in columns]
    found += [
        f"{name} has no column {column} to hide"
        for column in policy.columns("hidden")
        if column not in columns
    ]
    if not policy.delete:
        found += [f"nothing is said of {name}.{column}" for column in columns - set(said)]
    if policy.by not in (NOBODY, NAMED) and policy.by not in columns:
        found.append(f"{name} has no column {policy.by}")
    if policy.by in (NOBODY, NAMED) and columns & set(LEADS_TO_SOMEBODY):
        found.append(f"{name} leads to somebody by {sorted(columns & set(LEADS_TO_SOMEBODY))}")
    for column, fate in policy.fates():
        nullable = table.c[column].nullable if column in columns else True
        if fate == "null" and not nullable:
            found.append(f"{name}.{column} cannot be NULL")
        if fate == "empty" and nullable:
            found.append(f"{name}.{column} can be NULL: say so")
    return found


def test_the_registry_says_of_every_column_of_every_table_what_becomes_of_it() -> None:
    assert faults(metadata) == []


def test_a_new_table_or_column_is_a_fault_until_the_registry_knows_it() -> None:
    """The test above can fail: it does for each of these changes."""
    copy = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(copy)
    Table("wishes", copy, Column("id", BigInteger, primary_key=True), Column("customer_id", BigInteger))
    copy.tables["orders"].append_column(Column("delivery_address", Text))
    copy.tables["runs"].append_column(Column("email_key", Text))
    found = faults(copy)
    assert "no policy for the table wishes" in found
    assert "nothing is said of orders.delivery_address" in found
    assert "runs leads to somebody by ['email_key']" in found


def test_what_a_customer_column_points_to_is_never_kept_under_their_name() -> None:
    """The company's own ids, addresses and free texts have no place among what stays."""
    speaking = {
        "external_id",
        "email",
        "first_name",
        "last_name",
        "properties",
        "proof",
        "body",
        "text",
        "url",
    }
    for name in personal():
        assert not speaking & set(POLICIES[name].columns("keep")), name


def test_every_personal_table_stands_in_an_export_and_all_its_columns_but_our_own_peoples() -> None:
    shown = {*sections(), *(name for name in personal() if POLICIES[name].within in sections())}
    for name, policy in POLICIES.items():
        hidden = set(policy.columns("hidden"))
        if policy.by != NOBODY and len(hidden) < len(policy.columns("keep")) + 1:
            assert name in shown, name
            assert set(exported(name)) == {c.name for c in metadata.tables[name].columns} - hidden


@pytest.mark.parametrize("name", [name for name, policy in POLICIES.items() if policy.by != NOBODY])
def test_the_manual_tells_what_becomes_of_every_table(name: str, project_root: Path) -> None:
    lines = (project_root / "docs" / "privacy.md").read_text().splitlines()
    assert any(f"`{name}`" in line.split("|")[1] for line in lines if line.startswith("| `"))
