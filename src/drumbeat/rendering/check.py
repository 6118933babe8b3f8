"""What `drumbeat validate` says about a mail, before any reader gets it.

DB050  a part is missing                       DB055  larger than Gmail shows
DB051  does not compile                        DB056  a picture without a text
DB052  a name that is not there; sample wrong  DB057  a link that leads nowhere
DB053  no subject, no text, several lines      DB058  a language is not complete
DB054  no unsubscribe link, no postal address  DB059  (caution) CSS is inlined mail by mail
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, meta, nodes

from drumbeat.errors import DrumbeatError, ProjectError
from drumbeat.issues import Issue, Place, nearest
from drumbeat.rendering.environment import MailEnvironment, source_text
from drumbeat.rendering.links import Links, is_web_address, tracked
from drumbeat.rendering.sample import read_sample
from drumbeat.rendering.templates import Rendered, Template, TemplateFault, Templates

GMAIL_CLIPS_AT = 102 * 1024
"""Gmail cuts a message's HTML off here and puts the rest, footer and all, behind a link."""

_MAX_ID = 2**63 - 1


def check_template(templates: Templates, name: str, *, marketing: bool) -> list[Issue]:
    """Return every fault of a mail in all its languages; an empty list where it is sound.

    Renders the sample, so it finds what a real mail would meet. `marketing`: the footer that the law asks
    for must be there, in HTML and text.
    """
    missing = missing_parts(templates, name)
    if missing:
        return missing
    issues = _incomplete_languages(templates, name)
    for language in (None, *templates.languages(name)):
        if language is None or not any(i.place.path.name.split(".")[1] == language for i in issues):
            issues += _check_variant(templates, name, language, marketing=marketing)
    return sorted(set(issues))


def cautions(templates: Templates, name: str) -> list[Issue]:
    """Return what works but could be better: CSS that has to be inlined in each mail (0.1 ms more a mail)."""
    found = []
    for language in (None, *templates.languages(name)):
        try:
            template = templates.load(name, language)
        except DrumbeatError:
            continue
        if template.caution:
            found.append(
                Issue(
                    template.place("html"),
                    "DB059",
                    f"CSS is inlined in each mail, not ahead: {template.caution}.",
                    "It renders correctly, but more slowly.",
                )
            )
    return sorted(set(found))


def names_needed(templates: Templates, name: str) -> set[str]:
    """Return the names that the mail needs from its trigger, in any of its languages.

    What every mail has, the mail defines itself or asks the presence of is not among them.
    """
    needed: set[str] = set()
    for language in (None, *templates.languages(name)):
        try:
            files = list(_files(templates, templates.load(name, language)))
        except DrumbeatError:
            continue  # a fault of its own
        known = _known_without_trigger(templates, files)
        needed |= {used for file in files for used, _ in file.used if used not in known}
    return needed


def _known_without_trigger(templates: Templates, files: Iterable[_File]) -> set[str]:
    own = {"language", "loop", "caller", "varargs", "kwargs"}
    return {*templates.given, *templates.environment.globals, *own}.union(*(file.defined for file in files))


def missing_parts(templates: Templates, name: str) -> list[Issue]:
    """Return a fault for each file that a message needs and lacks."""
    if name not in templates.folders():
        place = Place(Path(templates.folder.name) / name)
        return [Issue(place, "DB050", f"there is no template '{name}'.", nearest(name, templates.folders()))]
    files = [templates.path(name, part) for part in templates.parts] + [
        templates.folder / name / "sample.yaml"
    ]
    return [
        Issue(place_of(templates, file), "DB050", "is missing.", templates.needs)
        for file in files
        if not file.is_file()
    ]


def _incomplete_languages(templates: Templates, name: str) -> list[Issue]:
    return [
        Issue(
            place_of(templates, templates.path(name, part, language)),
            "DB058",
            f"is missing, so the mail is never sent in '{language}'.",
            "Translate all three parts or none.",
        )
        for language in templates.languages(name)
        for part in templates.parts
        if not templates.path(name, part, language).is_file()
    ]


