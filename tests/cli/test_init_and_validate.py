"""Making a project, and checking it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from drumbeat.cli import cli
from drumbeat.cli.init import PARTS
from drumbeat.cli.output import guarded
from drumbeat.project import check


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project as `drumbeat init` makes it."""
    assert guarded(cli, ["init", str(tmp_path / "shop")]) == 0
    capsys.readouterr()
    return tmp_path / "shop"


def test_a_new_project_is_sound(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(cli, ["validate", "-C", str(shop)]) == 0
    assert "campaigns are sound" in capsys.readouterr().out


def test_a_new_project_has_every_part(shop: Path) -> None:
    assert {path.name for path in shop.iterdir()} == {*PARTS, ".gitignore"}
    assert not list(shop.rglob("__pycache__"))


def test_init_refuses_a_folder_with_something_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    assert guarded(cli, ["init", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_init_takes_an_empty_folder(tmp_path: Path) -> None:
    assert guarded(cli, ["init", str(tmp_path)]) == 0
    assert (tmp_path / "project.yaml").is_file()


def test_the_parts_of_a_project_are_those_the_wheel_carries(project_root: Path) -> None:
    settings = tomllib.loads((project_root / "pyproject.toml").read_text())
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = [name for name in wheel["only-include"] if name != "src/drumbeat"]
    assert {*folders, *wheel["force-include"]} == set(PARTS)
    carried = wheel["sources"] | wheel["force-include"]
    assert carried == {"src/drumbeat": "drumbeat"} | {part: f"drumbeat/_project/{part}" for part in PARTS}


def test_all_faults_of_all_files_are_shown_at_once(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = shop / "campaigns" / "newsletter.yaml"
    first.write_text(first.read_text().replace("topic:", "topick:"))
    second = shop / "campaigns" / "abandoned_cart.yaml"
    second.write_text(second.read_text().replace("  abandoned_cart:", "  abandonned_cart:", 1))
    assert guarded(cli, ["validate", "-C", str(shop)]) == 3
    err = capsys.readouterr().err
    assert "unknown key 'topick'. Did you mean 'topic'?" in err
    assert "DB014 unknown trigger 'abandonned_cart'. Did you mean 'abandoned_cart'?" in err


def test_a_mail_that_needs_what_the_campaigns_trigger_does_not_give_is_refused(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its sample renders, so that only the readers' own mails would fail."""
    assert guarded(cli, ["validate", "-C", str(shop)]) == 0  # the mail is remembered as sound
    file = shop / "campaigns" / "anniversary.yaml"
    file.write_text(file.read_text().replace("template: anniversary", "template: abandoned_cart"))
    assert guarded(cli, ["validate", "-C", str(shop)]) == 3
    assert (
        "campaigns/anniversary.yaml:9:13 DB018 the mail 'abandoned_cart' needs 'cart', 'items', "
        "which the trigger anniversary does not give. Choose another template, or another trigger."
    ) in capsys.readouterr().err


def test_a_project_without_campaigns_says_so(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (shop / "campaigns").iterdir():
        file.unlink()
    assert guarded(cli, ["validate", "-C", str(shop)]) == 0
    assert "has no campaign yet" in capsys.readouterr().out


def test_schemas_that_cannot_be_written_are_one_line(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / ".drumbeat").write_text("in the way")
    assert guarded(cli, ["validate", "--write-schemas", "-C", str(shop)]) == 2
    assert "cannot write into" in capsys.readouterr().err


def test_a_sentence_ends_once(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaign = shop / "campaigns" / "anniversary.yaml"
    campaign.write_text(campaign.read_text().replace("first_order}", "firstorder}"))
    mail = shop / "templates" / "newsletter" / "body.txt.j2"
    mail.write_text(mail.read_text() + "{{ customer.city | upperr }}")
    assert guarded(cli, ["validate", "-C", str(shop)]) == 3
    err = capsys.readouterr().err
    assert "Did you mean 'first_order'?\n" in err
    assert "No filter named 'upperr'.\n" in err


def test_validate_gives_json_with_the_place_of_each_fault(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shop / "campaigns" / "newsletter.yaml"
    file.write_text(file.read_text().replace("segment: ", "segment: not_", 1))
    assert guarded(cli, ["validate", "--json", "-C", str(shop)]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    (issue,) = found["issues"]
    assert issue["path"] == "campaigns/newsletter.yaml"
    assert issue["code"] == "DB011"
    assert issue["line"] > 1


def test_a_fault_in_a_template_is_found_too(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = next((shop / "templates" / "newsletter").glob("body.html.j2"))
    body.write_text(body.read_text() + "\n{{ custommer.first_name }}\n")
    assert guarded(cli, ["validate", "-C", str(shop)]) == 3
    assert "custommer" in capsys.readouterr().err


def test_schemas_for_editors_know_the_projects_trigger_kinds(shop: Path) -> None:
    assert guarded(cli, ["validate", "--write-schemas", "-C", str(shop)]) == 0
    schema = json.loads((shop / ".drumbeat" / "schemas" / "campaign.json").read_text())
    assert "abandoned_cart" in schema["properties"]["trigger"]["properties"]
    assert "idle_for" in schema["$defs"]["trigger_abandoned_cart"]["properties"]


def test_a_sound_mail_is_not_rendered_again_until_something_changes(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes `validate` answer within 0.4 s; a changed mail, layout or language is judged anew."""
    rendered: list[str] = []
    monkeypatch.setattr(check, "_check", lambda _folder, _language, name, *_how: rendered.append(name) or [])
    names = sorted(path.name for path in (shop / "templates").glob("[a-z]*"))
    check.check_project(shop)
    assert rendered == names
    rendered.clear()
    check.check_project(shop)
    assert rendered == []
    file = shop / "templates" / "newsletter" / "subject.txt.j2"
    file.write_text(file.read_text() + " ")
    check.check_project(shop)
    assert rendered == ["newsletter"]
    rendered.clear()
    layout = next(path for path in (shop / "templates" / "_layout").rglob("*") if path.is_file())
    layout.write_bytes(layout.read_bytes() + b" ")
    check.check_project(shop)
    assert rendered == names


def test_a_mail_with_a_fault_is_judged_each_time(shop: Path) -> None:
    body = shop / "templates" / "newsletter" / "body.html.j2"
    body.write_text(body.read_text() + "\n{{ custommer.first_name }}\n")
    first, second = check.check_project(shop)[1], check.check_project(shop)[1]
    assert first == second != []


def test_segments_that_cannot_be_read_are_one_fault(shop: Path) -> None:
    """And not one more for each campaign that names a segment."""
    file = shop / "segments.yaml"
    file.write_text(file.read_text() + "\nloyal: {}\nloyal: {}\n")
    assert {issue.place.path.name for issue in check.check_project(shop)[1]} == {"segments.yaml"}


def test_a_mapping_that_is_missing_or_wrong_is_a_fault(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (shop / "project.yaml").read_text(encoding="utf-8")
    (shop / "project.yaml").write_text(
        config.replace("mappings/coupons.yaml", "mappings/coupon.yaml"), encoding="utf-8"
    )
    (shop / "mappings" / "carts.yaml").write_text("into: karts\n", encoding="utf-8")
    assert guarded(cli, ["validate", "-C", str(shop)]) == 3
    told = "".join(capsys.readouterr())
    assert "DB019 there is no mapping 'mappings/coupon.yaml'. Did you mean 'mappings/coupons.yaml'?" in told
    assert "mappings/carts.yaml:1:" in told
