"""What a channel asks of campaigns and project.yaml is told as faults, all at once, each with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drumbeat.errors import ProjectError
from drumbeat.project.check import check_project
from drumbeat.project.load import Project, load_project

Make = Callable[..., Project]


def faults(make: Make, *words: object, **changes: object) -> list[str]:
    with pytest.raises(ProjectError) as error:
        make(*words, **changes)
    return [str(issue) for issue in error.value.issues]


def test_a_project_with_every_channel_is_sound(make: Make) -> None:
    project = make(["sms", "telegram", "webhook", "task"])
    assert check_project(project.root)[1] == []


@pytest.mark.parametrize("channel", ["sms", "telegram", "webhook", "task"])
def test_consent_to_mail_is_no_consent_to_another_channel(make: Make, channel: str) -> None:
    (fault,) = faults(make, [channel], topic="offers")
    assert f"campaigns/{channel}.yaml:" in fault
    assert f"DB024 the topic 'offers' is of the channel mail, the message of {channel}" in fault
    assert "Topics of" in fault


def test_consent_to_sms_is_no_consent_to_mail(make: Make) -> None:
    assert (
        "DB024 the topic 'offers_sms' is of the channel sms" in faults(make, ["mail"], topic="offers_sms")[0]
    )


def test_service_messages_may_use_any_topic(make: Make) -> None:
    files = {"templates/text/text.txt.j2": "Your parcel is here"}
    project = make(["sms"], topic="offers", kind="service", files=files)
    assert check_project(project.root)[1] == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["sms: {backend: twilio}"], "DB025 delivery.twilio has no from or messaging_service_sid, but"),
        (["sms: {backend: http}"], "DB025 delivery.sms.http has no url, but delivery.sms.backend is http."),
        (
            ["sms: {backend: http, http: {url: 'https://a.example/x'}}"],
            "DB025 delivery.sms.http has no json or form",
        ),
        (["webhook: {backend: http}"], "DB025 delivery.webhook has no url, but"),
    ],
)
def test_a_way_to_send_without_what_it_needs_is_a_fault(make: Make, lines: list[str], words: str) -> None:
    (fault,) = faults(make, ["mail"], *lines)
    assert words in fault
    assert fault.startswith("project.yaml:")


def test_tasks_need_somebody_for_customers_without_a_manager(make: Make, tmp_path: Path) -> None:
    project = make(["task"])
    file = project.root / "project.yaml"
    file.write_text(file.read_text().replace("task: {default_assignee: desk}", ""))
    with pytest.raises(ProjectError) as error:
        load_project(project.root)
    assert "DB025 delivery.task has no default_assignee" in str(error.value)


def test_only_a_task_is_due(make: Make) -> None:
    (fault,) = faults(make, ["sms"], message={"template": "text", "channel": "sms", "due": "2d"})
    assert "due is for tasks; a message of the channel sms has none" in fault


def test_a_placeholder_that_nothing_fills_is_a_fault_of_project_yaml(make: Make) -> None:
    (fault,) = faults(make, ["mail"], "sms: {http: {json: {to: '{too}'}}}")
    assert "DB020 delivery.sms.http.json: unknown placeholder {too}" in fault


def test_a_template_of_another_channel_does_not_fit(make: Make) -> None:
    project = make(["sms"], message={"template": "hello", "channel": "sms"})
    issues = [str(i) for i in check_project(project.root)[1]]
    assert issues == [
        "templates/hello/text.txt.j2:1:1 DB050 is missing. An SMS needs text.txt.j2 and a sample."
    ]


def test_a_trigger_that_does_not_give_what_the_text_needs_is_a_fault(make: Make) -> None:
    files = {
        "templates/text/text.txt.j2": "{{ cart.id }} STOP",
        "templates/text/text.de.txt.j2": "{{ cart.id }} STOP",
        "templates/text/sample.yaml": "cart: {id: 1}",
    }
    project = make(["sms"], files=files)
    triggers = project.root / "triggers" / "__init__.py"
    triggers.write_text(
        triggers.read_text().replace("    name: str\n", '    gives: ClassVar = ("event",)\n    name: str\n')
    )
    issues = [str(i) for i in check_project(project.root)[1]]
    assert len(issues) == 1
    assert "DB018 the mail 'text' needs 'cart', which the trigger happened does not give" in issues[0]


def test_a_sound_message_is_judged_anew_when_the_rules_of_project_yaml_change(make: Make) -> None:
    project = make(["sms"])
    assert check_project(project.root)[1] == []
    file = project.root / "project.yaml"
    file.write_text(file.read_text() + "  sms: {opt_out: [ENDE]}\n")
    assert {issue.code for issue in check_project(project.root)[1]} == {"DB061"}


def test_who_the_reader_hears_from_less_is_not_changed_by_what_they_never_see(make: Make) -> None:
    project = make(["sms", "telegram", "webhook", "task", "mail"])
    counted = {name: (c.obeys_cap, c.counts_toward_cap) for name, c in project.campaigns.items()}
    assert counted == {
        "mail": (True, True),
        "sms": (True, True),
        "telegram": (True, True),
        "task": (False, False),
        "webhook": (False, False),
    }
    said = make(["task"], counts_toward_cap=True, obeys_cap=True).campaign("task")
    assert (said.obeys_cap, said.counts_toward_cap) == (True, True)
