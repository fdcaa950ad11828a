"""HTML as its elements; what is not well-formed does not get through."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

VOID = {"meta", "link", "img", "source", "input", "br", "path", "use"}


class Page(HTMLParser):
    """The elements of a page, in order: (tag, attributes, text inside of it)."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[int] = []
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag not in VOID or self.rawdata[: self.rawdata.find(">") + 1].endswith("/>"):
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag):
        if tag in VOID and not (self.open and self.elements[self.open[-1]][0] == tag):
            return
        assert self.elements[self.open.pop()][0] == tag, f"</{tag}> closes another element"
        if tag in ("td", "th", "li", "p"):
            self.handle_data(" ")

    def handle_data(self, data):
        for k in self.open:
            self.elements[k][2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str], str]]:
        return [
            (attributes, " ".join("".join(text).split())) for name, attributes, text in self.elements if name == tag
        ]

    def section(self, name: str) -> str:
        (text,) = [text for attributes, text in self.all("section") if attributes["id"] == name]
        return text


def shown_html(thing) -> str:
    """What a cell of a notebook shows of an object, by IPython's own formatter."""
    from keras_transfer.notebook import register

    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    register(SimpleNamespace(display_formatter=formatter))
    shown, _ = formatter.format(thing, include={"text/html"})
    return shown["text/html"]
