"""What `drumbeat validate` says about an SMS, a Telegram message, a webhook's payload or a task.

Beside the codes of mails (DB050 to DB053) and those of note_rules.py:

    DB063  the payload of the sample is no JSON, or Telegram would refuse the text
    DB064  a value in a payload that is not written by `tojson`
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jinja2 import TemplateError, nodes

from drumbeat.errors import ProjectError
from drumbeat.issues import Issue, Place
from drumbeat.rendering.check import missing_parts, place_of, unknown_names
from drumbeat.rendering.environment import source_text
from drumbeat.rendering.note_rules import NoteRules, broken
from drumbeat.rendering.notes import AS_HTML, NOTE_PARTS, TELEGRAM, WEBHOOK, NoteTemplate, NoteTemplates
from drumbeat.rendering.templates import TemplateFault

SAFE_IN_JSON = frozenset({"tojson", "int", "float", "length", "count", "round"})
"""Filters whose result is JSON whatever goes in."""


def check_note(templates: NoteTemplates, name: str, *, marketing: bool, rules: NoteRules) -> list[Issue]:
    """Return every fault of a message in all its languages; an empty list where it is sound.

    Renders the sample. `marketing`: it must say how to end such messages.
    """
    missing = missing_parts(templates, name)
    if missing:
        return missing
    issues = list(_two_texts(templates, name))
    for language in (None, *templates.languages(name)):
        issues += _check_variant(templates, name, language, marketing=marketing, rules=rules)
    return sorted(set(issues))


def _two_texts(templates: NoteTemplates, name: str) -> Iterator[Issue]:
    plain = templates.folder / name / NOTE_PARTS[TELEGRAM]["text"].format("")
    if templates.channel == TELEGRAM and templates.in_html(name) and plain.is_file():
        yield Issue(
            place_of(templates, plain),
            "DB050",
            f"stands beside {AS_HTML.format('')}, which is the one that is sent by Telegram.",
            "Remove one of them.",
        )


def _check_variant(
    templates: NoteTemplates, name: str, language: str | None, *, marketing: bool, rules: NoteRules
) -> list[Issue]:
    try:
        sample = templates.sample(name, language)
    except ProjectError as error:
        return list(error.issues)
    try:
        template = templates.load(name, language)
    except TemplateFault as error:
        return [Issue(error.place, "DB051", f"does not compile: {error.detail.removesuffix('.')}.")]
    issues = list(unknown_names(templates, template, sample))
    if templates.channel == WEBHOOK:
        issues += _bare_values(template)
    try:
        note = template.note(sample)
    except TemplateFault as error:
        if not any(issue.place.path == error.place.path for issue in issues):
            issues.append(Issue(error.place, _code(error), f"the sample does not render: {error.detail}."))
        return issues
    where = template.place("payload" if templates.channel == WEBHOOK else "text")
    url = str(sample["unsubscribe_url"])
    for rule in broken(templates.channel, note, rules, marketing=marketing, unsubscribe_url=url):
        issues.append(Issue(where, rule.code, rule.message, rule.fix))
    return issues


def _code(fault: TemplateFault) -> str:
    if "is no JSON" in fault.detail or "Telegram would refuse" in fault.detail:
        return "DB063"
    return "DB053" if "is empty" in fault.detail or " lines" in fault.detail else "DB052"


def _bare_values(template: NoteTemplate) -> Iterator[Issue]:
    """Give the values in a payload that a quote or a line end in a customer's name would break."""
    environment = template.home.environment
    file = template.home.path(template.name, "payload")
    name = f"{template.name}/{file.name}"
    try:
        tree = environment.parse(source_text(environment, name), name)
    except TemplateError:
        return
    for output in tree.find_all(nodes.Output):
        for value in output.nodes:
            if isinstance(value, nodes.TemplateData | nodes.Const):
                continue
            if isinstance(value, nodes.Filter) and value.name in SAFE_IN_JSON:
                continue
            yield Issue(
                Place(Path(template.home.folder.name) / name, value.lineno),
                "DB064",
                "a value is not written as JSON: a quote or a line end in it would break the document.",
                "Write {{ value | tojson }}, without quotes around it.",
            )
