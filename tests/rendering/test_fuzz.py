"""Ten thousand made-up mails: refused, or read back by the standard library as they were given."""

from __future__ import annotations

import email
import random
import re
from typing import Any

import pytest
from support.mails import (
    DATE,
    Case,
    as_read,
    bodies,
    check_form,
    exactly,
    parsed,
    random_case,
    same_words,
)

from drumbeat.errors import InputError
from drumbeat.rendering.compose import Composed, Skeleton
from drumbeat.rendering.headers import address

NAMES = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "MIME-Version",
    "Content-Type",
}


def read_back(raw: bytes, case: Case, *, eight_bit: bool, thorough: bool) -> None:
    """The mail has the form of one, each header once, and says what was given."""
    own, sender = case.own, case.shared["sender_name"]
    check_form(raw, eight_bit=eight_bit)
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert f"\r\nList-Unsubscribe: <{own['unsubscribe_url']}>".encode() in head
    message = email.message_from_bytes(raw)
    wide = {"Content-Transfer-Encoding"} if eight_bit else set()
    assert set(message.keys()) <= NAMES | wide
    assert len(message.keys()) == len(set(message.keys()))
    assert not message.defects
    assert exactly(raw, "Subject") == own["subject"]
    for header, name in (("To", own["to_name"]), ("From", sender)):
        assert not name.strip(" ") or exactly(raw, header) == re.sub(" +", " ", name).strip(" ")
    assert bodies(message) == [as_read(own["text"]), as_read(own["html"])]
    if thorough:
        again = parsed(raw)
        (to,), (by,) = again["To"].addresses, again["From"].addresses
        assert (to.addr_spec, by.addr_spec) == (address(own["to_address"]), case.shared["sender_address"])
        assert same_words(to.display_name, own["to_name"])
        assert same_words(by.display_name, sender)
        assert same_words(again["Subject"], own["subject"])
        assert again["Date"].datetime == DATE


def attempt(case: Case, **options: Any) -> Composed | None:
    """The mail; None where it was refused, in one line."""
    refusal = None
    try:
        return Skeleton(**case.shared).compose(**case.own, **options)
    except InputError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1
    return None


@pytest.mark.parametrize("seed", range(5))
def test_ten_thousand_seeded_mails_are_read_back_unchanged_in_both_encodings(seed: int) -> None:
    """2,000 a seed. What cannot be written is refused in both, and nothing else is."""
    dice = random.Random(20111205 + seed)
    refused = wide = 0
    for number in range(2_000):
        case = random_case(dice, number)
        quoted, as_it_is = attempt(case), attempt(case, eight_bit=True)
        assert (quoted is None) == (as_it_is is None) == case.bad
        if quoted is None or as_it_is is None:
            refused += 1
            continue
        thorough = number % 20 == 0  # the thorough parser takes 2 ms a mail
        read_back(quoted.content, case, eight_bit=False, thorough=thorough)
        assert quoted.headers == as_it_is.headers
        read_back(as_it_is.content, case, eight_bit=True, thorough=thorough)
        assert (as_it_is.seven_bit is None) == as_it_is.content.isascii()
        if as_it_is.seven_bit is not None:
            wide += 1
            assert as_it_is.seven_bit() == quoted.content
    assert 300 < refused < 1_000
    assert wide > 300
