"""MkDocs hooks: pages from the root of the repository, links between them, and where the public names are defined."""

from __future__ import annotations

import ast
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
# `keras_transfer.NAME` is resolved on first use, by a table that only a reader of the source can see.
PACKAGE = ast.parse((ROOT / "keras_transfer" / "__init__.py").read_text("utf-8"))
LAZY = next(
    node.value for node in PACKAGE.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_LAZY"
)
PLACES = {name: f"{module}.{attribute}" for name, (module, attribute) in ast.literal_eval(LAZY).items() if attribute}
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

    def place(match: re.Match[str]) -> str:
        return f"::: {PLACES.get(match[1], match[0].removeprefix('::: '))}"

    return re.sub(r"^::: keras_transfer\.(\w+)$", place, LINK.sub(rewrite, markdown), flags=re.M)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Point links in notebooks, which MkDocs does not see, at pages of the site."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    html = re.sub(r'href="([^":]*)README\.md', r'href="\1index.html', html)
    return re.sub(r'href="([^":#]+)\.(?:md|ipynb)(#[^"]*)?"', r'href="\1.html\2"', html)
