"""Mails are measured against Gmail's limit, and marketing mails must let their readers go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.findings import told

from drumbeat.doctor.findings import Finding, Level

Check = Callable[..., list[Finding]]
LIMIT = 102 * 1024
BODY = (
    "<!doctype html><html><head><title>Hello</title></head><body><p>{words}</p>"
    '<a href="{{{{ unsubscribe_url }}}}">Unsubscribe</a></body></html>'
)


def mail_of(octets: int) -> dict[str, str]:
    """A mail whose HTML, as it is sent, has about so many octets; ü has two."""
    overhead = 400
    return {"templates/hello/body.html.j2": BODY.format(words="ü " * ((octets - overhead) // 3))}


def test_small_mails_are_one_line_that_names_the_largest(check: Check) -> None:
    assert told(check("size"), Level.OK) == "1 mail: the largest, hello, has 0 of Gmail's 102 KB -> "


@pytest.mark.parametrize(
    ("octets", "level", "words"),
    [
        (int(LIMIT * 0.88), Level.OK, "the largest, hello, has 90 of Gmail's 102 KB"),
        (int(LIMIT * 0.95), Level.WARN, "hello: 97 of Gmail's 102 KB: longer data will be cut off"),
        (int(LIMIT * 1.05), Level.FAIL, "hello: 107 of Gmail's 102 KB: Gmail cuts it off"),
    ],
)
def test_octets_are_counted_as_they_are_sent(check: Check, octets: int, level: Level, words: str) -> None:
    assert words in told(check("size", files=mail_of(octets)), level)


def test_each_language_is_measured(check: Check) -> None:
    german = {
        "templates/hello/subject.de.txt.j2": "Hallo",
        "templates/hello/body.de.html.j2": BODY.format(words="ü " * 40_000),
        "templates/hello/body.de.txt.j2": "Hallo {{ unsubscribe_url }}",
    }
    found = check("size", files=german)
    assert "hello (de): 118 of Gmail's 102 KB" in told(found, Level.FAIL)
    assert "1 mail: the largest, hello, has" in told(found, Level.OK)


def test_a_mail_that_does_not_render_is_told(check: Check) -> None:
    found = check("size", files={"templates/hello/body.txt.j2": "{{ nothing.there }}"})
    assert "hello: cannot be rendered: templates/hello/body.txt.j2:1:1" in told(found, Level.WARN)


def test_a_marketing_mail_with_everything_is_ok_and_its_headers_are_signed(check: Check) -> None:
    found = check("unsubscribe")
    assert (
        told(found, Level.OK)
        == "hello: one click in the headers, covered by DKIM; a link in HTML and text -> "
    )


def test_whoever_else_signs_is_told_what_to_cover(check: Check) -> None:
    found = check("unsubscribe", sender={"dkim": None})
    assert "Whoever signs must cover both List-Unsubscribe headers" in told(found, Level.OK)


@pytest.mark.parametrize("base_url", ["http://click.example.com", "http://127.0.0.1:8025"])
def test_without_https_there_is_no_one_click(check: Check, base_url: str) -> None:
    found = check("unsubscribe", base_url=base_url)
    assert "no one-click unsubscribe -> Set tracking.base_url to https." in told(found, Level.FAIL)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("HTML", {"templates/hello/body.html.j2": "<p>Hi</p>"}),
        ("text", {"templates/hello/body.txt.j2": "Hi"}),
    ],
)
def test_a_mail_without_a_way_out_is_told(check: Check, part: str, text: dict[str, str]) -> None:
    assert f"no unsubscribe link in the {part}" in told(check("unsubscribe", files=text), Level.FAIL)


def test_service_mails_need_no_way_out(check: Check) -> None:
    service = {"hello": {"kind": "service"}}
    assert check("unsubscribe", campaigns=service, base_url="http://click.example.com") == []
