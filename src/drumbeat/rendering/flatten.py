"""A template with its layout, includes and macros as ONE piece of source, so that its CSS can be inlined.

A source is read with Jinja's own lexer into pieces: HTML between the tags, and the tags. Whitespace
control (`-`, trim_blocks, lstrip_blocks) is applied by the lexer, so the flat source is compiled without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import Environment
from jinja2.exceptions import TemplateNotFound

from drumbeat.errors import DrumbeatError
from drumbeat.rendering.environment import MailEnvironment, source_text


class CannotFlattenError(DrumbeatError):
    """The template uses something that cannot be resolved before it is rendered; the text says what."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of source. `kind`: html, variable, block or raw. `words`: the tokens inside a tag."""

    kind: str
    text: str
    words: tuple[str, ...] = ()

    @property
    def statement(self) -> str:
        """Return the name of a block tag (`for`, `endif`, ...), else nothing."""
        return self.words[0] if self.kind == "block" and self.words else ""


def split(environment: Environment, source: str, name: str) -> list[Piece]:
    """Split a source into pieces. Raises TemplateSyntaxError. Comments are dropped."""
    pieces: list[Piece] = []
    inside: str | None = None
    text = ""
    words: list[str] = []
    for _, kind, value in environment.lex(source, name):
        if inside is None and kind == "data":
            pieces.append(Piece("html", value))
        elif kind in _OPEN:
            inside, text, words = kind.removesuffix("_begin"), _OPEN[kind], []
        elif inside is not None and kind == f"{inside}_end":
            if inside != "comment":
                pieces.append(Piece(inside, text + _CLOSE[inside], tuple(words)))
            inside = None
        else:
            text += value
            if kind != "whitespace":
                words.append(value)
    return pieces


_OPEN = {"block_begin": "{%", "variable_begin": "{{", "comment_begin": "", "raw_begin": "{% raw %}"}
_CLOSE = {"block": "%}", "variable": "}}", "raw": "{% endraw %}"}
_ENDS = {"block": "endblock", "macro": "endmacro", "call": "endcall", "filter": "endfilter"}


def flatten(environment: MailEnvironment, name: str) -> list[Piece]:
    """Return the template `name` as pieces without extends, block, include and from-import.

    Definitions of the child and imported macros come first: settings before the document, macros at the
    start of its body, where their HTML is legal. Raises CannotFlattenError, TemplateSyntaxError.
    """
    return _Flattener(environment).whole(name, ())


@lru_cache(maxsize=64)
def _pieces(environment: MailEnvironment, name: str) -> tuple[Piece, ...]:
    # All mails share the layout: split once per environment it costs 4 ms less a mail.
    return tuple(split(environment, source_text(environment, name), name))


