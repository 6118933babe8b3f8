# ruff: noqa: E501 - a message in one piece is found by searching for it
"""Faults in segments.yaml: each with its place, what was found and what to do; all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from drumbeat.document import parse_document, read_document
from drumbeat.errors import ProjectError
from drumbeat.project.load import load_project
from drumbeat.segments.grammar import parse_segments, topics_used
from drumbeat.segments.operators import OPERATORS
from drumbeat.segments.references import MAX_CONDITIONS, MAX_DEPTH
from drumbeat.segments.schema import segments_schema

KEYS = (
    "all, any, attribute, birth_date, city, consent, country, created_at, email, events, external_id, first_name, "
    "language, last_name, not, orders, seed, segment, time_zone"
)
SPAN = "expected a number with s, m, h, d or w, such as 4h."
JSON_OPERATORS = ", ".join(sorted(OPERATORS["json"]))

FAULTS = {
    # what is no condition
    "a: France": "1:4 DB030 found 'France', expected a condition such as {country: France}.",
    "a:": "1:3 DB030 found nothing, expected a condition such as {country: France}.",
    "a: {}": "1:4 DB030 the condition is empty. To mean all customers write {segment: everyone}.",
    "a: [{city: Rome}]": "1:4 DB030 found a list, expected a condition such as {country: France}. Write all: or any: before the list.",
    "a: {all: {city: Rome}}": "1:10 DB030 'all': found a mapping, expected a list of conditions. Begin each with '- '.",
    "a: {all: []}": "1:10 DB030 'all' holds no condition. Name at least one, or remove it.",
    "a: {any: }": "1:10 DB030 'any': found nothing, expected a list of conditions. Begin each with '- '.",
    "a: {any: [Rome]}": "1:11 DB030 found 'Rome', expected a condition such as {country: France}.",
    "a: {not: [{city: Rome}]}": "1:10 DB030 found a list, expected a condition such as {country: France}. Write all: or any: before the list.",
    "a: {country: {}}": "1:14 DB030 'country' holds no operator. Known: is, is_not, in, not_in, contains, starts_with, exists.",
    "a: {country: {in: []}}": "1:19 DB030 'in': the list is empty. Name at least one value.",
    "a: {orders: {}}": "1:13 DB030 'orders': found nothing, expected a mapping such as {count: {at_least: 1}}.",
    "a: {orders: 3}": "1:13 DB030 'orders': found 3, expected a mapping such as {count: {at_least: 1}}.",
    "a: {events: viewed}": "1:13 DB030 'events': found 'viewed', expected a mapping such as {name: product_viewed}.",
    "a: {attribute: gold}": "1:16 DB030 'attribute': found 'gold', expected names with values such as {tier: gold}.",
    "a: {attribute: {}}": "1:16 DB030 'attribute': found nothing, expected names with values such as {tier: gold}.",
    "a: {events: {name: x, where: }}": "1:30 DB030 'where': found nothing, expected names with values such as {tier: gold}.",
    # unknown names
    "a: {contry: France}": "1:5 DB031 unknown condition 'contry'. Did you mean 'country'?",
    "a: {xyzzy: 1}": f"1:5 DB031 unknown condition 'xyzzy'. Known: {KEYS}.",
    "a: {orders: {totl: 3}}": "1:14 DB031 unknown key 'totl' in 'orders'. Did you mean 'total'?",
    "a: {events: {name: x, product: y}}": "1:23 DB031 unknown key 'product' in 'events'. Known: count, first, last, name, where, within.",
    "a: {country: {at_most: 3}}": "1:15 DB032 unknown operator 'at_most' for 'country'. Known: contains, exists, in, is, is_not, not_in, starts_with.",
    "a: {orders: {count: {atleast: 3}}}": "1:22 DB032 unknown operator 'atleast' for 'count'. Did you mean 'at_least'?",
    "a: {orders: {last: {exists: true}}}": "1:21 DB032 unknown operator 'exists' for 'last'. Known: after, before, not_within, within.",
    "a: {attribute: {x: {before: 2011-01-01}}}": f"1:21 DB032 unknown operator 'before' for 'x'. Known: {JSON_OPERATORS}.",
    "a: {segment: b}": "1:5 DB035 unknown segment 'b'. Known: a, everyone.",
    "stuff: {seed: true}\na: {not: {segment: staff}}": "2:11 DB035 unknown segment 'staff'. Did you mean 'stuff'?",
    "a: {events: {count: 1}}": "1:5 DB039 'events' does not say which. Add for example name: product_viewed.",
    # values of the wrong type
    "a: {country: 5}": "1:14 DB033 'country': found 5, expected text. Put it in quotes.",
    "a: {country: true}": "1:14 DB033 'country': found true, expected text. Put it in quotes.",
    "a: {country: }": "1:14 DB033 'country': found nothing, expected text.",
    "a: {country: [Rome]}": "1:14 DB033 'country': found a list, expected text. To ask for one of several write {in: [...]}.",
    "a: {country: {in: Rome}}": "1:19 DB033 'in': found 'Rome', expected a list. Write ['Rome'].",
    "a: {country: {in: [Rome, 5]}}": "1:26 DB033 'in': found 5, expected text. Put it in quotes.",
    "a: {country: {exists: yes}}": "1:23 DB033 'exists': found 'yes', expected true or false.",
    "a: {city: {contains: ''}}": "1:22 DB033 'contains': found empty text, which every text holds. Write the text to look for.",
    'a: {city: "\\0"}': "1:11 DB033 'city': found a NUL character, which no database can hold. Remove it.",
    "a: {seed: 1}": "1:11 DB033 'seed': found 1, expected true or false.",
    "a: {consent: [offers]}": "1:14 DB033 'consent': found a list, expected one topic.",
    "a: {segment: 5}": "1:14 DB033 'segment': found 5, expected the name of a segment.",
    "a: {attribute: {x: {at_least: abc}}}": "1:31 DB033 'at_least': found 'abc', expected a number.",
    "a: {attribute: {x: {at_least: true}}}": "1:31 DB033 'at_least': found true, expected a number.",
    "a: {attribute: {x: [1]}}": "1:20 DB033 'x': found a list, expected text, a number, true or false. To ask for one of several write {in: [...]}.",
    "a: {attribute: {x: }}": "1:20 DB033 'x': found nothing, expected a value. To ask for a missing one write {exists: false}.",
    "a: {attribute: {x: 1e999}}": "1:20 DB033 'x': found inf, expected a number below 100,000,000,000,000.",
    "a: {attribute: {x: {has: [1, 2]}}}": "1:26 DB033 'has': found a list, expected text, a number, true or false. To ask for one of several write {in: [...]}.",
    "a: {orders: {count: 1.5}}": "1:21 DB033 'count': found 1.5, expected a whole number from 0 up.",
    "a: {orders: {count: -1}}": "1:21 DB033 'count': found -1, expected a whole number from 0 up.",
    "a: {orders: {count: {at_least: abc}}}": "1:32 DB033 'at_least': found 'abc', expected a number.",
    "a: {orders: {total: 0.00001}}": "1:21 DB033 'total': found 1e-05, expected an amount with at most 4 decimals.",
    "a: {orders: {total: 100000000000000}}": "1:21 DB033 'total': found 100000000000000, expected a number below 100,000,000,000,000.",
    "a: {orders: {product: 22423}}": "1:23 DB033 'product': found 22423, expected text. Put it in quotes.",
    "a: {orders: {product: {is: A, in: [B]}}}": "1:23 DB033 'product': found two operators. Write one list, {in: [...]}.",
    "a: {created_at: 2011-01-01}": "1:17 DB033 'created_at': found '2011-01-01', expected an operator. Known: before, after, within, not_within, exists.",
    # times
    "a: {orders: {within: 30}}": "1:22 DB034 'within': found 30, expected a duration such as 30d or 4h. Write 30d if days are meant.",
    "a: {orders: {within: soon}}": f"1:22 DB034 'within': cannot read 'soon' as a duration; {SPAN}",
    "a: {orders: {within: -3d}}": f"1:22 DB034 'within': cannot read '-3d' as a duration; {SPAN}",
    "a: {orders: {within: 0d}}": "1:22 DB034 'within': found '0d', in which nothing can happen. Write a longer span.",
    "a: {orders: {within: 36501d}}": "1:22 DB034 'within': the duration '36501d' is too long; expected at most 36500d.",
    "a: {orders: {within: 99999999999999d}}": "1:22 DB034 'within': the duration '99999999999999d' is too long; expected at most 36500d.",
    "a: {created_at: {within: {days: 3}}}": "1:26 DB034 'within': found a mapping, expected a duration such as 30d or 4h.",
    "a: {birth_date: 2011-02-29}": "1:17 DB034 'birth_date': found '2011-02-29', expected a date such as 2011-12-05.",
    "a: {birth_date: 2011-W01-1}": "1:17 DB034 'birth_date': found '2011-W01-1', expected a date such as 2011-12-05.",
    "a: {orders: {last: {before: May}}}": "1:29 DB034 'before': found 'May', expected a time such as 2011-12-05 or 2011-12-05T09:00+00:00.",
    "a: {orders: {last: {after: 2011}}}": "1:28 DB034 'after': found 2011, expected a time such as 2011-12-05 or 2011-12-05T09:00+00:00.",
    'a: {created_at: {after: "0001-01-01T00:00+05:00"}}': "1:25 DB034 'after': found '0001-01-01T00:00+05:00', expected a time such as 2011-12-05 or 2011-12-05T09:00+00:00.",
    # circles and names
    "a: {segment: a}": "1:5 DB036 the segments name each other in a circle: a → a. Remove one of the references.",
    "a: {segment: b}\nb: {not: {segment: c}}\nc: {any: [{seed: true}, {segment: a}]}": (
        "3:26 DB036 the segments name each other in a circle: a → b → c → a. Remove one of the references."
    ),
    "everyone: {seed: true}": "1:1 DB037 the segment 'everyone' is always there and cannot be defined. Choose another name.",
    "Big Spenders: {seed: true}": "1:1 DB037 'Big Spenders' cannot name a segment. Use small letters, digits and _, a letter first.",
    "[a]": "1:1 DB030 found a list, expected names of segments, each with a condition.",
}  # fmt: skip

BEYOND_A_SCHEMA = ("DB034", "DB035", "DB036", "NUL", "4 decimals")
"""What only `drumbeat validate` can tell: real dates and spans, names of other segments, exact decimals."""


def issues(text: str) -> list[str]:
    """Parse and return the faults as they are printed, without the file's name."""
    _, found = parse_segments(parse_document(text, Path("segments.yaml")))
    return [str(issue).removeprefix("segments.yaml:") for issue in found]


