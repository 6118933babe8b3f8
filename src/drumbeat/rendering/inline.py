"""CSS into style attributes, in the template's source, once, instead of in every mail.

css-inline costs as much as rendering (0.13 ms a mail of 10 KB, measured), so it runs when a template is
compiled. It parses HTML and would break Jinja in it (`>` in a condition becomes `&gt;`), so each tag is
replaced by a stand-in that HTML keeps in place: a comment between elements, a private character inside an
attribute's value. Afterwards the order of elements and stand-ins must be the very same: the parser moves
what stands wrongly in a table and adds a missing `<tbody>` inside a loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from html.parser import HTMLParser
from itertools import zip_longest

import css_inline

from drumbeat.rendering.flatten import CannotFlattenError, Piece

_MARK = re.compile(r"<!--drumbeat:(\d+)-->|\ue000(\d+)\ue001")
_DYNAMIC = frozenset({"class", "id", "style"})
_CHARSET = re.compile(r"<meta\s+charset=[^>]*>", re.IGNORECASE)
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)


@lru_cache(maxsize=1)
def _inliner() -> css_inline.CSSInliner:
    # Without keep_at_rules the media queries, and with them phones and dark mode, are lost.
    return css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)


def inline_html(html: str) -> str:
    """Return the document with its style sheets in style attributes; media queries stay in the head.

    The charset is put first: browsers look for it in the first 1,024 bytes only (HTML standard, 4.2.5.4),
    and css-inline puts the remaining style sheet before it.
    """
    try:
        inlined = _inliner().inline(html)
    except css_inline.InlineError as error:
        raise CannotFlattenError(f"css-inline refuses it: {error}") from None
    charset = _CHARSET.search(inlined)
    if charset is None:
        return inlined
    rest = inlined[: charset.start()] + inlined[charset.end() :]
    return re.sub(r"<head\b[^>]*>", lambda head: head.group() + charset.group(), rest, count=1)


def inline_source(pieces: Sequence[Piece]) -> str:
    """Return a flat template's source with its CSS inlined. Raises CannotFlattenError with the reason."""
    marked, tags = _mark(pieces)
    inlined = inline_html(marked)
    for before, after in zip_longest(_outline(marked), _outline(inlined)):
        if before != after:
            raise CannotFlattenError(_moved(before, after))
    return _MARK.sub(lambda mark: tags[int(mark.group(1) or mark.group(2))], inlined)


def same_page(one: str, other: str) -> bool:
    """Say whether two documents are the same but for how characters are escaped and blanks are laid out."""
    return _Page.read(one) == _Page.read(other)


def _mark(pieces: Sequence[Piece]) -> tuple[str, list[str]]:
    """Put a stand-in for each Jinja tag and return the document and the tags."""
    tags: list[str] = []
    where = _Where()
    out = []
    for piece in pieces:
        if piece.kind == "html":
            where.feed(piece.text)
            out.append(piece.text)
            continue
        state = where.state
        if state == "style":
            raise CannotFlattenError(f"{piece.text} stands inside <style>")
        if state == "tag":
            raise CannotFlattenError(f"{piece.text} stands inside a tag but in no attribute's value")
        if state == "value" and where.attribute in _DYNAMIC:
            raise CannotFlattenError(f"{piece.text} stands in a {where.attribute} attribute")
        out.append(f"<!--drumbeat:{len(tags)}-->" if state == "content" else f"\ue000{len(tags)}\ue001")
        tags.append(piece.text)
    return "".join(out), tags


class _Where:
    """Follows HTML character by character as far as needed to know what a Jinja tag stands in.

    `state`: content, tag, value (of `attribute`), comment, style, or title (any element of plain text).
    """

    def __init__(self) -> None:
        self.state = "content"
        self.attribute = ""
        self.quote = ""
        self.element = ""

    def feed(self, html: str) -> None:
        position = 0
        while position < len(html):
            position = getattr(self, f"_{self.state}")(html, position)

    def _content(self, html: str, at: int) -> int:
        found = re.compile(r"<!--|</?([A-Za-z][^\s/>]*)|<!").search(html, at)
        if not found:
            return len(html)
        self.element = (found.group(1) or "").lower() if not found.group().startswith("</") else ""
        self.state = "comment" if found.group() == "<!--" else "tag"
        return found.end()

    def _comment(self, html: str, at: int) -> int:
        end = html.find("-->", at)
        if end < 0:
            return len(html)
        self.state = "content"
        return end + 3

    def _tag(self, html: str, at: int) -> int:
        found = re.compile(r"""([^\s"'<>/=]+)\s*=\s*(["'])|>""").search(html, at)
        if not found:
            return len(html)
        if found.group() == ">":
            plain = {"style": "style", "title": "title", "textarea": "title"}
            self.state = plain.get(self.element, "content")
        else:
            self.state, self.attribute, self.quote = "value", found.group(1).lower(), found.group(2)
        return found.end()

    def _value(self, html: str, at: int) -> int:
        end = html.find(self.quote, at)
        if end < 0:
            return len(html)
        self.state = "tag"
        return end + 1

    def _style(self, html: str, at: int) -> int:
        end = html.lower().find(f"</{self.element}", at)
        if end < 0:
            return len(html)
        self.state = "content"
        return end

    _title = _style


class _Outline(HTMLParser):
    """The order of elements and stand-ins; style sheets and the charset, which move, are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.style = tag == "style"
        if tag != "style" and not (tag == "meta" and "charset" in dict(attrs)):
            self.parts.append(f"<{tag}>")
            for _, value in sorted((name, value or "") for name, value in attrs if name != "style"):
                self.marks(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag != "style" and tag not in _VOID:
            self.parts.append(f"</{tag}>")
        self.style = False

    def handle_comment(self, data: str) -> None:
        if data.startswith("drumbeat:"):
            self.parts.append(f"tag {data.removeprefix('drumbeat:')}")
        self.marks(data)

    def handle_data(self, data: str) -> None:
        self.marks(data)

    def marks(self, text: str) -> None:
        self.parts += [f"tag {number}" for number in re.findall("\ue000(\\d+)\ue001", text)]


def _outline(html: str) -> Iterator[str]:
    parser = _Outline()
    parser.feed(html)
    parser.close()
    yield from parser.parts


def _moved(before: str | None, after: str | None) -> str:
    if after == "<tbody>":
        return "a table has no <tbody>; write it out, outside of loops"
    found, written = after or "the end", before or "the end"
    return f"the HTML is not well-formed: the parser reads {found} where {written} is written"


class _Page(HTMLParser):
    """A document as a list of what it says, for comparison."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[object] = []

    @classmethod
    def read(cls, html: str) -> list[object]:
        page = cls()
        page.feed(html)
        page.close()
        joined: list[object] = []
        for part in page.said:
            if isinstance(part, str) and joined and isinstance(joined[-1], str):
                joined[-1] += part
            else:
                joined.append(part)
        texts = [" ".join(part.split()) if isinstance(part, str) else part for part in joined]
        return [part for part in texts if part != ""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.said.append((tag, sorted((name, value or "") for name, value in attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self.said.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def handle_comment(self, data: str) -> None:
        self.said.append(("comment", data))
