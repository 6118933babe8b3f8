"""The mails of a project: one folder each with subject, HTML and text, and variants by language.

templates/abandoned_cart/subject.txt.j2   body.html.j2      body.txt.j2      sample.yaml
                         subject.de.txt.j2 body.de.html.j2  body.de.txt.j2   sample.de.yaml (optional)
templates/_layout/       what they share
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError

from drumbeat.errors import DrumbeatError, ProjectError, RenderError
from drumbeat.issues import Place, nearest
from drumbeat.rendering.environment import make_environment
from drumbeat.rendering.flatten import CannotFlattenError, flatten
from drumbeat.rendering.inline import inline_html, inline_source, same_page
from drumbeat.rendering.sample import EVERY_MAIL, read_sample

PARTS = {"subject": "subject{}.txt.j2", "html": "body{}.html.j2", "text": "body{}.txt.j2"}
"""The files of a mail; `{}` is empty or `.de`."""

OTHERS = ("text.txt.j2", "text.html.j2", "title.txt.j2", "payload.json.j2")
"""Files of other channels' messages (notes.py): a folder with one of these and no file of a mail holds no mail."""

LONGEST_TAG = 35
"""Characters of a language tag (RFC 5646 section 4.4.1); a longer one has no variant."""


class TemplateFault(RenderError):  # noqa: N818 - a fault in a file, in the words of the rest
    """A template does not compile or render. `place`: where; `detail`: what is wrong there."""

    def __init__(self, place: Place, detail: str) -> None:
        self.place = place
        self.detail = detail
        super().__init__(f"{place} {detail}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A mail's content: one line of subject, a whole HTML document with CSS inlined, and its plain text."""

    subject: str
    html: str
    text: str


class Templates:
    """The templates in a folder. `language`: what files without a language in their name are written in.

    Everything is compiled once and kept: a change on disk is seen by a new Templates.
    """

    parts: Mapping[str, str] = PARTS
    """The files of a message; those of other channels are in notes.py."""
    given: Mapping[str, Any] = EVERY_MAIL
    """What a template may use whatever its trigger, with an example of each."""
    needs: str = "A mail needs subject, HTML, text and a sample."

    def __init__(self, folder: Path, language: str = "en") -> None:
        self.folder = folder
        self.language = language
        self.environment = make_environment(folder)
        # Flat sources: the lexer has applied whitespace control, a second time would eat line ends.
        self.flat_environment = make_environment(folder)
        self.flat_environment.trim_blocks = self.flat_environment.lstrip_blocks = False
        self._loaded: dict[tuple[str, str], Template] = {}

    def names(self) -> list[str]:
        """Return the names of all mails, sorted; folders that start with `_` or `.` are no mails."""
        return [name for name in self.folders() if self._is_ours(self.folder / name)]

    def folders(self) -> list[str]:
        """Return the names of all messages, those of other channels too, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(
            f.name for f in self.folder.iterdir() if f.is_dir() and not f.name.startswith(("_", "."))
        )

    def _is_ours(self, folder: Path) -> bool:
        mail = any((folder / pattern.format("")).is_file() for pattern in PARTS.values())
        return mail or not any((folder / file).is_file() for file in OTHERS)

    def languages(self, name: str) -> list[str]:
        """Return the languages, beside the default one, that any file of the mail is written in, sorted."""
        found = set()
        for pattern in self.parts.values():
            start, end = pattern.split("{}")
            for file in (self.folder / name).glob(f"{start}.*{end}"):
                language = file.name[len(start) + 1 : -len(end)]
                if language:
                    found.add(language)
        return sorted(found)

    def path(self, name: str, part: str, language: str | None = None) -> Path:
        """Return where a part of the mail in a language is, or would be; None is the default language."""
        return self.folder / name / self.parts[part].format(f".{language}" if language else "")

    def load(self, name: str, language: str | None = None) -> Template:
        """Return the mail in the language, compiled and kept.

        `de-AT` falls back to `de`, then to the default; a variant counts when all three parts are there, so
        that no mail mixes languages. Raises RenderError where the mail does not exist or does not compile.
        """
        variant = self._variant(name, language)
        key = (name, variant or "")
        if key not in self._loaded:
            self._loaded[key] = self._compile(name, variant)
        return self._loaded[key]

    def _variant(self, name: str, language: str | None) -> str | None:
        wanted = (language or self.language).replace("_", "-")
        for candidate in dict.fromkeys((wanted, wanted.partition("-")[0])):
            if candidate == self.language:
                return None
            # Languages come with customers' data: to ask for a file with too long a name is an OSError.
            if (
                len(candidate) <= LONGEST_TAG
                and candidate.replace("-", "").isalnum()
                and all(self.path(name, p, candidate).is_file() for p in self.parts)
            ):
                return candidate
        return None

    def _compile(self, name: str, variant: str | None) -> Template:
        template = Template(self, name, variant, self._compiled(name, variant))
        template.inline()
        return template

    def _compiled(self, name: str, variant: str | None) -> dict[str, JinjaTemplate]:
        if name not in self.folders():
            raise RenderError(f"unknown template '{name}'. {nearest(name, self.folders())}")
        parts: dict[str, JinjaTemplate] = {}
        for part in self.parts:
            file = self.path(name, part, variant)
            try:
                parts[part] = self.environment.get_template(f"{name}/{file.name}")
            except (TemplateError, UnicodeDecodeError) as error:
                raise fault(self.folder, error, f"{name}/{file.name}") from None
        return parts


class Template:
    """One mail in one language, compiled. `caution`: why its CSS is inlined per mail, or None."""

    def __init__(
        self, home: Templates, name: str, variant: str | None, parts: Mapping[str, JinjaTemplate]
    ) -> None:
        self.home = home
        self.name = name
        self.variant = variant
        self.language = variant or home.language
        self.parts = parts
        self.caution: str | None = None
        self._flat: JinjaTemplate | None = None

    def render(self, context: Mapping[str, Any]) -> Rendered:
        """Fill in a context: subject, HTML and text. `language` is added to it, for the filters.

        Raises RenderError with the file and line: a name that is missing, a subject of several lines or
        of none, an empty text.
        """
        full = {**self.home.environment.globals, **context, "language": self.language}
        subject = self._part("subject", full).strip()
        text = self._part("text", full).strip("\n") + "\n"
        html = self._html(full)
        if not subject or len(subject.splitlines()) > 1:
            found = "is empty" if not subject else f"has {len(subject.splitlines())} lines"
            raise TemplateFault(self.place("subject"), f"the subject {found}; expected one line of text")
        if not text.strip():
            raise TemplateFault(self.place("text"), "the text part is empty; readers without HTML need it")
        return Rendered(subject, html, text)

    def inline(self) -> None:
        """Inline the CSS in the source; where that is impossible, say why in `caution` and do it per mail.

        A sample, where there is one, must give the same page either way.
        """
        file = f"{self.name}/{self.home.path(self.name, 'html', self.variant).name}"
        try:
            source = inline_source(flatten(self.home.environment, file))
            code = self.home.flat_environment.compile(source, file, f"{file} (CSS inlined)")
            self._flat = JinjaTemplate.from_code(
                self.home.flat_environment, code, self.home.flat_environment.make_globals(None)
            )
            self._compare()
        except (CannotFlattenError, TemplateSyntaxError) as error:
            self._flat = None
            self.caution = str(error)

    def _compare(self) -> None:
        try:
            sample = {**read_sample(self.home.folder, self.name, self.variant), "language": self.language}
            expected = inline_html(self.parts["html"].render(sample))
        except (
            ProjectError,
            TemplateError,
            CannotFlattenError,
            ArithmeticError,
            ValueError,
            TypeError,
            LookupError,
        ):
            return  # the sample itself is wrong: check_template says so
        if self._flat is None or not same_page(expected, self._flat.render(sample)):
            raise CannotFlattenError(
                "its style sheet depends on what is rendered (:nth-child, +, or a macro's surroundings)"
            )

    def _html(self, context: Mapping[str, Any]) -> str:
        if self._flat is None:
            return inline_html(self._part("html", context))
        try:
            return _run(self._flat, context)
        except Exception:  # noqa: BLE001 - rendered again from the files below, to name file and line
            # The flat source has other lines than the files; the files' own render meets the same fault.
            return inline_html(self._part("html", context))

    def _part(self, part: str, context: Mapping[str, Any]) -> str:
        try:
            return self._rendered(self.parts[part], context)
        except DrumbeatError as error:
            raise TemplateFault(self.place(part), str(error)) from None
        except Exception as error:  # a template may raise anything (a filter, 1/0)
            raise fault(self.home.folder, error, self.parts[part].name or part) from error

    def _rendered(self, template: JinjaTemplate, context: Mapping[str, Any]) -> str:
        try:
            return _run(template, context)
        except Exception:  # noqa: BLE001 - rendered again by Jinja, which names the template's own lines
            return template.render(context)

    def place(self, part: str) -> Place:
        """Return where a part of the mail is: its file, line 1."""
        file = self.home.path(self.name, part, self.variant)
        return _shown(self.home.folder, file.relative_to(self.home.folder))


def _run(template: JinjaTemplate, full: Mapping[str, Any]) -> str:
    """Render with a context that has the globals in it already.

    `Template.render` copies context and globals for each part, a quarter of the time of a short one.
    """
    context = template.new_context(dict(full) if not isinstance(full, dict) else full, shared=True)
    return template.environment.concat(template.root_render_func(context))


def fault(folder: Path, error: BaseException, name: str) -> TemplateFault:
    """Return an error met in a template as one line with the innermost template's place.

    Paths begin with the folder's name; `name` is the file to blame where the error tells none.
    """
    if isinstance(error, TemplateNotFound):
        return TemplateFault(
            _shown(folder, name), f"'{error.name}' does not exist; paths begin in {folder.name}/"
        )
    kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
    return TemplateFault(_fault_place(folder, error, name), f"{kind}{' '.join(str(error).split())}")


def _fault_place(folder: Path, error: BaseException, name: str) -> Place:
    if isinstance(error, TemplateSyntaxError):
        return _shown(folder, error.name or name, error.lineno)
    place = _shown(folder, name)
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(folder) and path.suffix == ".j2":
            place = _shown(folder, path.relative_to(folder), frame.lineno or 1)
    return place


def _shown(folder: Path, name: str | Path, line: int = 1) -> Place:
    return Place(Path(folder.name) / name, line)