class _Flattener:
    def __init__(self, environment: MailEnvironment) -> None:
        self.environment = environment
        self.settings: list[Piece] = []
        self.macros: list[Piece] = []
        self.imported: set[tuple[str, str]] = set()

    def whole(self, name: str, within: tuple[str, ...]) -> list[Piece]:
        body = self.resolve(name, within)
        if within:  # an include: its definitions belong to the document it is put into
            return body
        return [*self.settings, *(_into_body(body, self.macros) if self.macros else body)]

    def resolve(self, name: str, within: tuple[str, ...]) -> list[Piece]:
        """Replace inheritance: each block by its most derived content."""
        contents: dict[str, list[list[Piece]]] = {}
        while True:
            if name in within:
                raise CannotFlattenError(f"{name} extends or includes itself")
            within = (*within, name)
            pieces = self.source(name)
            parent = next((p for p in pieces if p.statement == "extends"), None)
            for block, content in _blocks(pieces):
                contents.setdefault(block, []).append(content)
            if parent is None:
                return self.expand(pieces, contents, (), within)
            self.keep_definitions(pieces, within)
            name = _static_name(parent)

    def source(self, name: str) -> tuple[Piece, ...]:
        try:
            return _pieces(self.environment, name)
        except TemplateNotFound:
            raise CannotFlattenError(f"{name} does not exist") from None

    def keep_definitions(self, pieces: Sequence[Piece], within: tuple[str, ...]) -> None:
        """Keep what a child defines outside its blocks: `set` and imports; anything else would do nothing."""
        position = 0
        while position < len(pieces):
            piece = pieces[position]
            end = _end(pieces, position)
            if piece.statement == "set" and "=" in piece.words:
                self.settings.append(piece)
            elif piece.statement == "macro":
                self.macros += pieces[position : end + 1]
            elif piece.statement == "from":
                self.take_macros(piece, within)
            elif piece.kind != "html" and piece.statement not in ("extends", "block"):
                raise CannotFlattenError(f"{piece.text} stands outside the blocks")
            position = end + 1

    def take_macros(self, piece: Piece, within: tuple[str, ...]) -> None:
        """Copy the macros that `from "file" import a, b` names."""
        file = _static_name(piece)
        names = [word for word in piece.words[piece.words.index("import") + 1 :] if word != ","]
        if "as" in names or "with" in names or "without" in names:
            raise CannotFlattenError(f"{piece.text} renames or passes a context")
        pieces = self.source(file)
        for position, candidate in enumerate(pieces):
            if candidate.statement == "macro" and candidate.words[1] in names:
                key = (file, candidate.words[1])
                if key not in self.imported:
                    self.imported.add(key)
                    self.macros += pieces[position : _end(pieces, position) + 1]

    def expand(
        self,
        pieces: Sequence[Piece],
        contents: dict[str, list[list[Piece]]],
        above: tuple[list[Piece], ...],
        within: tuple[str, ...],
    ) -> list[Piece]:
        """Write pieces out; `above` are the versions of the present block that super() stands for."""
        out: list[Piece] = []
        position = 0
        while position < len(pieces):
            piece = pieces[position]
            if piece.statement == "block":
                versions = contents[piece.words[1]]
                out += self.expand(versions[0], contents, tuple(versions[1:]), within)
                position = _end(pieces, position)
            elif piece.statement == "include":
                if len(piece.words) > 2:
                    raise CannotFlattenError(f"{piece.text} has options")
                out += self.whole(_static_name(piece), within)
            elif piece.statement == "from":
                self.take_macros(piece, within)
            elif piece.kind == "variable" and "".join(piece.words) == "super()":
                if not above:
                    raise CannotFlattenError("super() has nothing above it")
                out += self.expand(above[0], contents, above[1:], within)
            elif piece.kind in ("variable", "block") and {"super", "self"} & set(piece.words):
                raise CannotFlattenError(f"{piece.text} uses a block as a value")
            else:
                out.append(piece)
            position += 1
        return out


def _end(pieces: Sequence[Piece], start: int) -> int:
    """Return the position of the tag that closes the one at `start`, or `start` where nothing closes it."""
    opener = pieces[start].statement
    closer = _ENDS.get(opener)
    if closer is None:
        return start
    depth = 0
    for position in range(start, len(pieces)):
        statement = pieces[position].statement
        depth += (statement == opener) - (statement == closer)
        if depth == 0:
            return position
    raise CannotFlattenError(f"{pieces[start].text} is not closed")


def _blocks(pieces: Sequence[Piece]) -> Iterator[tuple[str, list[Piece]]]:
    for position, piece in enumerate(pieces):
        if piece.statement == "block":
            yield piece.words[1], list(pieces[position + 1 : _end(pieces, position)])


def _static_name(piece: Piece) -> str:
    word = piece.words[1] if len(piece.words) > 1 else ""
    if (
        len(word) < 2
        or word[0] not in "\"'"
        or (piece.statement in ("extends", "include") and len(piece.words) > 2)
    ):
        raise CannotFlattenError(f"{piece.text} does not name a file in plain quotes")
    return word[1:-1]


_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)


def _into_body(pieces: Sequence[Piece], macros: Sequence[Piece]) -> list[Piece]:
    for position, piece in enumerate(pieces):
        found = _BODY.search(piece.text) if piece.kind == "html" else None
        if found:
            head, tail = piece.text[: found.end()], piece.text[found.end() :]
            return [
                *pieces[:position],
                Piece("html", head),
                *macros,
                Piece("html", tail),
                *pieces[position + 1 :],
            ]
    raise CannotFlattenError("there is no <body> to put macros into")
