"""The documentation as a site: it builds strictly, every link and anchor leads somewhere, and nothing comes from another host."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs", reason="pip install 'dynaip[docs]'")
pytest.importorskip("material", reason="pip install 'dynaip[docs]'")
pytest.importorskip("mkdocstrings", reason="pip install 'dynaip[docs]'")
pytest.importorskip("nbconvert", reason="pip install 'dynaip[docs]'")

ROOT = Path(__file__).parents[1]
FETCHED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """Links, anchors, and what a browser fetches by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of one tag."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.fetched += [
            given[name] for kind, name in FETCHED if kind == tag and name in given and given.get("rel") != "canonical"
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as written: nothing is run."""
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "DYNAIP_DOCS_RUN": ""}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of the site by its file."""
    return {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_link_and_anchor_leads_somewhere(pages: dict[Path, Page], site: Path) -> None:
    broken: list[str] = []
    for path, page in pages.items():
        for link in page.links if path.name != "404.html" else []:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            fragment = unquote(parts.fragment)
            if not target.exists() or (fragment and target in pages and fragment not in pages[target].anchors):
                broken.append(f"{path.relative_to(site.resolve())}: {link}")
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert not broken, broken[:20]


def test_nothing_is_fetched_from_another_host(pages: dict[Path, Page]) -> None:
    foreign = {
        link
        for page in pages.values()
        for link in page.fetched
        if urlsplit(link).scheme in ("http", "https") or link.startswith("//")
    }
    assert not foreign


def test_marks_are_no_part_of_what_is_read(site: Path) -> None:
    text = (site / "tutorials" / "first-picture.html").read_text(encoding="utf-8")
    assert "shows:" not in text
    assert "The first picture" in text
