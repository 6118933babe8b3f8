"""What the templates of a channel give for one reader."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drumbeat.errors import RenderError
from drumbeat.rendering.notes import NoteTemplates, to_json
from drumbeat.rendering.telegram import text_of

ODD = """<b> & "quotes" 'single' {{ x }} \\ line\nend \u2028 🧺"""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / "m").mkdir(parents=True, exist_ok=True)
        (folder / "m" / name).write_text(text, encoding="utf-8")
    return folder


def test_a_reader_gets_their_own_language_where_there_is_one(tmp_path: Path) -> None:
    folder = write(tmp_path, {"text.txt.j2": "Hi", "text.de.txt.j2": "Tag", "text.ru.txt.j2": "Привет"})
    templates = NoteTemplates(folder, "sms")
    found = {lang: templates.load("m", lang).note({}).text for lang in ("de", "de-AT", "ru", "fr", None)}
    assert found == {"de": "Tag", "de-AT": "Tag", "ru": "Привет", "fr": "Hi", None: "Hi"}
    assert templates.languages("m") == ["de", "ru"]


def test_telegrams_html_has_languages_too(tmp_path: Path) -> None:
    folder = write(tmp_path, {"text.html.j2": "<b>Hi</b>", "text.de.html.j2": "<b>Tag</b>"})
    templates = NoteTemplates(folder, "telegram")
    assert templates.load("m", "de").note({}).text == "<b>Tag</b>"
    assert templates.load("m", "de").note({}).html
    assert templates.languages("m") == ["de"]


def test_what_our_own_people_and_systems_read_has_no_variants(tmp_path: Path) -> None:
    folder = write(tmp_path, {"title.txt.j2": "Call", "text.txt.j2": "x", "title.de.txt.j2": "Ruf"})
    assert NoteTemplates(folder, "task").load("m", "de").note({}).title == "Call"


def test_values_in_telegrams_html_are_escaped_as_telegram_reads_them(tmp_path: Path) -> None:
    folder = write(tmp_path, {"text.html.j2": '<b>{{ name }}</b> <a href="{{ url }}">x</a>'})
    text = NoteTemplates(folder, "telegram").load("m").note({"name": ODD, "url": 'https://x/?a=1&b="'}).text
    assert text_of(text) == f"{ODD} x"


def test_values_in_plain_text_stay_as_they_are(tmp_path: Path) -> None:
    folder = write(tmp_path, {"text.txt.j2": "  {{ name }}\r\nend  \n"})
    assert NoteTemplates(folder, "sms").load("m").note({"name": ODD}).text == f"{ODD}\nend"


def test_a_payload_is_json_whatever_a_customer_is_called(tmp_path: Path) -> None:
    folder = write(tmp_path, {"payload.json.j2": '{"n": {{ name | tojson }}, "all": {{ all | tojson }}}'})
    context: dict[str, Any] = {
        "name": ODD,
        "all": {
            "total": Decimal("12.50"),
            "at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
            "day": date(2026, 1, 2),
            "none": None,
            "list": [1, True],
        },
    }
    note = NoteTemplates(folder, "webhook").load("m").note(context)
    assert json.loads(note.text) == note.payload
    assert note.payload == {
        "n": ODD,
        "all": {
            "total": "12.50",
            "at": "2026-01-02T03:04:00+00:00",
            "day": "2026-01-02",
            "none": None,
            "list": [1, True],
        },
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_tojson_writes_what_json_reads_back(value: Any) -> None:
    assert json.loads(to_json(value)) == value


@pytest.mark.parametrize(
    ("files", "channel", "context", "words"),
    [
        ({"payload.json.j2": "{{ x | tojson }}"}, "webhook", {}, "'x' is undefined"),
        ({"payload.json.j2": "{{ x | tojson }}"}, "webhook", {"x": float("nan")}, "payload.json.j2:1:1"),
        ({"payload.json.j2": "{{ x | tojson }}"}, "webhook", {"x": object()}, "object has no place in JSON"),
        ({"payload.json.j2": '"{{ x }}"'}, "webhook", {"x": '"'}, "is no JSON"),
        ({"payload.json.j2": "[" * 100_000}, "webhook", {}, "is no JSON"),
        ({"text.txt.j2": "{{ x }}"}, "sms", {"x": "\ud800"}, "cannot hold"),
        ({"text.txt.j2": "{{ x }}"}, "sms", {"x": "a\0"}, "cannot hold"),
        ({"text.txt.j2": "{{ x }}"}, "sms", {"x": " "}, "the text is empty"),
        ({"text.html.j2": "<b>{{ x }}</b>"}, "telegram", {"x": " "}, "the text is empty"),
    ],
)
def test_what_cannot_be_sent_is_said_with_file_and_line(
    tmp_path: Path, files: dict[str, str], channel: str, context: dict[str, Any], words: str
) -> None:
    templates = NoteTemplates(write(tmp_path, files), channel)
    with pytest.raises(RenderError) as error:
        templates.load("m").note(context)
    assert words in str(error.value)
    assert "m/" in str(error.value)


def test_a_template_that_is_not_there_is_said_with_the_nearest(tmp_path: Path) -> None:
    folder = write(tmp_path, {"text.txt.j2": "x"})
    with pytest.raises(RenderError, match="unknown template 'mm'"):
        NoteTemplates(folder, "sms").load("mm")
