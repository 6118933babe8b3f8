"""Fixtures for rendering: the reference templates, and a way to write a template in a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drumbeat.rendering.templates import Templates

PAGE = """<!DOCTYPE html>
<html lang="{{ language }}"><head><meta charset="utf-8"><title>T</title>
<style>.a { color: red } @media (max-width: 620px) { .a { color: blue !important } }</style></head>
<body>%s<p><a href="{{ unsubscribe_url }}">Unsubscribe</a> {{ sender.postal_address }}</p></body></html>
"""
TEXT = "Hello\n{{ unsubscribe_url }}\n{{ sender.postal_address }}\n"

Write = Callable[..., Templates]


@pytest.fixture
def reference(project_root: Path) -> Templates:
    """The templates of the reference project."""
    return Templates(project_root / "templates", "en")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a template `mail`: `write(body="<p>..", sample="x: 1")`, or files by name; give the Templates."""

    def write(
        body: str | None = None,
        *,
        sample: str = "{}",
        files: dict[str, str] | None = None,
        page: str | None = None,
    ) -> Templates:
        folder = tmp_path / "templates"
        wanted = {
            "mail/subject.txt.j2": "Subject",
            "mail/body.html.j2": page if page is not None else PAGE % (body or "<p class='a'>Hi</p>"),
            "mail/body.txt.j2": TEXT,
            "mail/sample.yaml": sample,
            **(files or {}),
        }
        for name, text in wanted.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Templates(folder, "en")

    return write
