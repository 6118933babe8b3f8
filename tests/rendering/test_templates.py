"""Templates render what they are given, in the right language, and name file and line when they cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from drumbeat.errors import RenderError
from drumbeat.rendering.sample import read_sample
from drumbeat.rendering.templates import Templates

Write = Callable[..., Templates]


def html_of(templates: Templates, context: dict[str, Any] | None = None, language: str | None = None) -> str:
    template = templates.load("mail", language)
    sample = read_sample(templates.folder, "mail", template.variant)
    return template.render({**sample, **(context or {})}).html


def test_a_missing_name_is_an_error_with_file_and_line(write: Write) -> None:
    templates = write("<p>\n\n{{ cutomer.first_name }}</p>")
    with pytest.raises(RenderError) as caught:
        html_of(templates)
    # The page's frame puts the paragraph on line 4, the name two lines below.
    assert str(caught.value) == "templates/mail/body.html.j2:6:1 'cutomer' is undefined"


def test_a_missing_entry_is_an_error_that_names_it(write: Write) -> None:
    with pytest.raises(RenderError, match="has no attribute 'frist_name'"):
        html_of(write("<p>{{ customer.frist_name }}</p>"))


def test_a_fault_in_the_layout_is_placed_in_the_layout(write: Write) -> None:
    templates = write(
        page='{% extends "_layout/l.html.j2" %}{% block b %}x{% endblock %}',
        files={
            "_layout/l.html.j2": "<html><head></head><body>\n{{ nothing_here }}{% block b %}{% endblock %}</body></html>"
        },
    )
    with pytest.raises(RenderError, match=r"^templates/_layout/l\.html\.j2:2:1 'nothing_here' is undefined$"):
        html_of(templates)


def test_a_fault_in_the_text_part_is_placed_there(write: Write) -> None:
    templates = write(files={"mail/body.txt.j2": "a\nb\n{{ 1 / 0 }}"})
    with pytest.raises(
        RenderError, match=r"^templates/mail/body\.txt\.j2:3:1 ZeroDivisionError: division by zero$"
    ):
        html_of(templates)


def test_a_template_that_does_not_compile_says_where(write: Write) -> None:
    with pytest.raises(RenderError, match=r"^templates/mail/body\.html\.j2:\d+:1 "):
        write("<p>{% if %}</p>").load("mail")


def test_an_unknown_mail_names_the_nearest(reference: Templates) -> None:
    with pytest.raises(
        RenderError, match=r"unknown template 'abandond_cart'\. Did you mean 'abandoned_cart'\?"
    ):
        reference.load("abandond_cart")


@pytest.mark.parametrize("name", ["../etc", "_layout", "", ".", "abandoned_cart/../newsletter"])
def test_a_name_cannot_lead_out_of_the_folder(reference: Templates, name: str) -> None:
    with pytest.raises(RenderError, match="unknown template"):
        reference.load(name)


def test_values_are_escaped_in_html_and_not_in_text(write: Write) -> None:
    templates = write("<p>{{ name }}</p>", files={"mail/body.txt.j2": "{{ name }}"}, sample="name: x")
    rendered = templates.load("mail").render(
        {**read_sample(templates.folder, "mail"), "name": "<script>&'\""}
    )
    assert "<p>&lt;script&gt;&amp;&#39;&#34;</p>" in rendered.html
    assert rendered.text == "<script>&'\"\n"


def test_an_entry_wins_over_a_method_of_the_same_name(write: Write) -> None:
    """`cart.items` is the entry, not the dict's method, in templates and in loops over them."""
    templates = write("<p>{% for i in cart.items %}[{{ i }}]{% endfor %}</p>", sample="cart: {items: [1, 2]}")
    assert "<p>[1][2]</p>" in html_of(templates)


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__[1].__subclasses__()",
        "customer.__init__.__globals__",
        "customer.update({'a': 1})",
        "cycler.__init__.__globals__.os",
        "range(1000000) | list | length",
    ],
)
def test_a_template_cannot_leave_its_sandbox(write: Write, expression: str) -> None:
    with pytest.raises(RenderError):
        html_of(write("<p>{{ " + expression + " }}</p>"))


def test_a_subject_is_one_line(write: Write) -> None:
    templates = write(files={"mail/subject.txt.j2": "{{ name }}"}, sample="name: x")
    sample = read_sample(templates.folder, "mail")
    template = templates.load("mail")
    assert template.render({**sample, "name": "  Zwölf 🧺 "}).subject == "Zwölf 🧺"
    for name, found in (
        ("a\nBcc: x", "has 2 lines"),
        ("a\r\nb", "has 2 lines"),
        ("a\u2028b", "has 2 lines"),
        (" ", "is empty"),
    ):
        with pytest.raises(RenderError, match=rf"^templates/mail/subject\.txt\.j2:1:1 the subject {found}"):
            template.render({**sample, "name": name})


