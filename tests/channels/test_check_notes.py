"""`drumbeat validate` says what would go wrong with a message of each channel, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from drumbeat.rendering.check_notes import check_note
from drumbeat.rendering.note_rules import NoteRules
from drumbeat.rendering.notes import NoteTemplates, guess_channel

FILES = {
    "sms": {"text.txt.j2": "Hi. Reply STOP to end."},
    "telegram": {"text.txt.j2": "Hi. /stop ends this."},
    "webhook": {"payload.json.j2": '{"a": {{ customer.external_id | tojson }}}'},
    "task": {"title.txt.j2": "Call", "text.txt.j2": "about it"},
}


def write(folder: Path, channel: str, sample: str = "{}", **files: str) -> NoteTemplates:
    for name, text in {**FILES[channel], "sample.yaml": sample, **files}.items():
        (folder / "templates" / "m").mkdir(parents=True, exist_ok=True)
        (folder / "templates" / "m" / name).write_text(text, encoding="utf-8")
    return NoteTemplates(folder / "templates", channel)


def said(templates: NoteTemplates, *, marketing: bool = True, rules: NoteRules | None = None) -> list[str]:
    return [str(i) for i in check_note(templates, "m", marketing=marketing, rules=rules or NoteRules())]


@pytest.mark.parametrize("channel", FILES)
def test_a_sound_message_has_no_fault(tmp_path: Path, channel: str) -> None:
    assert said(write(tmp_path, channel)) == []


@pytest.mark.parametrize(
    ("channel", "file", "words"),
    [
        ("sms", "text.txt.j2", "An SMS needs text.txt.j2 and a sample."),
        ("telegram", "text.txt.j2", "A Telegram message needs text.txt.j2 or text.html.j2, and a sample."),
        ("webhook", "payload.json.j2", "A webhook needs payload.json.j2 and a sample."),
        ("task", "title.txt.j2", "A task needs title.txt.j2, text.txt.j2 and a sample."),
    ],
)
def test_a_template_of_another_channel_does_not_fit(
    tmp_path: Path, channel: str, file: str, words: str
) -> None:
    templates = write(tmp_path, channel)
    (templates.folder / "m" / file).rename(templates.folder / "m" / "body.html.j2")
    assert said(templates) == [f"templates/m/{file}:1:1 DB050 is missing. {words}"]


FAULTS = [
    ("sms", {"text.txt.j2": "{% if %}"}, "text.txt.j2:1:1 DB051 does not compile"),
    ("sms", {"text.txt.j2": "STOP\n{{ custmer }}"}, "text.txt.j2:2:1 DB052 unknown name 'custmer'."),
    ("sms", {"text.txt.j2": "{% if 0 %}{{ x }}{% endif %}STOP"}, "DB052 unknown name 'x'."),
    ("sms", {"text.txt.j2": "STOP {{ customer.nme }}"}, "DB052 'customer' has no 'nme'."),
    ("sms", {"text.txt.j2": " \n "}, "DB053 the sample does not render: the text is empty."),
    ("sms", {"text.txt.j2": "STOP {{ 1 / 0 }}"}, "DB052 the sample does not render: ZeroDivisionError"),
    (
        "sms",
        {"text.txt.j2": "STOP" + "x" * 456},
        "DB060 the SMS has 460 septets in 4 segments (GSM 7-bit); delivery.sms.max_segments allows 3.",
    ),
    (
        "sms",
        {"text.txt.j2": "STOP" + "x" * 197 + "ё"},
        "DB060 the SMS has 202 code units in 4 segments (UCS-2, because of 'ё')",
    ),
    (
        "sms",
        {"text.txt.j2": "Buy now"},
        "DB061 marketing without a way to end it: neither 'STOP' nor {{ unsubscribe_url }} is in the text.",
    ),
    ("sms", {"text.de.txt.j2": "Kauf"}, "templates/m/text.de.txt.j2:1:1 DB061"),
    ("telegram", {"text.txt.j2": "Buy"}, "DB061 marketing without a way to end it: neither '/stop'"),
    ("telegram", {"text.txt.j2": "/stop" + "x" * 4092}, "DB062 the message has 4,097 characters"),
    ("telegram", {"text.txt.j2": "/stop" + "🧺" * 2046}, "DB062 the message has 4,097 characters"),
    (
        "telegram",
        {"text.html.j2": "<p>/stop</p>"},
        "text.html.j2:1:1 DB063 the sample does not render: Telegram would refuse the text: <p> is no tag",
    ),
    ("telegram", {"text.html.j2": "<b>/stop"}, "DB063 the sample does not render: Telegram would refuse"),
    (
        "telegram",
        {"text.html.j2": "/stop"},
        "text.txt.j2:1:1 DB050 stands beside text.html.j2, which is the one that is sent by Telegram.",
    ),
    ("webhook", {"payload.json.j2": '{"a": 1,}'}, "payload.json.j2:1:1 DB063 the sample does not render"),
    ("webhook", {"payload.json.j2": '{"a": NaN}'}, "DB063"),
    (
        "webhook",
        {"payload.json.j2": '{\n"a": "{{ customer.first_name }}"}'},
        "payload.json.j2:2:1 DB064 a value is not written as JSON",
    ),
    ("webhook", {"payload.json.j2": "{{ nothing | tojson }}"}, "DB052 unknown name 'nothing'."),
    ("task", {"title.txt.j2": "a\nb"}, "title.txt.j2:1:1 DB053 the sample does not render: the title has 2"),
    ("task", {"title.txt.j2": " "}, "DB053 the sample does not render: the title is empty"),
]


@pytest.mark.parametrize(("channel", "files", "words"), FAULTS)
def test_a_fault_is_said_with_its_place(
    tmp_path: Path, channel: str, files: dict[str, str], words: str
) -> None:
    found = said(write(tmp_path, channel, **files))
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("channel", "text"),
    [
        ("sms", "Sale. Stop: {{ unsubscribe_url }}"),
        ("sms", "Sale, stopp mit Stop"),
        ("telegram", "{{ unsubscribe_url }}"),
    ],
)
def test_a_link_or_a_word_in_any_letters_is_a_way_out(tmp_path: Path, channel: str, text: str) -> None:
    assert said(write(tmp_path, channel, **{"text.txt.j2": text})) == []


def test_service_needs_no_way_out(tmp_path: Path) -> None:
    assert said(write(tmp_path, "sms", **{"text.txt.j2": "Your parcel is here"}), marketing=False) == []


def test_the_project_says_how_long_an_sms_may_be_and_what_ends_them(tmp_path: Path) -> None:
    templates = write(tmp_path, "sms", **{"text.txt.j2": "x" * 150 + " ENDE schreiben"})
    assert said(templates, rules=NoteRules(2, {"sms": ("ENDE",)})) == []
    assert "DB060" in said(templates, rules=NoteRules(1, {"sms": ("ENDE",)}))[0]


def test_a_task_and_a_webhook_may_use_what_only_they_have(tmp_path: Path) -> None:
    assert (
        said(write(tmp_path / "a", "task", **{"text.txt.j2": "{{ assignee }} {{ due_at | datetime }}"})) == []
    )
    payload = "[{{ key | tojson }}, {{ occasion | tojson }}, {{ customer.attributes | length }}]"
    assert said(write(tmp_path / "b", "webhook", **{"payload.json.j2": payload})) == []
    assert (
        "unknown name 'due_at'"
        in said(write(tmp_path / "c", "sms", **{"text.txt.j2": "STOP {{ due_at }}"}))[0]
    )


@pytest.mark.parametrize(
    ("file", "channel"),
    [
        ("subject.txt.j2", "mail"),
        ("payload.json.j2", "webhook"),
        ("title.txt.j2", "task"),
        ("text.html.j2", "telegram"),
        ("text.txt.j2", "telegram"),
        ("other", "mail"),
    ],
)
def test_a_template_that_nobody_sends_is_taken_for_what_its_files_are(
    tmp_path: Path, file: str, channel: str
) -> None:
    (tmp_path / file).touch()
    assert guess_channel(tmp_path) == channel
