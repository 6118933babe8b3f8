"""The few pages a reader sees, in the reader's language, without scripts or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from drumbeat.document import parse_document


class Pages:
    """Renders the pages named in words.yaml. `brand` is who the reader deals with, `topics` what ends."""

    def __init__(self, brand: str, default_language: str, topics: Sequence[str] = ()) -> None:
        here = files("drumbeat.web")
        self.brand, self.topics = brand, tuple(topics)
        self.style = here.joinpath("page.css").read_text(encoding="utf-8").strip()
        self.words: Mapping[str, Mapping[str, Mapping[str, str]]] = parse_document(
            here.joinpath("words.yaml").read_text(encoding="utf-8"), Path("words.yaml")
        ).value
        self.default_language = default_language if default_language in self.words else "en"
        environment = Environment(autoescape=True, undefined=StrictUndefined)
        self._template = environment.from_string(here.joinpath("page.html.j2").read_text(encoding="utf-8"))

    def render(self, page: str, accept_language: str = "") -> str:
        """Return a page in the best language that the Accept-Language header asks for (RFC 9110, 12.5.4)."""
        language = self._language(accept_language)
        words = {"button": "", **self.words[language][page]}
        return self._template.render(
            language=language,
            words=words,
            brand=self.brand,
            topics=self.topics if words["button"] else (),
            style=Markup(self.style),  # noqa: S704 - our own file; escaping would change the hash the CSP names
        )

    def _language(self, accept_language: str) -> str:
        best, best_weight = self.default_language, 0.0
        for part in accept_language[:200].split(","):
            tag, _, parameter = part.strip().partition(";")
            language = tag.strip().lower().partition("-")[0]
            try:
                weight = float(parameter.partition("=")[2]) if parameter.strip().startswith("q=") else 1.0
            except ValueError:
                continue
            if language in self.words and weight > best_weight:
                best, best_weight = language, weight
        return best