def _check_variant(templates: Templates, name: str, language: str | None, *, marketing: bool) -> list[Issue]:
    try:
        sample = read_sample(templates.folder, name, language)
    except ProjectError as error:
        return list(error.issues)
    try:
        template = templates.load(name, language)
    except TemplateFault as error:
        return [Issue(error.place, "DB051", f"does not compile: {error.detail.removesuffix('.')}.")]
    issues = list(unknown_names(templates, template, sample))
    try:
        rendered = template.render(sample)
    except TemplateFault as error:
        code = "DB053" if error.place == template.place("subject") and "subject" in error.detail else "DB052"
        if not any(issue.place.path == error.place.path for issue in issues):
            issues.append(Issue(error.place, code, f"the sample does not render: {error.detail}."))
        return issues
    page = _Page.read(rendered.html)
    issues += _check_size(template, rendered)
    issues += _check_pictures(templates, template, page)
    issues += _check_links(templates, template, page)
    if marketing:
        issues += _check_footer(template, rendered, page, sample)
    return issues


def _check_size(template: Template, rendered: Rendered) -> Iterator[Issue]:
    sent = tracked(rendered.html, Links("https://click.example.com", b"only for its length"), _MAX_ID)
    size = len(sent.encode("utf-8", "replace"))
    if size > GMAIL_CLIPS_AT:
        yield Issue(
            template.place("html"),
            "DB055",
            f"the sample's HTML has {size / 1024:.0f} KB with tracked links; Gmail cuts off after 102 KB.",
            "Show fewer items.",
        )


def _check_pictures(templates: Templates, template: Template, page: _Page) -> Iterator[Issue]:
    for source in page.without_alt:
        place = _find(templates, template, source) or _find(templates, template, "<img")
        yield Issue(
            place or template.place("html"),
            "DB056",
            f"the picture '{source}' has no alt text.",
            'Say what it shows, or alt="" for decoration.',
        )


def _check_links(templates: Templates, template: Template, page: _Page) -> Iterator[Issue]:
    for url in page.links:
        if is_web_address(url) or re.match(r"(mailto|tel):.", url) or re.match(r"#.", url):
            continue
        yield Issue(
            (url and _find(templates, template, f'"{url}"')) or template.place("html"),
            "DB057",
            f"the link '{url}' leads nowhere in a mail.",
            "Write it in full, with https://.",
        )


def _check_footer(
    template: Template, rendered: Rendered, page: _Page, sample: Mapping[str, Any]
) -> Iterator[Issue]:
    unsubscribe, postal = str(sample["unsubscribe_url"]), str(sample["sender"]["postal_address"])
    seen = " ".join(page.text.split())
    for part, has_link, has_address in (
        ("html", unsubscribe in page.links, " ".join(postal.split()) in seen),
        ("text", unsubscribe in rendered.text, postal in rendered.text),
    ):
        if not has_link:
            yield Issue(
                template.place(part),
                "DB054",
                "marketing mail without an unsubscribe link.",
                'Add <a href="{{ unsubscribe_url }}">.' if part == "html" else "Add {{ unsubscribe_url }}.",
            )
        if not has_address:
            yield Issue(
                template.place(part),
                "DB054",
                "marketing mail without the sender's postal address.",
                "Add {{ sender.postal_address }}.",
            )