def test_a_text_part_is_required(write: Write) -> None:
    with pytest.raises(RenderError, match="the text part is empty"):
        html_of(write(files={"mail/body.txt.j2": "\n {# nothing #}\n"}))


def test_a_language_falls_back_from_region_to_language_to_default(reference: Templates) -> None:
    assert reference.load("abandoned_cart", "de").language == "de"
    assert reference.load("abandoned_cart", "de-AT").language == "de"
    assert reference.load("abandoned_cart", "de_CH").language == "de"
    assert reference.load("abandoned_cart", "ru").language == "en"
    assert reference.load("abandoned_cart", None).language == "en"
    assert reference.load("abandoned_cart", "de") is reference.load("abandoned_cart", "de-AT")


def test_a_variant_with_a_part_missing_is_not_used(write: Write) -> None:
    """A mail with a German subject over an English text would be worse than an English one."""
    templates = write(files={"mail/subject.de.txt.j2": "Betreff"})
    assert templates.languages("mail") == ["de"]
    assert templates.load("mail", "de").language == "en"


def test_a_language_cannot_lead_out_of_the_folder(reference: Templates) -> None:
    assert reference.load("abandoned_cart", "../../x").variant is None


def test_a_language_too_long_for_a_file_name_is_the_default_one(reference: Templates) -> None:
    """It comes with a customer's data: an OSError here stopped every worker at that customer's mail."""
    assert reference.load("abandoned_cart", "a" * 300).variant is None


FORMATS = [
    ("en", "GB", '{{ "1234.5" | money }}', "£1,234.50"),
    ("en", "GB", '{{ amount | money("EUR") }}', "€12.00"),
    ("de", "DE", '{{ amount | money("EUR") }}', "12,00\xa0€"),
    ("ru", "RU", '{{ amount | money("RUB") }}', "12,00\xa0₽"),
    ("en", "GB", "{{ day | date }}", "29 February 2012"),
    ("en", "US", "{{ day | date }}", "February 29, 2012"),
    ("de", "DE", '{{ day | date("full") }}', "Mittwoch, 29. Februar 2012"),
    ("en", None, '{{ "2012-02-29" | date("d MMM") }}', "29 Feb"),
    ("en", "GB", '{{ at | datetime("d MMM HH:mm") }}', "1 Mar 00:30"),
    ("en", "GB", '{{ at | date("d MMM") }}', "1 Mar"),
    ("en", "GB", '{{ 1 | plural("item", "items") }} {{ 2 | plural("item", "items") }}', "item items"),
    (
        "ru",
        "RU",
        '{% for n in (1, 2, 5, 21) %}{{ n | plural("товар", "товара", "товаров") }} {% endfor %}',
        "товар товара товаров товар ",
    ),
    ("en", "GB", '{{ 2 | plural(one="day", other="days") }}', "days"),
]


@pytest.mark.parametrize(("language", "country", "source", "expected"), FORMATS)
def test_amounts_dates_and_counts_are_written_as_in_the_readers_country(
    write: Write, language: str, country: str | None, source: str, expected: str
) -> None:
    templates = write(f"<p>{source}</p>", sample="{amount: 1, day: 1, at: 1}")
    template = templates.load("mail")
    template.language = language
    context = read_sample(templates.folder, "mail") | {
        "amount": Decimal(12),
        "day": date(2012, 2, 29),
        # Half past midnight on 1 March in Berlin, still 29 February in UTC.
        "at": datetime(2012, 2, 29, 23, 30, tzinfo=UTC),
        "time_zone": "Europe/Berlin",
        "customer": {"country": country},
    }
    assert f"<p>{expected}</p>" in template.render(context).html


@pytest.mark.parametrize(
    "source",
    ['{{ "x" | money }}', '{{ "soon" | date }}', '{{ "2011-12-05" | datetime }}', "{{ 1 | plural }}"],
)
def test_a_value_that_cannot_be_written_is_an_error(write: Write, source: str) -> None:
    with pytest.raises(RenderError, match="ValueError: "):
        html_of(write(f"<p>{source}</p>"))


@pytest.mark.parametrize(
    "source",
    [
        "{{ nothing | money }}",
        "{{ nothing | date }}",
        "{{ nothing | datetime }}",
        '{{ nothing | plural("a") }}',
    ],
)
def test_a_missing_name_stays_an_error_inside_a_filter(write: Write, source: str) -> None:
    with pytest.raises(RenderError, match="'nothing' is undefined"):
        html_of(write(f"<p>{source}</p>"))


def test_the_same_context_gives_the_same_mail(reference: Templates) -> None:
    again = Templates(reference.folder, "en")
    for name in reference.names():
        sample = read_sample(reference.folder, name)
        assert reference.load(name).render(sample) == again.load(name).render(sample)
