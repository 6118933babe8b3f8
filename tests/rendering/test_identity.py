"""Message-IDs and return paths carry a message's token, and it is found again however they were rewritten."""

from __future__ import annotations

import random
import re
import string

import pytest

from drumbeat.rendering.identity import find_token, message_id, return_path
from drumbeat.rendering.links import Links

LINKS = Links("https://click.example.com", b"k" * 32)
TOKEN = LINKS.mail_token(4711)
ADDRESS = return_path("bounces@mail.example.com", TOKEN)


def test_message_ids_are_stable_unlike_and_tell_nothing() -> None:
    first = message_id(b"k" * 16, "bücher.example", "cart", 1, "cart:123:v2")
    assert first == message_id(b"k" * 16, "bücher.example", "cart", 1, "cart:123:v2")
    assert re.fullmatch(r"<[0-9a-f]{32}@xn--bcher-kva\.example>", first)
    others = {
        message_id(b"k" * 16, "x.example", *parts)
        for parts in (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"), ("a\ud800",))
    } | {message_id(b"j" * 16, "x.example", "a", "b")}
    assert len(others) == 6


def test_a_message_id_ends_with_the_token_and_stays_the_same() -> None:
    first = message_id(b"k" * 16, "x.example", "cart", 1, token=TOKEN)
    plain = message_id(b"k" * 16, "x.example", "cart", 1)
    assert first == plain.replace("@", f".{TOKEN}@")
    assert first == message_id(b"k" * 16, "x.example", "cart", 1, token=TOKEN)
    assert find_token(first, LINKS) == 4711


def test_a_return_path_is_an_address_that_servers_take() -> None:
    """RFC 5321, 4.5.3.1.1: at most 64 characters before the @, also for the longest name a project may give."""
    assert f"bounces+{TOKEN}@mail.example.com" == ADDRESS
    longest = return_path(f"{'b' * 37}@bücher.example", TOKEN)
    local, _, domain = longest.partition("@")
    assert len(local) == 64
    assert domain == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    "text",
    [
        ADDRESS,
        f"<{ADDRESS}>",
        ADDRESS.upper(),
        ADDRESS.title(),
        f"rfc822; {ADDRESS}",
        f"SRS0=HhAA=TT=mail.example.com=bounces+{TOKEN}@forwarder.example",
        f"SRS1=Ab12=other.example==HhAA=TT=mail.example.com=bounces+{TOKEN}@forwarder.example",
        f"prvs=1234abcdef=bounces+{TOKEN}@mail.example.com",
        f"prvs=bounces+{TOKEN}/1234abcdef@mail.example.com",
        f"bounces+{TOKEN}%mail.example.com@relay.example",
        f"bounces+{TOKEN}=mail.example.com@relay.example",
        f"list-bounces+bounces+{TOKEN}=mail.example.com@lists.example",
        f"bounces%2B{TOKEN}@mail.example.com",
        f"bounces=2B{TOKEN.upper()}@mail.example.com",
        f"bounces-{TOKEN}@mail.example.com",
        f"<0123456789abcdef0123456789abcdef.{TOKEN}@example.com>",
        f"<abc@x.example> <0123456789abcdef0123456789abcdef.{TOKEN}@example.com> <def@y.example>",
        f"unsubscribe {TOKEN}",
        f"Re: unsubscribe {TOKEN.upper()}",
    ],
)
def test_the_token_is_found_however_the_address_was_rewritten(text: str) -> None:
    assert find_token(text, LINKS) == 4711


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bounces@mail.example.com",
        f"bounces+{TOKEN[:-1]}@mail.example.com",
        f"bounces+{TOKEN[:-4]}{TOKEN[-1]}{TOKEN[-3:-1]}{TOKEN[-4]}@mail.example.com",
        f"bounces+{Links('https://x.example', b'j' * 32).mail_token(4711)}@mail.example.com",
        "a" * 5_000,
        "ü" * 100 + TOKEN[:10] + "\u212a" + TOKEN[11:],
        "\ud800\x00" * 50,
    ],
)
def test_what_is_not_ours_names_no_message(text: str) -> None:
    assert find_token(text, LINKS) is None


def test_no_altered_token_names_a_message() -> None:
    """One letter changed, anywhere: base32 leaves two bits of the last letter open, and only they may differ."""
    for position in range(25):
        for letter in string.ascii_lowercase + "234567":
            changed = TOKEN[:position] + letter + TOKEN[position + 1 :]
            assert (find_token(f"b+{changed}@x.example", LINKS) == 4711) == (changed == TOKEN)


def test_any_text_is_read_without_an_error() -> None:
    dice = random.Random(5)
    for _ in range(2_000):
        text = "".join(dice.choices(string.printable + "äß漢\ud800\u2028", k=dice.randint(0, 200)))
        assert find_token(text, LINKS) is None
        assert find_token(f"{text}+{TOKEN}@{text}", LINKS) == 4711 or re.search("[A-Za-z2-7]{60}", text)


def test_a_text_of_letters_alone_costs_no_more_than_two_hundred_tries() -> None:
    class Counting(Links):
        asked = 0

        def read_mail_token(self, token: str) -> int | None:
            self.asked += 1
            return super().read_mail_token(token)

    counting = Counting("https://x.example", b"k" * 32)
    assert find_token("abcdefgh" * 10_000 + f" {TOKEN}", counting) is None
    assert counting.asked == 200


def test_tokens_of_an_older_key_are_still_read() -> None:
    assert find_token(ADDRESS, Links("https://x.example", [b"n" * 32, b"k" * 32])) == 4711