class _Page(HTMLParser):
    """The links, pictures and words of a rendered document."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.without_alt: list[str] = []
        self.text = ""

    @classmethod
    def read(cls, html: str) -> _Page:
        page = cls()
        page.feed(html)
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and "href" in given:
            self.links.append((given["href"] or "").strip())
        if tag == "img" and "alt" not in given:
            self.without_alt.append(given.get("src") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def unknown_names(templates: Templates, template: Template, sample: Mapping[str, Any]) -> Iterator[Issue]:
    """Yield names and entries that nothing gives, in branches the sample does not take too."""
    files = list(_files(templates, template))
    known = {*sample, *_known_without_trigger(templates, files)}
    for file in files:
        shown = Path(templates.folder.name) / file.name
        for name, line in file.used:
            if name not in known:
                advice = _advice(name, known, sample, templates)
                yield Issue(Place(shown, line), "DB052", f"unknown name '{name}'.", advice)
        for of, entry, line in file.entries:
            given = sample.get(of)
            if isinstance(given, dict) and entry not in given:
                advice = nearest(entry, map(str, given))
                yield Issue(Place(shown, line), "DB052", f"'{of}' has no '{entry}'.", advice)


def _advice(name: str, known: set[str], sample: Mapping[str, Any], templates: Templates) -> str:
    close = nearest(name, known)
    if close.startswith("Did you mean"):
        return close
    return f"Given: {', '.join(sorted({*sample, *templates.given}))}; what a trigger gives stands in sample.yaml."


@dataclass(frozen=True)
class _File:
    """What one template file says: what it defines, uses (with lines) and needs. What it asks
    the presence of (`is defined`, `default`) anywhere is optional and not counted as used."""

    name: str
    source: str
    defined: frozenset[str]
    used: tuple[tuple[str, int], ...]
    entries: tuple[tuple[str, str, int], ...]
    needs: tuple[str, ...]


@lru_cache(maxsize=256)
def _file(environment: MailEnvironment, name: str) -> _File | None:
    """Read a file once per environment: layouts are shared. None where it cannot be parsed."""
    try:
        source = source_text(environment, name)
        tree = environment.parse(source, name)
    except TemplateError:
        return None  # met again, with its place, when the sample is rendered
    defined: set[str] = set()
    asked: set[str | tuple[str, str]] = set()
    for node in tree.find_all(
        (nodes.Name, nodes.Macro, nodes.Import, nodes.FromImport, nodes.Test, nodes.Filter)
    ):
        if (isinstance(node, nodes.Name) and node.ctx in ("store", "param")) or isinstance(node, nodes.Macro):
            defined.add(node.name)
        elif isinstance(node, nodes.Import):
            defined.add(node.target)
        elif isinstance(node, nodes.FromImport):
            defined |= {one[1] if isinstance(one, tuple) else one for one in node.names}
        elif isinstance(node, (nodes.Test, nodes.Filter)) and node.name in _ASKS_FOR_PRESENCE:
            asked.add(_path(node.node))
    used = [(n.name, n.lineno) for n in tree.find_all(nodes.Name) if n.ctx == "load" and n.name not in asked]
    entries = [
        (n.node.name, n.attr, n.lineno)
        for n in tree.find_all(nodes.Getattr)
        if isinstance(n.node, nodes.Name) and _path(n) not in asked
    ]
    needs = tuple(found for found in meta.find_referenced_templates(tree) if found)
    return _File(name, source, frozenset(defined), tuple(used), tuple(entries), needs)


def _path(node: nodes.Node | None) -> str | tuple[str, str]:
    """Return a name as `a`, an entry of a name as `(a, b)`, anything else as nothing."""
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return (node.node.name, node.attr)
    return node.name if isinstance(node, nodes.Name) else ""


_ASKS_FOR_PRESENCE = ("defined", "undefined", "default", "d")


def _files(templates: Templates, template: Template) -> Iterator[_File]:
    """Yield each part of the mail and every file it names, once."""
    names = [
        f"{template.name}/{templates.path(template.name, part, template.variant).name}"
        for part in templates.parts
    ]
    seen: set[str] = set()
    while names:
        name = names.pop()
        file = None if name in seen else _file(templates.environment, name)
        seen.add(name)
        if file is not None:
            yield file
            names += file.needs


def _find(templates: Templates, template: Template, words: str) -> Place | None:
    """Return the first line of the mail's own files, layout included, that has the words."""
    for file in _files(templates, template):
        at = file.source.find(words) if words else -1
        if at >= 0 and file.name.endswith(".html.j2"):
            return Place(Path(templates.folder.name) / file.name, file.source.count("\n", 0, at) + 1)
    return None


def place_of(templates: Templates, file: Path) -> Place:
    """Return a file of the templates as it is shown."""
    return Place(Path(templates.folder.name) / file.relative_to(templates.folder))
