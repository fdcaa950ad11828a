"""The documentation site builds strictly and without a network, has every public name, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import keras_transfer as kt
from tests.conftest import ROOT

NEEDED = ("mkdocs", "material", "mkdocstrings", "mkdocs_jupyter")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the extra docs is not installed: {', '.join(MISSING)}")
# Any attempt to fetch something ends here.
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


class Targets(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        elif tag != "a":
            self.loads |= {values[key] for key in ("src", "href") if values.get(key)}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, **NO_NETWORK, "NO_MKDOCS_2_WARNING": "1", "DOCS_EXECUTE": "false"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Targets]:
    return {page: Targets(page.read_text("utf-8")) for page in site.rglob("*.html") if page.name != "404.html"}


def test_every_page_of_the_docs_is_on_the_site(site):
    for source in (ROOT / "docs").rglob("*.md"):
        page = source.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / (page.with_name("index.html") if page.stem == "README" else page)).is_file(), page
    assert all((site / f"{name}.html").is_file() for name in ("index", "contributing", "security", "changelog"))


def test_links_lead_somewhere(pages):
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{page.name} links to {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{page.name} links to {link}"


def test_nothing_is_loaded_from_another_host(pages):
    for page, found in pages.items():
        assert [link for link in found.loads if re.match(r"(https?:)?//", link)] == [], page.name


def test_the_api_page_has_every_public_name(site):
    anchors = Targets((site / "api.html").read_text("utf-8")).anchors
    last = {anchor.rsplit(".", 1)[-1] for anchor in anchors if anchor.startswith("keras_transfer.")}
    functions = {name for name in kt.data.__all__ if name.islower()}
    assert (set(kt.__all__) - {"data", "__version__"}) | functions <= last
