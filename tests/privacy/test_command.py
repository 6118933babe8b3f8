"""The commands, on a project whose store is a file of its own: what they print, write down, and leave on disk."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from privacy.crowd import EMAIL, EMMA, KEY, TRACES, Crowd
from sqlalchemy import Engine, text
from sqlalchemy.event import listen

from drumbeat.cli import cli
from drumbeat.cli.output import guarded
from drumbeat.privacy.registry import TOUCHED
from drumbeat.project.load import Project
from drumbeat.responses.kinds import Kind
from drumbeat.responses.record import Response
from drumbeat.store.dialect.space import cut_log, vacuum
from drumbeat.store.engine import connect, writing
from drumbeat.store.tables import metadata
from drumbeat.store.upgrade import upgrade
from drumbeat.web.spill import Spill

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as `drumbeat db upgrade` makes it, made once."""
    path = tmp_path_factory.mktemp("upgraded") / "drumbeat.db"
    engine = connect(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def engine(project: Project, monkeypatch: pytest.MonkeyPatch, upgraded: Path) -> Iterator[Engine]:
    """The project's store: SQLite, in its folder."""
    monkeypatch.delenv("DRUMBEAT_DATABASE_URL", raising=False)
    monkeypatch.setenv("DRUMBEAT_ACTOR", "anna")
    shutil.copy(upgraded, project.root / "drumbeat.db")
    engine = connect(f"sqlite:///{project.root}/drumbeat.db")
    # Debian's SQLite overwrites by itself; others do not.
    listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete = OFF"))
    yield engine
    engine.dispose()


@pytest.fixture
def shop(engine: Engine, project: Project, now: datetime) -> Crowd:
    """Emma and Ben in it."""
    crowd = Crowd(engine, project, now)
    crowd.fill()
    return crowd


@pytest.fixture
def run(project: Project, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `drumbeat WORDS -C project`; return the exit code, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        code = guarded(cli, [*words, "-C", str(project.root)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def on_disk(root: Path) -> dict[str, list[str]]:
    """What of Emma stands in the bytes of each file of the project, the database's and its log's included."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and "templates" not in path.parts:
            content = path.read_bytes().decode("utf-8", "replace").lower()
            found[str(path.relative_to(root))] = [trace for trace in TRACES if trace in content]
    return {name: traces for name, traces in found.items() if traces}


def test_after_an_erasure_no_byte_of_the_person_is_on_disk(shop: Crowd, run: Run, project: Project) -> None:
    """Neither in the database's file nor its log, nor in the project's .drumbeat, whatever happened before.

    Rows were moved and changed before, so the file's pages held old copies of them.
    """
    _churn(shop)
    spill = Spill(project.root / ".drumbeat" / "spill")
    waiting = Response(shop.messages["e sent"], Kind.OPENED, shop.now, "opened:x", raw={"agent": KEY})
    spill.append([waiting])
    spill.set_aside([Response(None, Kind.BOUNCED, shop.now, "b:x", email_key=KEY)])
    (project.root / "in.csv.rejected.csv").write_text(f"line,reason,mail\n2,bad,{EMAIL}\n")
    before = on_disk(project.root)
    assert set(before) >= {"drumbeat.db", "in.csv.rejected.csv", ".drumbeat/spill/responses.jsonl"}
    assert set(before["drumbeat.db"]) == set(TRACES)
    code, out, err = run("customer", "erase", EMMA, "--yes")
    assert code == 0, err
    assert "Erased kunde-4711, kunde-4712; what is left bears the name erased:" in out
    assert "unreadable.jsonl" in out
    shop.engine.dispose()
    assert on_disk(project.root) == {}
    kinds = [row.kind for row in shop.rows("responses") if row.message_id == shop.messages["e sent"]]
    assert kinds == ["opened", "clicked", "opened"], "what waited in the spill was counted first"


def _churn(shop: Crowd) -> None:
    """Change, grow and shrink rows, so that pages are split and old copies stay behind."""
    with writing(shop.engine) as connection:
        for n in range(400):
            connection.execute(
                metadata.tables["customers"]
                .insert()
                .values(
                    external_id=f"{EMMA}-{n:04}", email_key=KEY, first_name="Emma" * 20, loaded_at=shop.now
                )
            )
    for which in ("AND id % 3 > 0", ""):
        with writing(shop.engine) as connection:
            connection.execute(text(f"DELETE FROM customers WHERE external_id LIKE 'kunde-4711-%' {which}"))
    # The last connection to go writes the log into the file.
    shop.engine.dispose()


def test_without_a_vacuum_what_was_deleted_by_the_erasure_itself_is_overwritten(
    shop: Crowd, run: Run, project: Project
) -> None:
    code, _, err = run("customer", "erase", EMMA, "--yes", "--no-vacuum")
    assert code == 0, err
    shop.engine.dispose()
    assert on_disk(project.root).get("drumbeat.db-wal") is None
    with sqlite3.connect(project.root / "drumbeat.db") as connection:
        assert connection.execute("SELECT count(*) FROM customers WHERE email LIKE 'Emma%'").fetchone() == (
            0,
        )


def test_what_the_erasure_deletes_is_overwritten_at_once(shop: Crowd, project: Project) -> None:
    shop.erase()
    assert cut_log(shop.engine) is None
    shop.engine.dispose()
    assert on_disk(project.root) == {}


def test_a_database_in_use_is_told_and_the_erasure_stands(
    shop: Crowd, run: Run, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drumbeat.store.dialect.space.PATIENCE_S", 0.2)
    reader = sqlite3.connect(project.root / "drumbeat.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM customers").fetchone()
    try:
        code, out, err = run("customer", "erase", EMMA, "--yes", "--no-vacuum", "--json")
    finally:
        reader.close()
    assert code == 0, err
    assert "its log still holds old pages" in json.loads(out)["left_behind"]
    code, out, _ = run("retention", "--vacuum", "--json")
    assert (code, json.loads(out)["left_behind"]) == (0, None)
    shop.engine.dispose()
    assert on_disk(project.root) == {}


def test_erasing_asks_for_a_yes(shop: Crowd, run: Run) -> None:
    before = shop.dump()
    code, _, err = run("customer", "erase", EMMA)
    assert code == 2
    assert err.startswith("drumbeat: this erases 'kunde-4711' for good; see what would go with --dry-run")
    assert shop.dump() == before


def test_a_dry_run_shows_all_and_changes_neither_database_nor_files(
    shop: Crowd, run: Run, project: Project
) -> None:
    rejected = project.root / "in.csv.rejected.csv"
    rejected.write_text(f"line,reason,mail\n2,bad,{EMAIL}\n")
    before = shop.dump()
    code, out, err = run("customer", "erase", EMMA, "--dry-run")
    assert code == 0, err
    assert out.startswith("Would erase kunde-4711, kunde-4712\n")
    assert re.search(r"message events +1\b", out)
    assert f"1 rows would go: {rejected}" in out
    assert shop.dump() == before
    assert rejected.exists()


def test_erasing_twice_says_so_and_is_no_fault(shop: Crowd, run: Run, project: Project) -> None:
    assert run("customer", "erase", EMAIL, "--yes")[0] == 0
    code, out, err = run("customer", "erase", EMAIL, "--yes")
    assert (code, out) == (0, "")
    assert "nothing is held about 'Emma.Clarke@Müller.example' any more: it was erased on" in err
    (project.root / "in.csv.rejected.csv").write_text(f"line,reason,mail\n2,bad,{EMAIL}\n")
    code, out, _ = run("customer", "erase", EMAIL, "--yes", "--json")
    assert (code, json.loads(out)["customers"], len(json.loads(out)["files"])) == (0, [], 1)
    assert on_disk(project.root) == {}, "a file of another machine, or a later one"
    code, _, err = run("customer", "erase", EMMA, "--yes")
    assert (code, err.count("\n")) == (2, 1)
    assert "unknown customer 'kunde-4711'" in err


def test_the_shape_of_an_erasures_json(shop: Crowd, run: Run) -> None:
    code, out, _ = run("customer", "erase", EMMA, "--yes", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found) == {
        *("stub", "customers", "addresses", "shared", "withdrawn", "remembered", "rows", "files", "imports"),
        *("left_behind", "dry_run"),
    }
    assert found["rows"]["orders"] == 1
    assert found["stub"].startswith("erased:")


def test_imports_that_bring_the_customer_back_are_named(shop: Crowd, run: Run, project: Project) -> None:
    config = json.loads((project.root / "project.yaml").read_text())
    config["imports"] = [{"file": "data/customers.csv", "mapping": "m.yaml"}]
    (project.root / "project.yaml").write_text(json.dumps(config))
    _, _, err = run("customer", "erase", EMMA, "--yes")
    assert "bring back whom they still name (without mail): data/customers.csv" in err


def test_an_export_goes_to_stdout_or_to_a_file_for_its_owner_alone(
    shop: Crowd, run: Run, tmp_path: Path
) -> None:
    code, out, err = run("customer", "export", EMMA)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["shape"], found["customers_are"][0]) == ("drumbeat-customer-1", EMMA)
    file = tmp_path / "emma.json"
    code, out, err = run("customer", "export", KEY, "--output", str(file))
    assert (code, out) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text(encoding="utf-8"))["customers"] == found["customers"]
    entries = [(row.actor, row.action, row.subject, row.detail) for row in shop.rows("audit")[-2:]]
    assert entries == [
        ("anna", "customer export", EMMA, {"file": None, "customers": 2}),
        ("anna", "customer export", EMMA, {"file": "emma.json", "customers": 2}),
    ]
    code, _, err = run("customer", "export", EMMA, "-o", str(tmp_path / "no" / "x.json"))
    assert (code, err.count("\n")) == (4, 1)


def test_the_calls_of_a_provider_that_is_set_up_are_told_event_by_event(
    shop: Crowd, run: Run, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounce = {
        "RecordType": "Bounce",
        "ID": 4323,
        "Type": "HardBounce",
        "TypeCode": 1,
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "Email": KEY,
        "BouncedAt": "2011-12-04T10:00:00Z",
        "Description": "The server was unable to deliver your message",
    }
    given = {"source": "postmark", "received_at": shop.now, "headers": {}, "state": "done"}
    shop.add("inbox", dedupe_key="real", body=json.dumps(bounce).encode(), **given)
    monkeypatch.setenv("POSTMARK_WEBHOOK_USERNAME", "hooks")
    monkeypatch.setenv("POSTMARK_WEBHOOK_PASSWORD", "secret-of-the-hooks")
    _, out, _ = run("customer", "export", EMMA)
    call = json.loads(out)["inbox"][-1]
    (event,) = call["events"]
    assert (event["kind"], event["recipient"], event["bounce"]) == ("bounced", KEY, "hard")
    assert json.loads(call["body"]) == bounce, "it tells of nobody else"


def test_show_tells_who_it_is_and_how_much_is_held(shop: Crowd, run: Run) -> None:
    code, out, _ = run("customer", "show", EMAIL)
    assert code == 0
    assert "customers: kunde-4711, kunde-4712" in out
    assert re.search(r"inbox +8\b", out)
    _, out, _ = run("customer", "show", "b1", "--json")
    found = json.loads(out)
    assert (found["customers"], found["addresses"]) == (["b1"], ["ben@example.com"])
    assert (found["rows"]["responses"], found["rows"]["orders"]) == (4, 1)


@pytest.mark.parametrize("words", [("show",), ("export",), ("erase", "--yes")])
def test_whom_nobody_knows_is_one_line(shop: Crowd, run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run("customer", words[0], "nobody", *words[1:])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "unknown customer 'nobody'" in err


def test_the_audit_log_is_shown_newest_first_and_by_person(shop: Crowd, run: Run) -> None:
    run("customer", "export", EMMA)
    _, out, _ = run("audit", "--json")
    found = json.loads(out)
    assert found["total"] == 5
    assert [entry["action"] for entry in found["entries"]][:1] == ["customer export"]
    _, out, _ = run("audit", "--subject", EMAIL, "--json")
    assert {entry["subject"] for entry in json.loads(out)["entries"]} == {EMMA, KEY}
    _, out, _ = run("audit", "--since", "2012-01-01", "--json")
    assert [entry["action"] for entry in json.loads(out)["entries"]] == ["customer export"]
    _, out, err = run("audit", "--action", "suppressions", "--limit", "1")
    assert out.count("suppressions add") == 1
    assert "2 more" in err
    run("customer", "erase", EMMA, "--yes")
    _, out, _ = run("audit")
    assert not [trace for trace in TRACES if trace in out.lower()]
    _, out, _ = run("audit", "--subject", EMMA)
    assert out == "No such entry.\n"


def test_an_empty_log_says_so(engine: Engine, run: Run) -> None:
    assert run("audit")[1] == "Nothing is written down yet.\n"


def test_retention_shows_every_rule_and_the_audit_log_notes_it(shop: Crowd, run: Run) -> None:
    _, out, _ = run("retention", "--dry-run", "--as-of", "2012-03-01")
    assert "14 rows would go" in out
    assert re.search(r"events +for ever +0\b", out)
    assert re.search(r"erased +not at all +0\b", out)
    _, out, _ = run("retention", "--as-of", "2012-03-01", "--json")
    rules = {rule["rule"]: rule for rule in json.loads(out)["rules"]}
    assert rules["inbox"] == {
        "rule": "inbox",
        "kept_for": 30 * 86400,
        "before": "2012-01-31T00:00:00+00:00",
        "rows": 14,
        "left": 0,
    }
    last = shop.rows("audit")[-1]
    assert (last.actor, last.action, last.detail) == ("anna", "retention", {"inbox": 14})


def test_retention_as_of_a_later_time_only_shows(shop: Crowd, run: Run) -> None:
    before = shop.dump()
    code, _, err = run("retention", "--as-of", "2126-01-01")
    assert (code, err.count("\n")) == (2, 1)
    assert run("retention", "--as-of", "2126-01-01", "--dry-run")[0] == 0
    assert shop.dump() == before


def test_an_import_by_hand_is_noted(shop: Crowd, run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,mail\nn1,new@example.com\n")
    (tmp_path / "m.yaml").write_text("into: customers\ncolumns: {external_id: id, email: mail}\n")
    code, _, err = run("import", str(tmp_path / "new.csv"), "-m", str(tmp_path / "m.yaml"))
    assert code == 0, err
    last = shop.rows("audit")[-1]
    told = {"file": "new.csv", "into": "customers", "inserted": 1, "updated": 0, "rejected": 0}
    assert (last.actor, last.action, last.subject, last.detail) == ("anna", "import", None, told)


def test_no_code_but_erasure_and_retention_changes_the_audit_log(project_root: Path) -> None:
    """It is append-only: whatever else writes to it only adds."""
    changes = re.compile(r"\b(update|delete)\(\s*audit\b|\baudit\.(update|delete)\(")
    found = {
        path.relative_to(project_root / "src/drumbeat").as_posix()
        for path in (project_root / "src/drumbeat").rglob("*.py")
        if changes.search(path.read_text())
    }
    assert found == {"privacy/anonymous.py"}
    rules = (project_root / "src/drumbeat/privacy/rules.py").read_text()
    assert "Part(audit" in rules


@pytest.mark.postgresql
def test_postgresql_is_vacuumed_on_request(crowd: Crowd) -> None:
    crowd.erase()
    assert vacuum(crowd.engine, TOUCHED) is None
    with crowd.engine.connect() as connection:
        assert not connection.in_transaction()
    shared: Any = crowd.rows("customers")
    assert len(shared) == 3
