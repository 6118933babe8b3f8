"""A wrong mapping is refused with file, line, column, and the nearest name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drumbeat.document import parse_document
from drumbeat.errors import ProjectError
from drumbeat.ingest.mapping import parse_mapping, read_mapping

START = "into: customers\ncolumns:\n  external_id: id\n"

FAULTS = [
    ("[a]", "m.yaml:1:1 DB040 is not a mapping."),
    (
        "into: customer\ncolumns: {external_id: id}",
        "m.yaml:1:7 DB043 cannot import into 'customer'. Did you mean 'customers'?",
    ),
    ("columns: {external_id: id}", "m.yaml:1:1 DB042 the key 'into' is missing."),
    (START + "  emial: mail", "m.yaml:4:3 DB043 customers have no 'emial'. Did you mean 'email'?"),
    (START + "colums: 1", "m.yaml:4:1 DB041 unknown key 'colums'. Did you mean 'columns'?"),
    (START + "  email: {colum: mail}", "m.yaml:4:11 DB041 unknown key 'colum'. Did you mean 'column'?"),
    (
        "into: customers\ncolumns: {email: mail}",
        "m.yaml:2:1 DB042 customers need 'external_id' under columns.",
    ),
    (
        START + "  email: {column: a, constant: b}",
        "m.yaml:4:10 DB040 columns.email: expected either a column or a constant.",
    ),
    (
        START + "  seed: {column: s, values: {J: maybe}}",
        "m.yaml:4:33 DB044 seed: 'maybe' is neither true nor false.",
    ),
    (
        START + "  birth_date: {column: b, type: amount}",
        "m.yaml:4:33 DB044 birth_date is of type date, not amount. Expected date.",
    ),
    (
        START + "  email: {column: b, format: x}",
        "m.yaml:4:22 DB044 email is no time or date and takes no format. Remove it.",
    ),
    (START + "time_zone: Europe/Londen", "m.yaml:4:12 DB045 unknown time zone 'Europe/Londen'"),
    (START + "encoding: utf-9", "m.yaml:4:11 DB045 unknown encoding 'utf-9'."),
    (START + "properties: [a]", "m.yaml:4:1 DB044 customers keep no properties. Name them under attributes."),
    (START + "cancelled: {column: a, empty: true}", "m.yaml:4:1 DB044 customers cannot be cancelled."),
    (
        START + "skip: [{column: a, reason: r}]",
        "expected exactly one of equals, in, starts_with, empty, at_most",
    ),
    (START + "skip: [{column: a, empty: true}]", "m.yaml:4:8 DB042 the key 'reason' is missing."),
]


@pytest.mark.parametrize(("text", "expected"), FAULTS)
def test_a_fault_is_named_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(ProjectError) as caught:
        parse_mapping(parse_document(text, Path("m.yaml")))
    assert expected in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ProjectError) as caught:
        parse_mapping(
            parse_document(
                START + "  emial: a\n  nam: b\nattributes: []\ncancelled: {column: a, empty: true}",
                Path("m.yaml"),
            )
        )
    assert len(caught.value.issues) == 3


def test_every_mapping_of_the_reference_project_is_right(project_root: Path) -> None:
    files = sorted((project_root / "mappings").glob("*.yaml"))
    assert len(files) == 8
    assert {read_mapping(file).time_zone for file in files} == {"UTC", "Europe/London"}


def test_reading_a_mapping_does_not_import_sqlalchemy(project_root: Path) -> None:
    code = "import sys; from pathlib import Path; from drumbeat.ingest.mapping import read_mapping; "
    code += "read_mapping(Path('mappings/online_retail.yaml')); sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=project_root).returncode == 0
