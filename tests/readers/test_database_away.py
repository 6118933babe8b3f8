"""What must hold while the database is away: a no is never lost, a choice is asked for again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.pages import Page

from drumbeat.ledger.states import Reason
from drumbeat.web.spill import Spill

_file = Path(__file__).parent.parent / "web" / "test_spill.py"
_spec = importlib.util.spec_from_file_location("drumbeat_test_spill", _file)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
away = _module.away


@pytest.mark.slow
def test_while_the_database_is_away_a_no_is_kept_and_a_choice_is_asked_for_again(
    server, scene, reached, monkeypatch
):
    monkeypatch.setattr("drumbeat.web.desk.PATIENCE_S", 0.5)
    reader = scene.customer(phone="+442079460000")
    for topic in ("offers", "news", "alerts"):
        scene.consent(reader, topic)
    message, second = scene.message(reader), scene.message(reader)
    preferences, unsubscribing = server.links.preferences(message), server.links.unsubscribe(second)
    form = Page(server.get(preferences).text)
    only = Page(server.get(unsubscribing).text).values("Only from “Offers & reminders”")
    with away(scene.engine):
        saved = server.post(preferences, form.values("Save", topic=["alerts"], often="1"))
        assert saved.status_code == 503
        assert "Please try again in a few minutes" in saved.text
        asked = server.post("/subscribe", {"email": "new@example.com", "topic": "news"})
        assert asked.status_code == 503
        assert server.post(server.links.confirm(1)).status_code == 503
        assert "will not reach you any more" in server.post(unsubscribing, only).text
        left = server.post(preferences, form.values("Unsubscribe from everything"))
        assert left.status_code == 200
        assert "You are unsubscribed from everything" in left.text
        assert Spill(server.folder / "spill").waiting() == 2
    for _ in range(400):
        if scene.count("responses") == 2:
            break
        monkeypatch.undo()
        __import__("time").sleep(0.05)
    assert set(reached(reader).values()) == {Reason.SUPPRESSED}
    assert scene.count("preferences") == 0, "what was answered with 503 is not done later"
    assert scene.count("opt_ins") == 0
    assert {row.topic for row in scene.rows("consent_events")} == {"offers", "news", "alerts"}
