"""`drumbeat import` as it is typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from drumbeat.cli import main

PROJECT = """
project: shop
time_zone: Europe/Berlin
senders: {shop: {name: Shop, address: shop@example.com, postal_address: "1 High Street"}}
topics: {news: News}
"""


@pytest.fixture
def shop(tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest project, with a file to import."""
    monkeypatch.delenv("DRUMBEAT_DATABASE_URL", raising=False)
    (tmp_path / "project.yaml").write_text(PROJECT)
    (tmp_path / "segments.yaml").write_text("{}\n")
    shutil.copytree(project_root / "triggers", tmp_path / "triggers")
    (tmp_path / "m.yaml").write_text(
        "into: customers\ncolumns: {external_id: id, email: mail, created_at: since}\n"
    )
    (tmp_path / "in.csv").write_text("id,mail,since\n1,a@example.com,2026-01-01T00:30\n2,nobody,\n")
    return tmp_path


def run(shop: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["import", *words, "--project", str(shop)])
    return int(left.value.code or 0)


def test_it_says_what_became_of_the_rows(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shop, str(shop / "in.csv"), "--mapping", str(shop / "m.yaml")) == 0
    assert capsys.readouterr().out == (
        "in.csv: 2 rows read into customers: 1 new, 0 changed, 0 unchanged\n"
        f"  1 rejected; see {shop / 'in.csv.rejected.csv'}\n"
    )


def test_json_has_every_figure(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        str(shop / "in.csv"),
        "--mapping",
        str(shop / "m.yaml"),
        "--rejects",
        str(shop / "bad.csv"),
        "--json",
    )
    assert run(shop, *words) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(shop / "in.csv"),
        "into": "customers",
        "read": 2,
        "inserted": 1,
        "updated": 0,
        "unchanged": 0,
        "repeated": 0,
        "removed": 0,
        "rejected": 1,
        "rejects_file": str(shop / "bad.csv"),
        "skipped": {},
        "tables": {"customers": {"inserted": 1, "updated": 0, "unchanged": 0, "removed": 0}},
    }
    assert not (shop / "in.csv.rejected.csv").exists()


@pytest.mark.parametrize(
    ("file", "mapping", "code", "expected"),
    [
        ("none.csv", "m.yaml", 4, "none.csv: cannot be read (No such file or directory)"),
        ("in.csv", "none.yaml", 3, "none.yaml:1:1 DB001 cannot be read"),
        ("in.csv", "project.yaml", 3, "DB041 unknown key 'senders'"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_and_by_the_exit_code(
    shop: Path, capsys: pytest.CaptureFixture[str], file: str, mapping: str, code: int, expected: str
) -> None:
    assert run(shop, str(shop / file), "--mapping", str(shop / mapping)) == code
    told = capsys.readouterr().err
    assert expected in told
    assert "Traceback" not in told