@pytest.mark.parametrize(("text", "expected"), FAULTS.items(), ids=FAULTS)
def test_a_fault_is_told_with_its_place_and_a_way_out(text: str, expected: str) -> None:
    assert issues(text) == [expected]


@pytest.mark.parametrize(
    "text", [text for text, fault in FAULTS.items() if not any(b in fault for b in BEYOND_A_SCHEMA)]
)
def test_the_schema_for_editors_refuses_what_the_program_refuses(text: str) -> None:
    value = parse_document(text, Path("segments.yaml")).value
    assert not Draft202012Validator(segments_schema()).is_valid(value)


def test_all_faults_of_a_file_are_told_at_once_in_its_order() -> None:
    text = """
a: {contry: France, orders: {within: 30, totl: 3}}
b:
  any:
    - {}
    - country: {in: [1, 2]}
    - segment: c
c: {segment: b, seed: maybe}
"""
    assert issues(text) == [
        "2:5 DB031 unknown condition 'contry'. Did you mean 'country'?",
        "2:38 DB034 'within': found 30, expected a duration such as 30d or 4h. Write 30d if days are meant.",
        "2:42 DB031 unknown key 'totl' in 'orders'. Did you mean 'total'?",
        "5:7 DB030 the condition is empty. To mean all customers write {segment: everyone}.",
        "6:22 DB033 'in': found 1, expected text. Put it in quotes.",
        "6:25 DB033 'in': found 2, expected text. Put it in quotes.",
        "8:5 DB036 the segments name each other in a circle: b → c → b. Remove one of the references.",
        "8:23 DB033 'seed': found 'maybe', expected true or false.",
    ]


