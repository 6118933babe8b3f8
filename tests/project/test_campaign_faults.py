"""What is wrong with a campaign is said with its place, what was found and what to do; word for word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Change = Callable[[str, str], None]
Faults = Callable[[], list[str]]

FILE = "campaigns/reminder.yaml"
NO_DURATION = "as a duration; expected a number with s, m, h, d or w, such as 4h."


def test_the_small_project_is_sound(faults: Faults) -> None:
    """Every test below spoils it in one way; unspoilt it has no fault."""
    assert faults() == []


def test_an_unknown_trigger_is_named_with_its_line_and_the_nearest_kind(
    change: Change, faults: Faults
) -> None:
    """The sample that the design document shows."""
    change("abandoned_cart", "abandonned_cart")
    assert faults() == [f"{FILE}:9:3 DB014 unknown trigger 'abandonned_cart'. Did you mean 'abandoned_cart'?"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("priority: 80", "priorty: 80", ":6:1 DB021 unknown key 'priorty'. Did you mean 'priority'?"),
        ("idle_for: 4h", "idel_for: 4h", ":9:20 DB021 unknown key 'idel_for'. Did you mean 'idle_for'?"),
        (
            "  template: reminder",
            "  template: reminder\n  lang: de",
            ":12:3 DB021 unknown key 'lang'. Known: channel, due, template.",
        ),
        ("segment: everyone\n", "", ":2:1 DB022 the key 'segment' is missing."),
        ("  template: reminder", "  {}", ":10:1 DB022 the key 'template' is missing."),
        ("everyone", "everone", ":7:10 DB011 unknown segment 'everone'. Did you mean 'everyone'?"),
        (
            "template: reminder",
            "template: remainder",
            ":11:13 DB012 unknown template 'remainder'. Did you mean 'reminder'?",
        ),
        ("topic: offers", "topic: offer", ":5:8 DB013 unknown topic 'offer'. Did you mean 'offers'?"),
        (
            "topic: offers",
            "topic: offers\nsender: shp",
            ":6:9 DB015 unknown sender 'shp'. Did you mean 'shop'?",
        ),
        (
            "campaign: reminder",
            "campaign: remindr",
            (
                ":2:11 DB010 the campaign 'remindr' stands in reminder.yaml."
                " Name the file remindr.yaml, so that it is found by its name."
            ),
        ),
        (
            "campaign: reminder",
            "campaign: Reminder",
            ":2:11 DB020 campaign: found 'Reminder'; expected a name of small letters, digits and underscores.",
        ),
        (
            "campaign: reminder",
            "campaign: 12",
            ":2:11 DB020 campaign: found 12; expected text. Put it in quotes.",
        ),
        ("priority: 80", "priority: high", ":6:11 DB020 priority: found 'high'; expected a whole number."),
        ("priority: 80", "priority: 101", ":6:11 DB020 priority: found 101; expected at most 100."),
        ("priority: 80", "priority: -1", ":6:11 DB020 priority: found -1; expected at least 0."),
        ("priority: 80", "priority:", ":6:10 DB020 priority: found nothing; expected a whole number."),
        ("priority: 80", "enabled: maybe", ":6:10 DB020 enabled: found 'maybe'; expected true or false."),
        (
            "kind: marketing",
            "kind: marketting",
            ":4:7 DB020 kind: found 'marketting'; expected 'marketing' or 'service'. Did you mean 'marketing'?",
        ),
        ("topic: offers", "topic: [offers]", ":5:8 DB020 topic: found a list; expected text."),
        (
            "template: reminder",
            "template: ../../etc",
            ":11:13 DB020 message.template: found '../../etc'; expected a name of small letters, digits and underscores.",
        ),
        (
            "idle_for: 4h",
            "idle_for: soon",
            f":9:30 DB020 trigger.abandoned_cart.idle_for: cannot read 'soon' {NO_DURATION}",
        ),
        (
            "idle_for: 4h",
            "idle_for: -4h",
            f":9:30 DB020 trigger.abandoned_cart.idle_for: cannot read '-4h' {NO_DURATION}",
        ),
        (
            "idle_for: 4h",
            "idle_for: 4",
            f":9:30 DB020 trigger.abandoned_cart.idle_for: cannot read 4 {NO_DURATION}",
        ),
        (
            "idle_for: 4h",
            "idle_for: 99999999999d",
            ":9:30 DB020 trigger.abandoned_cart.idle_for: the duration '99999999999d' is too long; expected at most 36500d.",
        ),
        (
            "{idle_for: 4h}",
            "4h",
            ":9:19 DB020 trigger.abandoned_cart: found '4h'; expected a mapping, such as {key: value}.",
        ),
        (
            "trigger:\n  abandoned_cart: {idle_for: 4h}",
            "trigger: abandoned_cart",
            ":8:10 DB020 trigger: found 'abandoned_cart'; expected a mapping, such as {key: value}.",
        ),
        (
            "  abandoned_cart: {idle_for: 4h}",
            "  abandoned_cart: {idle_for: 4h}\n  other: {}",
            ":9:3 DB020 trigger: found 2 (abandoned_cart, other); expected at most 1.",
        ),
    ],
)
def test_a_fault_is_said_in_these_words(
    change: Change, faults: Faults, old: str, new: str, fault: str
) -> None:
    """One fault, one line: file:line:column, code, what was found, what to do."""
    change(old, new)
    assert faults() == [FILE + fault]


@pytest.mark.parametrize(
    ("send", "fault"),
    [
        ("{windw: {}}", ":12:8 DB021 unknown key 'windw'. Did you mean 'window'?"),
        (
            "{window: {from: 10:30, to: 9:00}}",
            ":12:34 DB020 send.window.to: cannot read '9:00' as a time of day; expected for example 09:00.",
        ),
        (
            "{window: {from: 25:30, to: 10:30}}",
            ":12:23 DB020 send.window.from: found '25:30'; expected a time of day such as 09:00.",
        ),
        (
            "{window: {from: 10:30, to: 10:30}}",
            ":12:16 DB020 send.window: from and to are the same time; leave the window out to send at any hour.",
        ),
        (
            "{when_capped: dropp}",
            (
                ":12:21 DB020 send.when_capped: cannot read 'dropp'; expected drop,"
                " or a span to try again in, such as {defer: 2d}."
            ),
        ),
        (
            "{when_capped: {defer: soon}}",
            f":12:29 DB020 send.when_capped.defer: cannot read 'soon' {NO_DURATION}",
        ),
    ],
)
def test_a_fault_under_send_is_said_in_these_words(
    change: Change, faults: Faults, send: str, fault: str
) -> None:
    """`10:30` is a time of day without quotes too: YAML 1.1 would have read 630."""
    change("  template: reminder", f"  template: reminder\nsend: {send}")
    assert faults() == [FILE + fault]


def test_a_kind_without_parameters_takes_its_defaults(change: Change, faults: Faults) -> None:
    """`abandoned_cart:` with nothing behind it is meant as it looks."""
    change(" {idle_for: 4h}", "")
    assert faults() == []


def test_all_faults_of_all_files_are_told_at_once_in_the_order_of_the_files(
    project: Path, change: Change, faults: Faults
) -> None:
    """A wrong priority hides neither the wrong segment beside it nor the fault in another file."""
    change("priority: 80", "priority: 800")
    change("everyone", "nobody")
    change("abandoned_cart", "cart")
    (project / "campaigns/a.yaml").write_text("campaign: [", encoding="utf-8")
    (project / "segments.yaml").write_text("- x\n", encoding="utf-8")
    with (project / "project.yaml").open("a", encoding="utf-8") as config:
        config.write("colour: red\n")
    assert [fault.split(" ")[0:2] for fault in faults()] == [
        ["campaigns/a.yaml:2:1", "DB003"],
        [f"{FILE}:6:11", "DB020"],
        [f"{FILE}:7:10", "DB011"],
        [f"{FILE}:9:3", "DB014"],
        ["project.yaml:6:1", "DB021"],
        ["segments.yaml:1:1", "DB030"],
    ]


def test_one_campaign_in_two_files_is_a_fault(project: Path, faults: Faults) -> None:
    """Otherwise one of them would win without a word."""
    text = (project / FILE).read_text(encoding="utf-8")
    (project / "campaigns/reminder.yml").write_text(text, encoding="utf-8")
    assert faults() == [
        "campaigns/reminder.yml:1:1 DB017 the same campaign stands in campaigns/reminder.yaml. Remove one of them."
    ]
