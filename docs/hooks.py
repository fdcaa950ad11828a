"""MkDocs hooks: the README and its neighbours become pages, and links to files outside the site become plain text."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Kept at the root of the repository, where code hosts look for them.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from the root of the repository."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links, which are relative to a file in the repository, at pages of the site."""
    uri = page.file.src_uri
    source = next((source for source, target in PAGES.items() if target == uri), f"docs/{uri}")

    def rewrite(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        inside = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if inside is None:
            return text  # a source file: it has no page
        return f"[{text}]({posixpath.relpath(inside, posixpath.dirname(uri) or '.')}{anchor or ''})"

    return LINK.sub(rewrite, markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Point links in notebooks, which MkDocs does not see, at pages of the site."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    html = re.sub(r'href="([^":]*)README\.md', r'href="\1index.html', html)
    return re.sub(r'href="([^":#]+)\.(?:md|ipynb)(#[^"]*)?"', r'href="\1.html\2"', html)
