"""Links lead only where they were signed to lead."""

from __future__ import annotations

import base64
import random
import string

import pytest

from drumbeat.errors import InputError, UsageError
from drumbeat.rendering.links import Links, is_web_address, tracked

KEY = b"k" * 32
BASE = "https://click.example.com"


@pytest.fixture
def links() -> Links:
    return Links(f"{BASE}/", KEY)


def token_of(link: str) -> str:
    return link.rpartition("/")[2]


def test_what_is_signed_is_read_back(links: Links) -> None:
    for url in (
        "https://shop.example.com/",
        "http://shop.example.com/ä?q=%20&x=1#y",
        "https://пример.example/🧺",
    ):
        token = links.read(token_of(links.click(2**63 - 1, url)))
        assert (token.kind, token.message_id, token.url) == ("c", 2**63 - 1, url)
    opened, left = links.read(token_of(links.open(7))), links.read(token_of(links.unsubscribe(0)))
    assert (opened.kind, opened.message_id, opened.url) == ("o", 7, None)
    assert (left.kind, left.message_id, left.url) == ("u", 0, None)


def test_each_kind_has_an_address_of_its_own(links: Links) -> None:
    assert links.click(1, "https://a.example").startswith(f"{BASE}/c/")
    assert links.open(1).startswith(f"{BASE}/o/")
    assert links.unsubscribe(1).startswith(f"{BASE}/u/")


def test_no_change_of_a_single_character_is_accepted(links: Links) -> None:
    alphabet = string.ascii_letters + string.digits + "-_="
    for link in (links.click(5, "https://shop.example.com/a"), links.open(5), links.unsubscribe(5)):
        token = token_of(link)
        for position in range(len(token)):
            for other in alphabet:
                if other != token[position]:
                    with pytest.raises(InputError):
                        links.read(token[:position] + other + token[position + 1 :])


def test_an_open_cannot_be_turned_into_an_unsubscribe(links: Links) -> None:
    """Kinds are separate domains of the MAC: an open's MAC under another kind's byte is forged."""
    raw = bytearray(base64.urlsafe_b64decode(token_of(links.open(5)) + "=="))
    raw[0] = ord("u")
    with pytest.raises(InputError, match="not made here"):
        links.read(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode())


@pytest.mark.parametrize("token", ["", "x", "=", "ä", "a" * 10_000, "\x00", "../..", " ", "%2e", "\ud800"])
def test_garbage_is_refused_in_one_line(links: Links, token: str) -> None:
    with pytest.raises(InputError) as caught:
        links.read(token)
    assert "\n" not in str(caught.value)


def test_random_bytes_are_refused(links: Links) -> None:
    dice = random.Random(7)
    for _ in range(2000):
        raw = b"cou"[dice.randrange(3) :][:1] + dice.randbytes(dice.randrange(60))
        with pytest.raises(InputError):
            links.read(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())


def test_a_key_can_be_replaced_while_old_mails_are_still_read() -> None:
    old, new = Links(BASE, KEY), Links(BASE, [b"n" * 16, KEY])
    assert new.read(token_of(old.open(3))).message_id == 3
    assert Links(BASE, b"n" * 16).read(token_of(new.open(3))).message_id == 3
    with pytest.raises(InputError, match="no longer used"):
        old.read(token_of(new.open(3)))


@pytest.mark.parametrize("key", [b"", b"short", [], [KEY, b"x"]])
def test_a_key_that_can_be_guessed_is_refused(key: bytes | list[bytes]) -> None:
    with pytest.raises(UsageError, match="too short"):
        Links(BASE, key)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "//evil.example",
        "javascript:alert(1)",
        "mailto:a@b.example",
        "https://",
        "https:///x",
        "https://a.example/\r\nSet-Cookie: x",
        "https://user@evil.example",
        "https://good.example\\@evil.example",
        "https://a.example/ b",
        "https://a.example/\u2028",
        "data:text/html,x",
        "ftp://a.example",
    ],
)
def test_only_whole_web_addresses_can_be_signed(links: Links, url: str) -> None:
    assert not is_web_address(url)
    with pytest.raises(InputError, match="cannot track"):
        links.click(1, url)


def test_web_links_are_tracked_and_all_others_left_alone(links: Links) -> None:
    own = links.unsubscribe(9)
    html = (
        f'<body><a class="x" href="https://shop.example.com/?a=1&amp;b=2">1</a><A HREF=\'http://b.example/\'>2</A>'
        f'<a href="{own}">3</a><a href="mailto:a@b.example">4</a><a href="tel:+44">5</a><a href="#top">6</a>'
        f'<a href="https://quiet.example/" data-track="off">7</a><link href="https://no.example/">'
        f'<a data-href="https://no.example/" title="x">8</a></body>'
    )
    result = tracked(html, links, 9)
    # What the reader's client sees as the target, read back.
    assert (
        links.read(token_of(result.split('class="x" href="')[1].partition('"')[0])).url
        == "https://shop.example.com/?a=1&b=2"
    )
    assert result.count(f"{BASE}/c/") == 2
    for kept in (
        own,
        "mailto:a@b.example",
        "tel:+44",
        "#top",
        'href="https://quiet.example/" data-track="off"',
        '<link href="https://no.example/">',
        'data-href="https://no.example/"',
    ):
        assert kept in result
    assert result.endswith("</body>")
    assert result.count(links.open(9)) == 1


def test_tracking_twice_would_be_noticed_since_own_links_are_left_alone(links: Links) -> None:
    once = tracked('<body><a href="https://a.example/">x</a></body>', links, 1)
    assert tracked(once, links, 1).count("/c/") == 1


def test_the_words_of_a_mail_are_never_rewritten(links: Links) -> None:
    html = '<body><p>See https://a.example/ and &lt;a href="https://b.example/"&gt;</p></body>'
    assert tracked(html, links, 1).startswith(html.removesuffix("</body>"))
