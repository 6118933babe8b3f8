"""The manual's examples work, and its tables name every code that is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from drumbeat.delivery.twilio import ERRORS
from drumbeat.project.delivery import Delivery
from drumbeat.project.models import Message
from drumbeat.rendering.check_notes import check_note
from drumbeat.rendering.note_rules import NoteRules
from drumbeat.rendering.notes import NoteTemplates
from drumbeat.responses.webhooks.twilio import CODES, STATUSES

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "channels.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_of_settings_is_valid(block: str) -> None:
    value = yaml.safe_load(block)
    assert set(value) <= {"delivery", "message"}
    if "delivery" in value:
        Delivery.model_validate(value["delivery"])
    if "message" in value:
        Message.model_validate(value["message"])


def test_the_example_of_a_payload_is_sound(tmp_path: Path) -> None:
    (example,) = re.findall(r"```jinja\n(.*?)```", MANUAL, re.DOTALL)
    folder = tmp_path / "templates" / "m"
    folder.mkdir(parents=True)
    (folder / "payload.json.j2").write_text(example)
    (folder / "sample.yaml").write_text("cart: {total: 12.5}\n")
    templates = NoteTemplates(tmp_path / "templates", "webhook")
    assert check_note(templates, "m", marketing=True, rules=NoteRules()) == []


@pytest.mark.parametrize("code", [*map(str, ERRORS), *CODES, *STATUSES])
def test_every_code_of_twilio_stands_in_the_manual(code: str) -> None:
    assert code in MANUAL


@pytest.mark.parametrize("code", ["DB024", "DB025", "DB060", "DB061", "DB062", "DB063", "DB064"])
def test_every_fault_of_a_channel_stands_in_the_manual(code: str) -> None:
    assert f"| {code} |" in MANUAL
