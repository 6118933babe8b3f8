"""What Telegram takes as a message's text: its length, and the small HTML of `parse_mode: HTML`.

https://core.telegram.org/bots/api#html-style: a fixed list of tags, properly closed; every `<`, `>` and `&`
that is none of them written as an entity; of the named entities these four alone. The limit of 4096 is that of
the text without its tags (https://core.telegram.org/bots/api#sendmessage); it is counted here in UTF-16 code
units, as Telegram counts everywhere else.
"""

from __future__ import annotations

from html.parser import HTMLParser

LONGEST = 4096
"""The most UTF-16 code units of a message's text."""

TAGS = frozenset(
    "b strong i em u ins s strike del span tg-spoiler a tg-emoji code pre blockquote".split()  # noqa: SIM905
)
ENTITIES = frozenset({"lt", "gt", "amp", "quot"})


def units(text: str) -> int:
    """Return how many UTF-16 code units a text has."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def text_of(html: str) -> str:
    """Return what readers see of Telegram's HTML. Raises ValueError with what Telegram would refuse."""
    page = _Page()
    page.feed(html)
    page.close()
    if page.open:
        raise ValueError(f"<{page.open[-1]}> is not closed")
    return page.text


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            raise ValueError(f"<{tag}> is no tag that Telegram knows")
        if tag == "a" and not dict(attrs).get("href"):
            raise ValueError("<a> has no href")
        if tag == "span" and dict(attrs).get("class") != "tg-spoiler":
            raise ValueError('<span> is known only as <span class="tg-spoiler">')
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        raise ValueError(f"<{tag}/> is no tag that Telegram knows; break lines with line ends")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            expected = f"</{self.open[-1]}>" if self.open else "no end tag"
            raise ValueError(f"</{tag}> stands where {expected} is expected")
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "<" in data or "&" in data:
            raise ValueError("a bare < or & stands in the text; write &lt; and &amp;")
        self.text += data

    def handle_entityref(self, name: str) -> None:
        if name not in ENTITIES:
            raise ValueError(f"&{name}; is no entity that Telegram knows; write the character itself")
        self.text += {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}[name]

    def handle_charref(self, name: str) -> None:
        try:
            self.text += chr(int(name[1:], 16) if name[:1] in "xX" else int(name))
        except (ValueError, OverflowError):
            raise ValueError(f"&#{name}; names no character") from None

    def handle_decl(self, decl: str) -> None:
        raise ValueError(f"<!{decl[:20]}> is nothing that Telegram knows")

    def handle_comment(self, data: str) -> None:
        raise ValueError(f"<!--{data[:20].strip()}--> is nothing that Telegram knows")

    def handle_pi(self, data: str) -> None:
        raise ValueError(f"<?{data[:20]}> is nothing that Telegram knows")

    def unknown_decl(self, data: str) -> None:
        raise ValueError(f"<![{data[:20]}]> is nothing that Telegram knows")
