"""Preview, explain and deliver know every channel; what is tried out leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, select, update

from drumbeat.cli import cli
from drumbeat.clock import FixedClock
from drumbeat.delivery import Note
from drumbeat.outbox.deliver import deliver
from drumbeat.outbox.preview import preview
from drumbeat.planning.explain import explain
from drumbeat.planning.plan import plan
from drumbeat.project.limits import ChannelCap
from drumbeat.project.load import Project, load_project
from drumbeat.rendering.check_notes import check_note
from drumbeat.rendering.note_rules import NoteRules
from drumbeat.rendering.notes import NoteTemplates
from drumbeat.reporting.funnel import make_report
from drumbeat.store.engine import connect, reading, writing
from drumbeat.store.tables import customers, messages, tasks
from drumbeat.store.upgrade import upgrade

Make = Callable[..., Project]
HOUR = timedelta(hours=1)


def call(project: Project, *words: str) -> Any:
    return CliRunner().invoke(cli, [*words, "-C", str(project.root)], catch_exceptions=False)


@pytest.fixture
def reader(people: Any, agree: Callable[..., None], now: datetime) -> int:
    (customer,) = people.add(phone="+447700900123", telegram_id="777", manager="priya", language="de")
    agree(customer)
    for name in ("sms", "telegram", "webhook", "task"):
        people.happen(name, customer, now - HOUR)
    return int(customer)


@pytest.mark.parametrize("channel", ["sms", "telegram", "webhook", "task"])
def test_a_preview_is_the_very_message_that_is_sent(
    store: Engine, make: Make, reader: int, clock: FixedClock, now: datetime, channel: str
) -> None:
    project = make([channel])
    seen = preview(store, project, channel, "c1", as_of=now)
    assert isinstance(seen, Note)
    plan(store, project, as_of=now)
    assert deliver(store, project, clock=clock).sent == 1
    if channel == "task":
        with reading(store) as connection:
            task = connection.execute(select(tasks)).one()
        assert (seen.to, seen.fields["title"], seen.text, seen.due_at) == (
            task.assignee,
            task.title,
            task.text,
            task.due_at,
        )
        return
    (file,) = (project.root / "notes" / channel).iterdir()
    assert seen.text in file.read_text()
    assert file.stem == seen.key


def test_explain_says_what_keeps_a_text_away(store: Engine, make: Make, reader: int, now: datetime) -> None:
    project = make(["sms"])
    (found,) = explain(store, project, "c1", "sms", as_of=now)
    assert "a plan now would plan it" in found.conclusion
    with writing(store) as connection:
        connection.execute(update(customers).values(phone=None))
    (found,) = explain(store, project, "c1", "sms", as_of=now)
    assert found.refusal == "no_address"
    assert "no address in the campaign's channel" in found.conclusion


def test_explain_tells_the_cap_of_the_channel_and_who_does_not_ask(
    store: Engine, make: Make, reader: int, clock: FixedClock, now: datetime
) -> None:
    project = make(["sms", "task"])
    capped = project.config.cap.model_copy(update={"channels": {"sms": ChannelCap(messages=1)}})
    project = replace(project, config=project.config.model_copy(update={"cap": capped}))
    plan(store, project, as_of=now)
    deliver(store, project, clock=clock)
    sms, task = explain(store, project, "c1", as_of=now)
    assert (sms.campaign, sms.cap_obeyed, sms.cap_used, sms.channel_cap) == ("sms", True, 1, ("sms", 1, 1))
    assert (task.campaign, task.cap_obeyed, task.channel_cap) == ("task", False, None)
    assert sms.to_json()["cap"]["channel"] == {"channel": "sms", "used": 1, "messages": 1}


def test_a_report_tells_the_channel(
    store: Engine, make: Make, reader: int, clock: FixedClock, now: datetime
) -> None:
    project = make(["sms", "task", "mail"])
    plan(store, project, as_of=now)
    deliver(store, project, clock=clock)
    report = make_report(store, project, as_of=now + HOUR)
    assert {c.label: c.figures.sent for c in report.campaigns} == {
        "mail": 0,
        "sms (sms)": 1,
        "task (task)": 1,
    }
    assert {c["campaign"]: c["channel"] for c in report.as_json()["campaigns"]} == {
        "mail": "mail",
        "sms": "sms",
        "task": "task",
    }


def test_a_template_is_previewed_by_its_sample_with_its_length_and_faults(make: Make) -> None:
    project = make(["sms", "telegram", "webhook", "task"])
    shown = json.loads(call(project, "preview", "text", "--json").stdout)
    assert shown["channel"] == "sms"
    assert shown["size"]["segments"] == 1
    assert shown["issues"] == []
    assert Path(shown["files"]["txt"]).read_text() == "Hello Emma, 5% off. Reply STOP to end.\n"
    german = call(project, "preview", "text", "--language", "de").stdout
    assert "Hallo Emma" in german
    assert "37 septets in 1 segment (GSM 7-bit)" in german
    assert json.loads(call(project, "preview", "chat", "--json").stdout)["size"] == {"characters": 26}
    payload = json.loads(call(project, "preview", "crm", "--json").stdout)
    assert payload["payload"]["who"] == "SAMPLE-1"
    assert "Title: Call Emma" in call(project, "preview", "call").stdout
    file = project.root / "templates" / "text" / "text.txt.j2"
    file.write_text("Buy!")
    assert "DB061" in call(project, "preview", "text").stderr


@pytest.mark.parametrize("backend", ["console", "file"])
def test_trying_out_by_another_backend_sends_no_message_of_any_channel(
    store_url: str, make: Make, now: datetime, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Twilio is set up and its keys are not: it would be an error to go there."""
    from support.projects import People

    monkeypatch.setenv("DRUMBEAT_DATABASE_URL", store_url)
    sms = "twilio: {from: '+15005550006', base_url: 'http://127.0.0.1:9'}"
    files = {"templates/text/text.txt.j2": "Your parcel is here"}
    project = make(["sms"], "sms: {backend: twilio}", sms, files=files, kind="service", topic="news")
    engine = connect(store_url)
    upgrade(engine)
    people = People(engine)
    (customer,) = people.add(phone="+447700900123")
    people.happen("sms", customer, now - HOUR)
    plan(engine, project, as_of=now)
    done = call(project, "deliver", "--backend", backend, "--as-of", "2011-12-05T10:00+00:00")
    assert "1 sent" in done.stdout
    if backend == "console":
        assert "To: +447700900123 by sms\n  Your parcel is here" in done.stdout
    else:
        assert list((project.root / "notes" / "sms").iterdir())
    with reading(engine) as connection:
        assert connection.execute(select(messages.c.via, messages.c.state)).one().state == "sent"
    engine.dispose()


@pytest.mark.parametrize(("campaign", "channel"), [("promo_last_day", "sms"), ("vip_cart_call", "task")])
def test_the_reference_projects_messages_fit_every_reader(
    project_root: Path, campaign: str, channel: str
) -> None:
    """Whatever a customer lacks, nothing in the text says None; and an SMS stays within what project.yaml allows."""
    project = load_project(project_root)
    settings = project.campaign(campaign).settings
    assert settings.message.channel == channel
    templates = NoteTemplates(project.root / "templates", channel, project.config.language)
    rules = NoteRules.of(project.config.delivery)
    assert check_note(templates, settings.message.template, marketing=True, rules=rules) == []
    for language in (None, *templates.languages(settings.message.template)):
        sample = templates.sample(settings.message.template, language)
        nobody = dict.fromkeys(sample["customer"]) | {"external_id": "c1", "attributes": {}}
        template = templates.load(settings.message.template, language)
        rendered = template.note({**sample, "customer": nobody})
        assert "None" not in rendered.text + rendered.title
