"""`drumbeat run`: by Prefect where an API is configured, else directly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from drumbeat import runs
from drumbeat.cli import cli
from drumbeat.cli.demo_proof import most_in_any_span
from drumbeat.cli.init import make_project
from drumbeat.cli.output import guarded
from drumbeat.cli.processes import free_port
from drumbeat.cli.run import prefect_api
from drumbeat.clock import FixedClock
from drumbeat.errors import InputError, ProjectError
from drumbeat.project.load import Project
from drumbeat.store.engine import reading
from drumbeat.store.tables import messages

NOON = datetime(2011, 12, 5, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_prefect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH", "DRUMBEAT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project with a small import in place of the reference data."""
    root = tmp_path / "shop"
    make_project(root)
    config = root / "project.yaml"
    head = config.read_text().split("\nimports:")[0]
    config.write_text(head + "\nimports:\n  - {file: data/people.csv, mapping: mappings/customers.yaml}\n")
    lines = (root / "data" / "made_up" / "customers.csv").read_text().splitlines()
    (root / "data" / "people.csv").write_text("\n".join(lines[:11]) + "\n")
    return root


@pytest.fixture
def opened(shop: Path) -> Iterator[tuple[Engine, Project]]:
    with runs.opened(shop) as both:
        yield both


def test_without_a_prefect_api_it_runs_directly_and_says_so(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(cli, ["run", "-C", str(shop), "--as-of", "2011-12-05T12:00+00:00", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "running directly" in err
    done = json.loads(out)
    assert done["by"] == "directly"
    assert [run["run"] for run in done["runs"]] == ["collect", "evaluate", "deliver"]
    assert done["runs"][0]["figures"]["imported"][0]["read"] == 10


def test_running_directly_never_imports_prefect(shop: Path) -> None:
    code = (
        "import sys\nfrom drumbeat.cli import cli\nfrom drumbeat.cli.output import guarded\n"
        f"code = guarded(cli, ['run', '-C', {str(shop)!r}, '--as-of', '2011-12-05'])\n"
        "sys.exit(code or 'prefect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_api_that_does_not_answer_is_one_clear_line(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    assert guarded(cli, ["run", "evaluate", "-C", str(shop)]) == 2
    err = capsys.readouterr().err
    assert "does not answer" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("profiles", "environment", "expected"),
    [
        (None, {}, None),
        ('active = "ephemeral"\n[profiles.ephemeral]\nPREFECT_SERVER_ALLOW_EPHEMERAL_MODE = "true"\n', {}, None),
        ('active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://a/api"\n', {}, "http://a/api"),
        ('active = "x"\n[profiles.work]\nPREFECT_API_URL = "http://a/api"\n', {"PREFECT_PROFILE": "work"}, "http://a/api"),
        ('active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://a/api"\n', {"PREFECT_API_URL": "http://b/api"}, "http://b/api"),
        ('active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://a/api"\n', {"PREFECT_API_URL": ""}, None),
        ("this is no TOML", {}, None),
    ],
)  # fmt: skip
def test_the_api_is_the_environments_else_the_active_profiles(
    profiles: str | None,
    environment: dict[str, str],
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "prefect").mkdir()
    if profiles is not None:
        (tmp_path / "prefect" / "profiles.toml").write_text(profiles)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert prefect_api() == expected


def test_a_mail_with_a_fault_stops_the_plan_before_anything_is_planned(
    opened: tuple[Engine, Project], shop: Path
) -> None:
    """Its messages would only fail one by one at delivery, and their occasions with them."""
    engine, project = opened
    at = runs.clock_at(NOON, project)
    (shop / "templates" / "newsletter" / "body.txt.j2").write_text("no way out", encoding="utf-8")
    with pytest.raises(ProjectError, match=r"templates/newsletter/body\.txt\.j2.*unsubscribe"):
        runs.evaluate(engine, project, clock=at)
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(messages)).scalar() == 0


def test_a_mail_that_no_campaign_sends_yet_stops_nobody(opened: tuple[Engine, Project], shop: Path) -> None:
    engine, project = opened
    (shop / "templates" / "draft").mkdir()
    (shop / "templates" / "draft" / "body.html.j2").write_text("{{ half", encoding="utf-8")
    assert runs.evaluate(engine, project, clock=runs.clock_at(NOON, project)).figures["campaigns"]


def test_collect_imports_a_file_once_and_again_when_it_changed(
    opened: tuple[Engine, Project], shop: Path
) -> None:
    engine, project = opened
    clock = FixedClock(NOON)
    first = runs.collect(engine, project, clock=clock)
    assert [one["inserted"] for one in first.figures["imported"]] == [10]
    assert runs.collect(engine, project, clock=clock).figures["imported"] == []
    file = shop / "data" / "people.csv"
    source = (shop / "data" / "made_up" / "customers.csv").read_text().splitlines()
    file.write_text("\n".join(source[:13]) + "\n")
    (again,) = runs.collect(engine, project, clock=clock).figures["imported"]
    assert (again["inserted"], again["unchanged"]) == (2, 10)


def test_collect_imports_again_when_the_mapping_changed(opened: tuple[Engine, Project], shop: Path) -> None:
    engine, project = opened
    runs.collect(engine, project, clock=FixedClock(NOON))
    mapping = shop / "mappings" / "customers.yaml"
    mapping.write_text(mapping.read_text() + "# changed\n")
    assert len(runs.collect(engine, project, clock=FixedClock(NOON)).figures["imported"]) == 1


def test_a_missing_import_is_an_error_and_is_tried_again(opened: tuple[Engine, Project], shop: Path) -> None:
    engine, project = opened
    file = shop / "data" / "people.csv"
    away = file.rename(file.with_suffix(".away"))
    with pytest.raises(InputError, match="names it under imports"):
        runs.collect(engine, project, clock=FixedClock(NOON))
    away.rename(file)
    assert len(runs.collect(engine, project, clock=FixedClock(NOON)).figures["imported"]) == 1


def test_an_account_is_a_markdown_page_with_a_table(opened: tuple[Engine, Project]) -> None:
    engine, project = opened
    account = runs.evaluate(engine, project, clock=FixedClock(NOON), campaigns=["birthday"])
    page = account.markdown()
    assert page.startswith("## ")
    assert "| birthday |" in page
    assert account.table()[0]["campaign"] == "birthday"


def test_the_proof_counts_a_rolling_window_and_not_a_calendar_week() -> None:
    """Eight mails in 25 hours over a Sunday midnight are four and four by the calendar."""
    sunday = datetime(2011, 12, 4, 23, 0, tzinfo=UTC)
    sent = [("a", sunday + timedelta(hours=n / 4)) for n in range(4)]
    sent += [("a", sunday + timedelta(hours=1 + n)) for n in range(4)]
    span = timedelta(hours=168)
    assert most_in_any_span(sent, span) == 8
    assert most_in_any_span([("a", sunday), ("a", sunday + span)], span) == 1
    assert most_in_any_span([("a", sunday), ("b", sunday)], span) == 1
    assert most_in_any_span([], span) == 0
