"""A page as a browser's form has it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """A page as a browser's form has it: what would be sent when a button is pressed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.fields: list[dict[str, str | None]] = []
        self.buttons: dict[str, dict[str, str | None]] = {}
        self.links: list[str] = []
        self.labels = 0
        self._button: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input":
            self.fields.append(given)
        elif tag == "button":
            self._button = given
        elif tag == "a":
            self.links.append(given["href"] or "")
        elif tag == "label":
            self.labels += 1

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self.buttons[data.strip()] = self._button
            self._button = None

    def values(self, button: str, **changes: Any) -> list[tuple[str, str]]:
        """Return the fields that are sent; `changes` replace all of a name: a value or a list of them."""
        sent = []
        for field in self.fields:
            name, kind = str(field.get("name")), field.get("type", "text")
            if (
                name in changes
                or "disabled" in field
                or (kind in ("radio", "checkbox") and "checked" not in field)
            ):
                continue
            sent.append((name, field.get("value") or ""))
        for name, value in changes.items():
            sent += [(name, one) for one in ([value] if isinstance(value, str) else value)]
        pressed = self.buttons[button]
        if pressed.get("name"):
            sent.append((str(pressed["name"]), str(pressed.get("value"))))
        return sent
