"""A message's mail: its names on the way, its headers and parts, its signature."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from drumbeat.delivery import Mail
from drumbeat.errors import RenderError, UsageError
from drumbeat.outbox.batch import Item
from drumbeat.outbox.letters import CUSTOMER, Letters, feedback_sender
from drumbeat.project.load import Project
from drumbeat.rendering.dkim import public_half
from drumbeat.rendering.identity import find_token
from drumbeat.rendering.links import Links
from drumbeat.rendering.secret import load_secrets
from drumbeat.triggers import Subject

AT = datetime(2026, 11, 5, 9, 0, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

PROJECT = """
project: minimal
senders:
  shop:
    name: The Shop
    address: shop@bücher.example
    reply_to: care@shop.example
    postal_address: 1 High Street
{more}
topics: {{offers: Offers, news: News}}
tracking: {{base_url: "https://click.shop.example"}}
"""

MakeProject = Callable[..., Project]


def project_with(make_project: MakeProject, *lines: str) -> Project:
    more = "\n".join(f"    {line}" for line in lines)
    return make_project({"project.yaml": PROJECT.format(more=more)})


def item(number: int = 4711, **changes: Any) -> Item:
    customer = dict.fromkeys(CUSTOMER) | {
        "external_id": f"c{number}",
        "email": "ada@example.com",
        "email_key": "ada@example.com",
        "first_name": "Ada",
        "last_name": "Löwe",
        "attributes": {},
    }
    values = {
        "message_id": number,
        "attempts": 0,
        "priority": 50,
        "campaign": "hello",
        "step": "mail",
        "channel": "mail",
        "sender": "shop",
        "kind": "marketing",
        "topic": "offers",
        "template": "hello",
        "expires_at": None,
        "subject": Subject(number, "event:1", 1),
        "customer": customer,
        **changes,
    }
    return Item(**{name: values[name] for name in Item.__dataclass_fields__})


def read(mail: Mail) -> EmailMessage:
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def links(project: Project) -> Links:
    keys = load_secrets(project.root, project.config.tracking.secret_env)
    return Links("https://click.shop.example", keys)


def test_a_mail_bears_its_messages_token_wherever_it_may_come_back(make_project: MakeProject) -> None:
    project = project_with(
        make_project, "bounces: bounces@mail.shop.example", "unsubscribe_mailto: leave@shop.example"
    )
    mail = Letters(project).write(item(), {}, AT)
    assert mail.token == links(project).mail_token(4711)
    assert mail.envelope_from == f"bounces+{mail.token}@mail.shop.example"
    assert read(mail)["Message-ID"] == f"<{mail.key}@xn--bcher-kva.example>"
    assert mail.key.partition(".")[2] == mail.token
    assert f"<mailto:leave@shop.example?subject=unsubscribe%20{mail.token}>" in read(mail)["List-Unsubscribe"]
    for text in (mail.envelope_from, read(mail)["Message-ID"], read(mail)["List-Unsubscribe"]):
        assert find_token(text, links(project)) == 4711


def test_without_a_bounce_address_the_envelope_has_the_senders_own(make_project: MakeProject) -> None:
    mail = Letters(project_with(make_project)).write(item(), {}, AT)
    assert mail.envelope_from == "shop@xn--bcher-kva.example"
    assert "mailto" not in read(mail)["List-Unsubscribe"]


def test_two_hand_overs_of_a_message_are_the_same_mail_and_two_messages_are_not(
    make_project: MakeProject,
) -> None:
    project = project_with(make_project, "bounces: bounces@mail.shop.example")
    first, again = Letters(project).write(item(), {}, AT), Letters(project).write(item(), {}, AT)
    assert first == again
    assert Letters(project).write(item(4712), {}, AT).key != first.key


def test_headers_of_marketing_and_of_service_mail(make_project: MakeProject) -> None:
    letters = Letters(project_with(make_project, "feedback_id: shop-1"))
    marketing, service = (read(letters.write(item(kind=kind), {}, AT)) for kind in ("marketing", "service"))
    assert marketing["List-Id"] == "<offers.xn--bcher-kva.example>"
    assert marketing["List-Unsubscribe"].startswith("<https://click.shop.example/u/")
    assert marketing["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert marketing["Feedback-ID"] == "hello:offers:marketing:shop-1"
    assert marketing["Auto-Submitted"] is None
    assert service["Auto-Submitted"] == "auto-generated"
    assert service["Feedback-ID"] == "hello:offers:service:shop-1"
    for name in ("List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "Precedence"):
        assert service[name] is None


def test_marketing_mail_can_lead_to_the_readers_preferences_and_service_mail_has_none(
    make_project: MakeProject,
) -> None:
    text = (
        "{% if preferences_url is defined %}Choose: {{ preferences_url }}\n{% endif %}{{ unsubscribe_url }}\n"
    )
    letters = Letters(make_project({"templates/hello/body.txt.j2": text}))
    marketing, service = (letters.write(item(kind=kind), {}, AT) for kind in ("marketing", "service"))
    assert marketing.parts is not None
    assert service.parts is not None
    assert "Choose: http://127.0.0.1:8025/p/" in marketing.parts.text
    assert "Choose" not in service.parts.text


def test_a_feedback_id_says_nothing_of_the_reader_and_stays_the_same(make_project: MakeProject) -> None:
    letters = Letters(project_with(make_project))
    ids = {read(letters.write(item(number), {}, AT))["Feedback-ID"] for number in range(1, 20)}
    assert len(ids) == 1
    assert feedback_sender("hearthside", "hearthside") == "hearthside"
    for name in ("a", "shop", "a_very_long_name_of_a_sender", "exactly_sixteen_"):
        made = feedback_sender("minimal", name)
        assert 5 <= len(made) <= 15
        assert made == feedback_sender("minimal", name) != feedback_sender("other", name)


def test_providers_get_the_parts_that_the_mime_was_made_of(make_project: MakeProject) -> None:
    mail = Letters(project_with(make_project)).write(item(), {}, AT)
    parts, message = mail.parts, read(mail)
    assert parts is not None
    assert (parts.from_name, parts.from_address) == ("The Shop", "shop@xn--bcher-kva.example")
    assert (parts.to_name, parts.to_address, parts.reply_to) == (
        "Ada Löwe",
        "ada@example.com",
        "care@shop.example",
    )
    assert parts.subject == message["Subject"]
    plain, page = message.iter_parts()
    assert parts.text.split() == plain.get_content().split()
    assert parts.html.split() == page.get_content().split()
    assert "/o/" in parts.html, "opens and clicks are tracked by whatever way it goes"
    assert all(message[name] == value for name, value in parts.headers)
    assert dict(parts.headers)["Message-ID"].startswith(f"<{mail.key}@")
    assert mail.campaign == "hello"


def test_letters_beyond_ascii_go_as_they_are_only_where_that_was_asked_for(
    make_project: MakeProject,
) -> None:
    project = make_project({"templates/hello/body.txt.j2": "Grüße\n{{ unsubscribe_url }}\n"})
    letters = Letters(project)
    quoted, plain = (letters.write(item(), {}, AT, eight_bit=wide) for wide in (False, True))
    assert quoted.content.isascii()
    assert quoted.seven_bit is None
    assert "Grüße".encode() in plain.content
    assert plain.seven_bit is not None
    assert plain.seven_bit() == quoted.content


def record(name: bytes, timeout: int = 5) -> bytes:
    del timeout
    return {b"s1._domainkey.shop.example.": f"v=DKIM1; p={public_half(KEY)}".encode()}.get(name, b"")


def test_a_senders_mails_are_signed_with_its_key(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DKIM", PEM)
    project = project_with(make_project, "dkim: {selector: s1, domain: shop.example, key_env: SHOP_DKIM}")
    letters = Letters(project)
    for kind in ("marketing", "service"):
        for wide in (False, True):
            mail = letters.write(item(kind=kind), {}, AT, eight_bit=wide)
            assert dkim.verify(mail.content, dnsfunc=record)
            assert mail.seven_bit is None or dkim.verify(mail.seven_bit(), dnsfunc=record)
    unsigned = Letters(project, sign=False).write(item(), {}, AT)
    assert read(unsigned)["DKIM-Signature"] is None


def test_the_signing_domain_is_the_senders_own_where_none_is_given(
    make_project: MakeProject, tmp_path: Path
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dkim.pem").write_text(PEM)
    project = project_with(make_project, "dkim: {selector: s1, key_file: dkim.pem}")
    signature = read(Letters(project).write(item(), {}, AT))["DKIM-Signature"]
    assert " d=xn--bcher-kva.example; s=s1; t=1793869200;" in signature


def test_a_key_that_cannot_sign_stops_the_run_before_its_first_mail(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_with(make_project, "dkim: {selector: s1, key_env: SHOP_DKIM}")
    monkeypatch.setenv("SHOP_DKIM", "nonsense")
    with pytest.raises(UsageError, match="SHOP_DKIM holds no private key"):
        Letters(project)
    assert Letters(project, sign=False).write(item(), {}, AT)


def test_what_cannot_be_written_is_an_error_of_that_mail_alone(make_project: MakeProject) -> None:
    letters = Letters(project_with(make_project))
    wrong = item()
    for changed in (
        replace(wrong, customer={**wrong.customer, "email": "no address"}),
        replace(wrong, customer={**wrong.customer, "email": "ü@example.com"}),
        replace(wrong, sender="gone"),
        replace(wrong, template="gone"),
    ):
        with pytest.raises(RenderError) as caught:
            letters.write(changed, {}, AT)
        assert len(str(caught.value).splitlines()) == 1
    assert letters.write(wrong, {}, AT)
