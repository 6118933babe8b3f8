"""The words of the pages: the same in every language, and each used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drumbeat.web.pages import Pages

WEB = Path(__file__).resolve().parents[2] / "src" / "drumbeat" / "web"
WORDS = Pages("Shop", "en").words


def test_every_language_has_the_same_words_with_the_same_places_to_fill_in():
    for language, pages in WORDS.items():
        assert pages.keys() == WORDS["en"].keys(), language
        for page, words in pages.items():
            assert words.keys() == WORDS["en"][page].keys(), (language, page)
            for name, text in words.items():
                places = sorted(re.findall(r"\{\w+\}", text))
                assert places == sorted(re.findall(r"\{\w+\}", WORDS["en"][page][name])), (
                    language,
                    page,
                    name,
                )


def test_no_language_repeats_anothers_sentence():
    for page, words in WORDS["en"].items():
        for name, text in words.items():
            if len(text.split()) > 3:
                assert len({pages[page][name] for pages in WORDS.values()}) == len(WORDS), (page, name)


def test_each_word_is_used():
    sources = "".join(p.read_text() for p in (*WEB.glob("*.py"), *WEB.glob("*.j2")))
    from_choices = {
        "two_weeks",
        "one_month",
        "three_months",
        "always",
        "most_1",
        "most_2",
        "most_n",
        "other_heading",
        "other_text",
    }
    for page, words in WORDS["en"].items():
        if page in ("channels", "blocked"):  # by the channel's or the reason's own name
            continue
        for name in words:
            used = rf'words\.{name}\b|\["{name}"\]|"{name}"'
            assert name in from_choices or re.search(used, sources), f"{page}: {name}"


@pytest.mark.parametrize(
    ("header", "else_", "language"),
    [
        ("", None, "ru"),
        ("", "de-CH", "de"),
        ("", "de_CH", "de"),
        ("", "xx", "ru"),
        ("fr;q=0.9, en;q=0.1", "de", "en"),
        ("en;q=0, de;q=0", None, "ru"),
        ("EN-gb", "de", "en"),
        ("*" * 10_000, "de", "de"),
        (";;q=1,,=;q=x", "de", "de"),
    ],
)
def test_the_language_is_the_headers_else_the_readers_else_the_projects(header, else_, language):
    assert Pages("Shop", "ru").language(header, else_) == language
