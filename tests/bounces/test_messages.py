"""Real mails of twenty mail programs are understood, as messages.yaml has it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
import yaml

from drumbeat.responses.bounces import read_mail

HERE = Path(__file__).resolve().parent
CASES = yaml.safe_load((HERE / "messages.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_a_real_mail_is_understood(name: str, now: datetime) -> None:
    events = read_mail((HERE / "messages" / name).read_bytes(), now)
    found = [
        {
            fact: str(value)
            for fact in ("kind", "recipient", "bounce", "reason", "status", "message_id")
            if (value := getattr(event, fact)) is not None
        }
        for event in events
    ]
    assert found == CASES[name]
    assert {event.at for event in events} == {now}


def test_every_real_mail_has_its_case() -> None:
    assert sorted(CASES) == sorted(path.name for path in (HERE / "messages").glob("*.eml"))
