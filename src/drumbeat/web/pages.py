"""The few pages a reader sees, in the reader's language, without scripts or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from drumbeat.document import parse_document

Words = Mapping[str, str]

TEMPLATES = {"preferences": "preferences", "saved": "saved", "left": "saved", "subscribe": "subscribe"}
"""The template of a page that has more than words and a button: web/<name>.html.j2."""


class Pages:
    """Renders the pages named in words.yaml. `brand` is who the reader deals with, `topics` what ends."""

    def __init__(self, brand: str, default_language: str, topics: Sequence[str] = ()) -> None:
        self.brand, self.topics = brand, tuple(topics)
        self.style = _read("page.css").strip()
        self.words: Mapping[str, Mapping[str, Words]] = parse_document(
            _read("words.yaml"), Path("words.yaml")
        ).value
        self.default_language = default_language if default_language in self.words else "en"
        environment = Environment(
            autoescape=True,
            undefined=StrictUndefined,
            loader=FunctionLoader(_read),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        names = {"page", *TEMPLATES.values()}
        self._templates = {name: environment.get_template(f"{name}.html.j2") for name in names}

    def render(
        self,
        page: str,
        accept_language: str = "",
        *,
        language: str | None = None,
        words: Words | None = None,
        fill: Mapping[str, str] | None = None,
        **values: Any,
    ) -> str:
        """Return a page in the best language that the Accept-Language header asks for (RFC 9110, 12.5.4).

        `language`: the one to use, instead. `words`: others than those of words.yaml. `fill`: what stands in the
        words for {topic} and the like; `values`: what the page shows besides its words.
        """
        chosen = language or self.language(accept_language)
        words = words or self.words[chosen][page]
        if fill:
            words = {name: text.format_map(_Filled(fill)) for name, text in words.items()}
        shown = {
            "topics": self.topics if page == "unsubscribe" else (),
            "links": (),
            "notes": (),
            "small": "",
            "actions": [{"label": words["button"], "value": "1"}] if "button" in words else (),
            **values,
        }
        return self._templates[TEMPLATES.get(page, "page")].render(
            language=chosen,
            page=page,
            words=words,
            brand=self.brand,
            style=Markup(self.style),  # noqa: S704 - our own file; escaping would change the hash the CSP names
            **shown,
        )

    def language(self, accept_language: str, else_: str | None = None) -> str:
        """Return the language of a page: what the header asks for, else `else_`, else the project's."""
        best, best_weight = self.known(else_) or self.default_language, 0.0
        for part in accept_language[:200].split(","):
            tag, _, parameter = part.strip().partition(";")
            language = self.known(tag)
            try:
                weight = float(parameter.partition("=")[2]) if parameter.strip().startswith("q=") else 1.0
            except ValueError:
                continue
            if language is not None and weight > best_weight:
                best, best_weight = language, weight
        return best

    def known(self, tag: str | None) -> str | None:
        """Return the language of a tag such as `de-AT`, where there are words in it."""
        language = (tag or "").strip().lower().replace("_", "-").partition("-")[0]
        return language if language in self.words else None


class _Filled(dict[str, str]):
    """Leaves what it does not know as it stands."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def _read(name: str) -> str:
    return files("drumbeat.web").joinpath(name).read_text(encoding="utf-8")