def test_an_empty_file_defines_no_segment() -> None:
    assert parse_segments(parse_document("# nothing yet\n", Path("segments.yaml"))) == ({}, [])


def nested(depth: int) -> str:
    return "a: " + "{not: " * (depth - 1) + "{seed: true}" + "}" * (depth - 1)


def test_nesting_is_limited_so_that_no_stack_overflows() -> None:
    assert issues(nested(MAX_DEPTH)) == []
    assert issues(nested(MAX_DEPTH + 1)) == [
        f"1:{4 + 6 * MAX_DEPTH} DB038 is nested more than {MAX_DEPTH} deep. Flatten it."
    ]


def test_nesting_by_references_is_limited_too() -> None:
    def chain(length: int) -> str:
        return (
            "\n".join(f"s{i}: {{segment: s{i + 1}}}" for i in range(1, length))
            + f"\ns{length}: {{seed: true}}"
        )

    assert issues(chain(MAX_DEPTH)) == []
    assert any("DB038" in issue for issue in issues(chain(MAX_DEPTH + 1)))
    assert any("DB038" in issue for issue in issues(chain(2000)))


def test_segments_that_name_each_other_twice_cannot_grow_without_bound() -> None:
    doubling = "\n".join(
        f"s{i}: {{any: [{{segment: s{i + 1}}}, {{segment: s{i + 1}}}]}}" for i in range(1, 9)
    )
    assert issues(doubling + "\ns9: {seed: true}") == [
        f"2:1 DB038 the segment 's2' has {4 * 2**7 - 3} conditions, those of segments it names counted; at most {MAX_CONDITIONS} can be asked. Split it."
    ]
    forty = "\n".join(f"t{i}: {{any: [{{segment: t{i + 1}}}, {{segment: t{i + 1}}}]}}" for i in range(1, 24))
    assert len(issues(forty + "\nt24: {seed: true}")) > 0


