"""YAML's surprises are read as they look, or refused in one line; never a traceback, never a silent loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drumbeat.document import parse_document
from drumbeat.errors import ProjectError

FILE = "campaigns/reminder.yaml"
NINE = ",".join(["x"] * 9)
BOMB = f"a: &a [{NINE}]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: x", {"on": "x"}),
        ("a: no", {"a": "no"}),
        ("a: yes", {"a": "yes"}),
        ("a: off", {"a": "off"}),
        ("a: true", {"a": True}),
        ("a: 10:30", {"a": "10:30"}),
        ("a: 2011-12-05", {"a": "2011-12-05"}),
        ("a: 0123", {"a": 123}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: 0x1F", {"a": 31}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: .5", {"a": 0.5}),
        ("a: .", {"a": "."}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: =", {"a": "="}),
        ("NO: Norway", {"NO": "Norway"}),
        ("12: x", {12: "x"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)
def test_a_scalar_is_what_it_looks_like(text: str, value: object) -> None:
    """YAML 1.1 reads `on` and `no` as booleans, 10:30 as 630 and a date as a date."""
    assert parse_document(text, Path("x.yaml")).value == value


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a: 1\nb: 2\na: 3\n", ":3:1 DB006 the key 'a' is given twice (first on line 1). Keep one of them."),
        (b"a:\n\tb: 1\n", ":2:1 DB003 a tab stands where YAML wants blanks. Indent with blanks."),
        (b"a: &a [*a]\n", ":1:4 DB005 an anchor contains itself. Write the value out."),
        (b"a: &a {b: *a}\n", ":1:4 DB005 an anchor contains itself. Write the value out."),
        (BOMB.encode(), ":1:24 DB005 holds more than 200,000 values (aliases counted)."),
        (b"x: &x {a: 1}\n<<: *x\n", ":2:1 DB004 merge keys (<<) are not supported. Write the entries out."),
        ("campaign: café\n".encode("latin-1"), ":1:1 DB002 is not UTF-8 text (byte 13). Save it as UTF-8."),
        ("campaign: x\n".encode("utf-16"), ":1:1 DB002 is not UTF-8 text (byte 0). Save it as UTF-8."),
        (
            b"a: 1\n---\nb: 2\n",
            ":2:1 DB003 is not valid YAML: expected a single document in the stream, but found another document.",
        ),
        (b"a: *b\n", ":1:4 DB003 is not valid YAML: found undefined alias."),
        (b"a: {b: 1\n", ":2:1 DB003 is not valid YAML: did not find expected ',' or '}'."),
        (b"? [a, b]\n: c\n", ":1:3 DB004 the key 'a list or mapping' is not a word. Put it in quotes."),
        (b"true: 1\n", ":1:1 DB004 the key 'true' is not a word. Put it in quotes."),
        (
            b"a: !!python/object:os.system x\n",
            ":1:4 DB004 the tag 'tag:yaml.org,2002:python/object:os.system' is not supported. Remove it.",
        ),
        (b"a: !!int zzz\n", ":1:4 DB004 cannot read 'zzz' as a number. Put it in quotes."),
        (b"a: " + b"9" * 5000, f":1:4 DB004 cannot read '{'9' * 40}' as a number. Put it in quotes."),
        (b"[" * 5000 + b"]" * 5000, ":1:102 DB005 is nested more than 100 deep. Flatten it."),
        (b"[" * 300_000, ":1:102 DB005 is nested more than 100 deep. Flatten it."),
        (b"- " * 300_000 + b"x", ":1:203 DB005 is nested more than 100 deep. Flatten it."),
        (b"- a\n", ":1:1 DB020 the file: found a list; expected a mapping, such as {key: value}."),
        (b"hello\n", ":1:1 DB020 the file: found 'hello'; expected a mapping, such as {key: value}."),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(
    project: Path, faults: Callable[[], list[str]], content: bytes, fault: str
) -> None:
    """One line with the place and what to do."""
    (project / FILE).write_bytes(content)
    assert faults() == [FILE + fault]


def test_a_nul_byte_is_refused_in_one_line(project: Path, faults: Callable[[], list[str]]) -> None:
    """The parser's own words; they differ between its versions."""
    (project / FILE).write_bytes(b"campaign: a\0b\n")
    (fault,) = faults()
    assert fault.startswith(f"{FILE}:1:1 DB003 is not valid YAML: ")


@pytest.mark.parametrize("content", [b"", b"# nothing yet\n", b"null\n"])
def test_an_empty_file_lacks_what_a_campaign_needs(
    project: Path, faults: Callable[[], list[str]], content: bytes
) -> None:
    """It names every key that must be there."""
    (project / FILE).write_bytes(content)
    keys = ("campaign", "description", "message", "segment", "topic", "trigger")
    assert faults() == [f"{FILE}:1:1 DB022 the key '{key}' is missing." for key in keys]


def test_a_byte_order_mark_and_windows_line_ends_are_no_trouble(
    project: Path, faults: Callable[[], list[str]]
) -> None:
    """Editors on Windows write both."""
    text = (project / FILE).read_text(encoding="utf-8")
    (project / FILE).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert faults() == []


def test_a_folder_in_place_of_a_file_is_said(project: Path, faults: Callable[[], list[str]]) -> None:
    """It cannot be read, and that is all there is to say."""
    (project / "campaigns/other.yaml").mkdir()
    assert faults() == ["campaigns/other.yaml:1:1 DB001 cannot be read: Is a directory."]


def test_the_place_of_a_value_is_kept() -> None:
    """Keys and list items have places; a step that leads nowhere gives the nearest above."""
    document = parse_document("a:\n  - b: 1\n    c: [x, y]\n", Path("x.yaml"))
    assert str(document.place(("a", 0, "c"))) == "x.yaml:3:5"
    assert str(document.value_place(("a", 0, "c", 1))) == "x.yaml:3:12"
    assert str(document.place(("a", 0, "missing"))) == "x.yaml:2:5"


def test_all_repeated_keys_are_told_at_once() -> None:
    """Faults are collected, not raised one by one."""
    with pytest.raises(ProjectError) as caught:
        parse_document("a: 1\na: 2\nb: {c: 1, c: 2}\n", Path("x.yaml"))
    assert [str(issue.place) for issue in caught.value.issues] == ["x.yaml:2:1", "x.yaml:3:11"]
