"""What project.yaml says of a sender to mail servers is checked where it stands."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from drumbeat.errors import ProjectError
from drumbeat.project.models import Sender

PROJECT = """project: minimal
senders:
  shop:
    name: The Shop
    address: shop@shop.example
    postal_address: 1 High Street
    {line}
topics: {{offers: Offers, news: News}}
"""


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            "bounces: b+x@mail.example.com",
            (
                "project.yaml:7:14 DB020 senders.shop.bounces: found 'b+x@mail.example.com'; expected an address of"
                " letters, digits, dots and hyphens, at most 37 of them before the @, such as bounces@mail.example.com."
            ),
        ),
        (
            f"bounces: {'b' * 38}@mail.example.com",
            (
                f"project.yaml:7:14 DB020 senders.shop.bounces: found '{'b' * 38}@mail.example.com'; expected an address"
                " of letters, digits, dots and hyphens, at most 37 of them before the @, such as"
                " bounces@mail.example.com."
            ),
        ),
        (
            "feedback_id: shop",
            (
                "project.yaml:7:18 DB020 senders.shop.feedback_id: found 'shop'; expected 5 to 15 letters, digits, dots,"
                " hyphens or underscores, such as hearthside."
            ),
        ),
        (
            "dkim: {selector: s1}",
            (
                "project.yaml:7:11 DB020 senders.shop.dkim: needs key_env or key_file, and not both: where the private"
                " key is."
            ),
        ),
        (
            "dkim: {selector: s1, key_env: A, key_file: b}",
            (
                "project.yaml:7:11 DB020 senders.shop.dkim: needs key_env or key_file, and not both: where the private"
                " key is."
            ),
        ),
        (
            "dkim: {selector: s 1, key_env: A}",
            "project.yaml:7:22 DB020 senders.shop.dkim.selector: found 's 1'; expected a DKIM selector, such as s1.",
        ),
        (
            "dkim: {selector: s1, domain: localhost, key_env: A}",
            (
                "project.yaml:7:34 DB020 senders.shop.dkim.domain: found 'localhost'; expected a domain, such as"
                " example.com."
            ),
        ),
        ("dkim: {selektor: s1, key_env: A}", "unknown key 'selektor'. Did you mean 'selector'?"),
    ],
)
def test_a_fault_is_told_with_its_place(make_project: Callable[..., object], line: str, fault: str) -> None:
    with pytest.raises(ProjectError) as caught:
        make_project({"project.yaml": PROJECT.format(line=line)})
    assert any(fault in str(issue) for issue in caught.value.issues), str(caught.value)


def test_keys_themselves_may_not_stand_in_a_file() -> None:
    """`key_env` takes the name of a variable, so a key put there by mistake is refused."""
    with pytest.raises(ValidationError):
        Sender.model_validate(
            {
                "name": "a",
                "address": "a@b.example",
                "postal_address": "x",
                "dkim": {"selector": "s1", "key_env": "-----BEGIN PRIVATE KEY-----"},
            }
        )