def test_lists_are_limited_to_what_both_databases_take() -> None:
    many = ", ".join(f"c{number}" for number in range(6_000))
    assert issues(f"a: {{country: {{in: [{many}]}}, city: {{in: [{many}]}}}}") == [
        "1:1 DB038 the segment 'a' has 12,000 listed values, those of segments it names counted; at most 10,000 can be asked. Put them into an attribute of the customers."
    ]


def test_a_file_nested_beyond_all_reason_is_a_fault_and_no_crash() -> None:
    with pytest.raises(ProjectError, match="DB005 is nested more than 100 deep"):
        parse_document(nested(5_000), Path("segments.yaml"))


def test_topics_are_given_with_their_places_for_the_check_against_project_yaml() -> None:
    text = "a: {all: [{consent: offers}, {not: {consent: news}}]}\nb: {segment: a, consent: sms}"
    segments, _ = parse_segments(parse_document(text, Path("segments.yaml")))
    assert [f"{topic} {place.line}:{place.column}" for topic, place in topics_used(segments)] == [
        "offers 1:21",
        "news 1:46",
        "sms 2:26",
    ]


def test_a_topic_that_project_yaml_does_not_know_is_a_fault(tmp_path: Path, project_root: Path) -> None:
    (tmp_path / "project.yaml").write_text(
        (project_root / "project.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (tmp_path / "segments.yaml").write_text("a: {consent: offerz}\n", encoding="utf-8")
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "__init__.py").write_text("KINDS = {}\n", encoding="utf-8")
    with pytest.raises(ProjectError) as refused:
        load_project(tmp_path)
    assert "segments.yaml:1:14 DB013 unknown topic 'offerz'. Did you mean 'offers'?" in str(refused.value)


def test_the_reference_project_has_no_faulty_segment(project_root: Path) -> None:
    document = read_document(project_root / "segments.yaml")
    assert parse_segments(document)[1] == []
    assert Draft202012Validator(segments_schema()).is_valid(document.value)
