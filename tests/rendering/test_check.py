"""`check_template` finds what would go wrong in a reader's inbox, and says where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drumbeat.rendering.check import cautions, check_template
from drumbeat.rendering.templates import Templates

Write = Callable[..., Templates]


def said(templates: Templates, *, marketing: bool = True) -> list[str]:
    return [str(issue) for issue in check_template(templates, "mail", marketing=marketing)]


def test_the_reference_mails_are_sound(reference: Templates) -> None:
    service = {"confirm_subscription"}
    marketing = {"abandoned_cart", "anniversary", "expiring_promo", "newsletter"}
    assert set(reference.names()) == marketing | service
    for name in reference.names():
        assert check_template(reference, name, marketing=name in marketing) == []
        assert cautions(reference, name) == []


def test_a_sound_mail_has_no_issue(write: Write) -> None:
    assert said(write()) == []


def test_missing_parts_are_named(write: Write) -> None:
    templates = write()
    (templates.folder / "mail" / "body.txt.j2").unlink()
    (templates.folder / "mail" / "sample.yaml").unlink()
    assert said(templates) == [
        f"templates/mail/{file}:1:1 DB050 is missing. A mail needs subject, HTML, text and a sample."
        for file in ("body.txt.j2", "sample.yaml")
    ]


def test_an_unknown_mail_is_said(reference: Templates) -> None:
    (issue,) = check_template(reference, "newsleter", marketing=True)
    assert (
        str(issue)
        == "templates/newsleter:1:1 DB050 there is no template 'newsleter'. Did you mean 'newsletter'?"
    )


FAULTS = [
    ("<p>{% if %}</p>", "templates/mail/body.html.j2:4:1 DB051 does not compile"),
    (
        "<p>{{ customr.email }}</p>",
        "templates/mail/body.html.j2:4:1 DB052 unknown name 'customr'. Did you mean 'customer'?",
    ),
    # In a branch that the sample does not take:
    (
        "<p>{% if false %}\n{{ custmer.x }}{% endif %}</p>",
        "templates/mail/body.html.j2:5:1 DB052 unknown name 'custmer'.",
    ),
    (
        "<p>{% if false %}{{ customer.mail }}{% endif %}</p>",
        "DB052 'customer' has no 'mail'. Did you mean 'email'?",
    ),
    (
        "<p>{{ 1 / 0 }}</p>",
        "templates/mail/body.html.j2:4:1 DB052 the sample does not render: ZeroDivisionError",
    ),
    (
        "<p>\n<img src='https://x.example/a.png'></p>",
        "templates/mail/body.html.j2:5:1 DB056 the picture 'https://x.example/a.png'",
    ),
    (
        '<p>\n\n<a href="/basket">x</a></p>',
        "templates/mail/body.html.j2:6:1 DB057 the link '/basket' leads nowhere",
    ),
    ('<p><a href="javascript:x()">x</a></p>', "DB057 the link 'javascript:x()'"),
    ('<p><a href="#">x</a></p>', "DB057 the link '#'"),
    (
        "<p>{% for n in range(4000) %}{{ n }} hello to all our friends {% endfor %}</p>",
        "DB055 the sample's HTML has",
    ),
]


@pytest.mark.parametrize(("body", "expected"), FAULTS)
def test_a_fault_is_said_with_its_place(write: Write, body: str, expected: str) -> None:
    issues = said(write(body))
    assert len(issues) == 1
    assert expected in issues[0]


@pytest.mark.parametrize(
    "body",
    [
        "{% if gift is defined %}{{ gift }}{% endif %}{{ gift | default('') }}",
        "{% if customer.nickname is defined %}x{% endif %}",
        "{% macro m(word) %}{{ word }}{% endmacro %}{{ m('x') }}{% set y = 1 %}{{ y }}",
        "{% for a, b in [(1, 2)] %}{{ a }}{{ loop.index }}{% endfor %}{{ customer.attributes.get('x') }}",
        '<a href="mailto:a@x.example">x</a><a href="tel:+44">x</a><a href="#top">x</a><img alt="" src="https://x.example/i.png">',
    ],
)
def test_what_is_right_is_not_complained_about(write: Write, body: str) -> None:
    assert said(write(f"<div>{body}</div>")) == []


def test_marketing_mail_needs_the_unsubscribe_link_and_the_postal_address_in_both_parts(write: Write) -> None:
    page = "<html><head><title>t</title></head><body><p>{{ unsubscribe_url }}</p></body></html>"
    templates = write(page=page, files={"mail/body.txt.j2": "Hello"})
    issues = said(templates)
    assert [issue.partition(" DB")[0] for issue in issues] == ["templates/mail/body.html.j2:1:1"] * 2 + [
        "templates/mail/body.txt.j2:1:1"
    ] * 2
    assert all(" DB054 marketing mail without " in issue for issue in issues)
    assert said(templates, marketing=False) == []


@pytest.mark.parametrize(
    ("subject", "found"), [("", "is empty"), ("a\nb", "has 2 lines"), ("{# x #}", "is empty")]
)
def test_a_subject_is_one_line_of_text(write: Write, subject: str, found: str) -> None:
    (issue,) = said(write(files={"mail/subject.txt.j2": subject}))
    assert issue.startswith("templates/mail/subject.txt.j2:1:1 DB053")
    assert found in issue


def test_a_language_is_whole_or_absent(write: Write) -> None:
    issues = said(write(files={"mail/subject.de.txt.j2": "Betreff"}))
    assert [issue.partition(".")[0] for issue in issues] == ["templates/mail/body"] * 2
    assert all("DB058 is missing, so the mail is never sent in 'de'." in issue for issue in issues)


def test_every_language_is_checked(write: Write) -> None:
    files = {
        "mail/subject.de.txt.j2": "B",
        "mail/body.de.txt.j2": "ohne",
        "mail/body.de.html.j2": "<p>{{ fehlt }}</p>",
    }
    issues = said(write(files=files))
    assert len(issues) == 1
    assert issues[0].startswith("templates/mail/body.de.html.j2:1:1 DB052 unknown name 'fehlt'.")


def test_a_wrong_sample_is_said_where_it_is_wrong(write: Write) -> None:
    assert said(write(sample="a: 1\na: 2"))[0].startswith("templates/mail/sample.yaml:2:1 DB006 ")
    assert said(write(sample="[1]"))[0].startswith("templates/mail/sample.yaml:1:1 DB052 is not a mapping.")


def test_css_inlined_per_mail_is_a_caution_and_no_fault(write: Write) -> None:
    templates = write("<p class=\"{{ 'a' }}\">x</p>")
    assert said(templates) == []
    (caution,) = cautions(templates, "mail")
    assert caution.code == "DB059"
    assert "stands in a class attribute" in caution.message


def test_checking_does_not_pay_for_the_database() -> None:
    """`drumbeat validate` must answer at once: SQLAlchemy alone costs 0.3 s."""
    import subprocess
    import sys

    program = "import sys, drumbeat.rendering.check as c; print('sqlalchemy' in sys.modules, 'babel' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
