"""CSS is inlined when a template is compiled; where that would change the mail, it is done per mail and said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drumbeat.rendering.inline import inline_html, same_page
from drumbeat.rendering.sample import read_sample
from drumbeat.rendering.templates import Templates

Write = Callable[..., Templates]


def test_the_reference_mails_are_all_inlined_ahead(reference: Templates) -> None:
    cautions = {
        (name, language): reference.load(name, language).caution
        for name in reference.names()
        for language in (None, *reference.languages(name))
    }
    assert set(cautions.values()) == {None}


def test_media_queries_stay_for_phones_and_dark_mode(reference: Templates) -> None:
    html = reference.load("newsletter").render(read_sample(reference.folder, "newsletter")).html
    assert "@media only screen and (max-width: 620px)" in html
    assert "prefers-color-scheme: dark" in html
    assert ".card {" not in html.partition("@media")[0]


def test_the_charset_stands_in_the_first_kilobyte(reference: Templates) -> None:
    """Browsers look no further (HTML standard, 4.2.5.4); css-inline alone puts the style sheet first."""
    html = reference.load("newsletter").render(read_sample(reference.folder, "newsletter")).html
    assert b'<meta charset="utf-8">' in html.encode()[:1024]


AHEAD = {
    "a comparison": "{% if n > 2 and n < 9 %}<p class='a'>yes</p>{% else %}<p>no</p>{% endif %}",
    "an address with &": '<p class="a"><a href="{{ url }}&amp;x=1" title=\'{{ n }} "q"\'>x</a></p>',
    "a string with tags": """<p class="a">{{ "%}" ~ "}}" ~ '{% raw %}' ~ "<b>" }}</p>""",
    "raw": "<p class='a'>{% raw %}{{ not jinja }}{% endraw %}</p>",
    "a loop of rows": "<table><tbody>{% for x in xs %}<tr><td class='a'>{{ x }}</td></tr>{% endfor %}</tbody></table>",
    "a macro that gives rows' contents": "{% macro m(x) %}<b class='a'>{{ x }}</b>{% endmacro %}"
    "<table><tbody>{% for x in xs %}<tr><td>{{ m(x) }}</td></tr>{% endfor %}</tbody></table>",
    "white space control": "<p class='a'>  {%- for x in xs -%}  {{ x }},  {%- endfor -%}  </p>",
    "a comment for Outlook": "<!--[if mso]><table width='{{ n }}'><tr><td><![endif]-->"
    "<p class='a'>x</p><!--[if mso]></td></tr></table><![endif]-->",
    "a dictionary": "<p class='a'>{{ {'k': {'l': n}}.k.l }}</p>",
}


@pytest.mark.parametrize("body", AHEAD.values(), ids=AHEAD.keys())
def test_inlining_ahead_gives_the_page_that_inlining_per_mail_gives(write: Write, body: str) -> None:
    templates = write(body, sample="{n: 3, url: 'https://example.com/?a=1&b=2', xs: [1, 2, 3]}")
    template = templates.load("mail")
    assert template.caution is None
    for xs in ([], [1], [1, 2, 3, 4]):
        context = read_sample(templates.folder, "mail") | {"xs": xs, "language": "en"}
        rendered = template.render(context).html
        assert same_page(rendered, inline_html(template.parts["html"].render(context)))
        assert 'style="color: red;"' in rendered or (not xs and "xs" in body)


PER_MAIL = {
    "a class that depends on data": (
        '<p class="{% if n %}a{% else %}b{% endif %}">x</p>',
        "stands in a class attribute",
    ),
    "a style that depends on data": (
        '<p class="a" style="width:{{ n }}px">x</p>',
        "stands in a style attribute",
    ),
    "an attribute that comes and goes": (
        '<p {% if n %}class="a"{% endif %}>x</p>',
        "in no attribute's value",
    ),
    "a table without tbody": (
        "<table>{% for x in xs %}<tr><td class='a'>x</td></tr>{% endfor %}</table>",
        "<tbody>",
    ),
    "a value straight in a table": (
        "<table><tbody><p>{{ n }}</p><tr><td></td></tr></tbody></table>",
        "not well-formed",
    ),
    "a row number in the style sheet": (
        (
            "<style>tr:nth-child(2) td{color:green}</style>"
            "<table><tbody>{% for x in xs %}<tr><td>x</td></tr>{% endfor %}</tbody></table>"
        ),
        "depends on what is rendered",
    ),
    "a file chosen by data": ('<p class="a">{% include file %}</p>', "does not name a file"),
    "Jinja in the style sheet": ("<style>.b{width:{{ n }}px}</style><p class='b'>x</p>", "inside <style>"),
}


@pytest.mark.parametrize(("body", "reason"), PER_MAIL.values(), ids=PER_MAIL.keys())
def test_what_cannot_be_inlined_ahead_is_inlined_per_mail_and_said(
    write: Write, body: str, reason: str
) -> None:
    templates = write(
        body, sample="{n: 3, xs: [1, 2, 3], file: _layout/x.html.j2}", files={"_layout/x.html.j2": "x"}
    )
    template = templates.load("mail")
    assert template.caution is not None
    assert reason in template.caution
    context = read_sample(templates.folder, "mail") | {"language": "en"}
    assert template.render(context).html == inline_html(template.parts["html"].render(context))


def test_super_sets_and_nested_blocks_survive_flattening(write: Write) -> None:
    templates = write(
        page='{% extends "_layout/mid.html.j2" %}{% set colour = "blue" %}'
        "{% block inner %}<i>{{ colour }}</i>{{ super() }}{% endblock %}",
        files={
            "_layout/mid.html.j2": '{% extends "_layout/base.html.j2" %}'
            "{% block b %}<b>{{ super() }}{% block inner %}mid{% endblock %}</b>{% endblock %}",
            "_layout/base.html.j2": "<!DOCTYPE html><html><head><title>t</title></head>"
            "<body>{% block b %}base{% endblock %}</body></html>",
        },
    )
    template = templates.load("mail")
    assert template.caution is None
    html = template.render(read_sample(templates.folder, "mail")).html
    assert "<body><b>base<i>blue</i>mid</b></body>" in html


def test_a_layout_that_includes_itself_is_said_and_not_followed_for_ever(write: Write) -> None:
    templates = write('{% if false %}{% include "mail/body.html.j2" %}{% endif %}')
    assert "extends or includes itself" in (templates.load("mail").caution or "")
