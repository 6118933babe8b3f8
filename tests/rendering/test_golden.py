"""The reference mails are exactly what is kept beside this test.

After a wanted change: `DRUMBEAT_UPDATE_GOLDEN=1 pytest tests/rendering/test_golden.py`, and look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drumbeat.rendering.sample import read_sample
from drumbeat.rendering.templates import Templates

GOLDEN = Path(__file__).parent / "golden"
FOLDER = Path(__file__).resolve().parents[2] / "templates"
SUFFIXES = {"subject": "subject", "html": "html", "text": "txt"}
_ALL = Templates(FOLDER, "en")
MAILS = [(name, language) for name in _ALL.names() for language in (None, *_ALL.languages(name))]


@pytest.mark.parametrize(("name", "language"), MAILS)
def test_a_mail_is_what_it_was(reference: Templates, name: str, language: str | None) -> None:
    rendered = reference.load(name, language).render(read_sample(FOLDER, name, language))
    stem = name if language is None else f"{name}.{language}"
    for part, suffix in SUFFIXES.items():
        file = GOLDEN / f"{stem}.{suffix}"
        found = getattr(rendered, part).rstrip("\n") + "\n"
        if os.environ.get("DRUMBEAT_UPDATE_GOLDEN"):
            GOLDEN.mkdir(exist_ok=True)
            file.write_text(found, encoding="utf-8")
        assert found == file.read_text(encoding="utf-8")


def test_no_golden_mail_is_left_over() -> None:
    expected = {f"{n}{f'.{lang}' if lang else ''}.{s}" for n, lang in MAILS for s in SUFFIXES.values()}
    assert {file.name for file in GOLDEN.iterdir()} == expected
