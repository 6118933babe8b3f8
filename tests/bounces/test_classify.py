"""Why a mail was refused, and whether the address is dead, is read from codes and words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from drumbeat.responses.bounces.classify import Step, classify
from drumbeat.responses.bounces.words import known_words
from drumbeat.responses.reasons import HARD, BounceReason

CASES = [
    (reason, *case)
    for reason, cases in yaml.safe_load(
        (Path(__file__).parent / "verdicts.yaml").read_text(encoding="utf-8")
    ).items()
    for case in cases
]


@pytest.mark.parametrize(("reason", "code", "status", "words", "lasting"), CASES)
def test_a_reply_means(reason: str, code: int | None, status: str | None, words: str, lasting: str) -> None:
    verdict = classify(code, status, words)
    assert (str(verdict.reason), verdict.hard) == (reason, lasting == "hard"), verdict.rule


def test_every_reason_is_given_by_some_reply() -> None:
    """`unsubscribed` is a provider's own list of refusals; no mail server says it."""
    assert {case[0] for case in CASES} == {str(reason) for reason in BounceReason} - {"unsubscribed"}


def test_every_rule_of_words_gives_a_verdict_of_some_case() -> None:
    """A rule that nothing calls up is dead, or stands behind one that takes its place."""
    said = {classify(code, status, words).rule for _, code, status, words, _ in CASES}
    words = known_words()
    names = [rule.name for rule in (*words.contradicting, *words.telling, *words.little)]
    assert len(names) == len(set(names))
    # RFC texts that say little yield to any code and step, and speak for themselves alone.
    said.add(classify(None, None, "please try later").rule)
    said.add(classify(550, "5.7.1", "suspicious message").rule)
    unheard = [name for name in names if not any(f"words: {name}" in rule for rule in said)]
    assert unheard == []


@pytest.mark.parametrize("step", [Step.CONNECT, Step.HELO, Step.MAIL])
def test_what_is_said_before_the_reader_is_named_is_not_about_the_reader(step: Step) -> None:
    assert not classify(550, None, "unknown user", step=step).hard
    assert not classify(550, None, "unknown host", step=step).hard
    assert classify(550, None, "unknown user", step=Step.RCPT).hard


def test_a_mailbox_or_a_help_page_called_after_a_reason_says_nothing() -> None:
    verdict = classify(550, "5.1.1", "<spam@virus.example> see https://example.com/quota/blacklist/spf")
    assert (verdict.reason, verdict.hard) == (BounceReason.USER_UNKNOWN, True)


def test_mobile_carriers_say_unknown_user_of_filtered_mail_too() -> None:
    """Where the step is not told; said of the recipient it means what it says."""
    assert not classify(550, None, "User unknown", domain="ezweb.ne.jp").hard
    assert not classify(550, None, "User unknown", domain="mail.docomo.ne.jp").hard
    assert classify(550, None, "User unknown", domain="notdocomo.ne.jp").hard
    assert classify(550, None, "User unknown", domain="ezweb.ne.jp", step=Step.RCPT).hard


@given(
    st.none() | st.integers(),
    st.none() | st.text(max_size=12),
    st.text(max_size=300),
    st.none() | st.sampled_from(Step),
)
@settings(max_examples=300, deadline=None)
def test_no_input_stops_it_and_only_the_reasons_of_a_dead_address_are_hard(
    code: int | None, status: str | None, text: str, step: Step | None
) -> None:
    verdict = classify(code, status, text, step=step)
    assert not verdict.hard or verdict.reason in HARD


@given(st.integers(400, 499), st.sampled_from(CASES))
@settings(max_examples=100, deadline=None)
def test_a_temporary_code_is_never_hard(
    code: int, case: tuple[str, int | None, str | None, str, str]
) -> None:
    assert not classify(code, None, case[3]).hard
    assert not classify(None, "4.1.1", case[3]).hard


@pytest.mark.parametrize(
    "text",
    [
        "a " * 5_000,
        "user mailbox account " * 500,
        "x" * 50_000,
        "mailbox is has been " * 300,
        "http://" * 900,
    ],
)
def test_it_is_quick_whatever_the_text(text: str) -> None:
    """Ten milliseconds on an idle machine; a pattern that backtracks takes seconds."""
    classify(550, None, "")
    started = time.perf_counter()
    classify(550, None, text)
    assert time.perf_counter() - started < 1
