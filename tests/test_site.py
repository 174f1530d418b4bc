"""The documentation as a site: it builds with no warning, is complete, and works without network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import rlaif
from tests.conftest import ROOT
from tests.test_public_surface import SNAPSHOTS

API = (ROOT / "docs" / "api.md").read_text()
PAGES = (
    "index",
    "examples",
    "ppo",
    "algorithms",
    "judges",
    "prompts",
    "bench",
    "architecture",
    "contributing",
    "changelog",
    "api",
)


class Page(HTMLParser):
    """The ids of a page, where its links lead, and what a browser loads to show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.ids.add(values.get("id", ""))
        if "href" in values:
            (self.links if tag == "a" else self.loads).append(values["href"])
        if "src" in values:
            self.loads.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it, where no connection leaves this machine."""
    folder = tmp_path_factory.mktemp("site")
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **proxy}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_public_name_stands_in_the_api_page_once() -> None:
    assert sorted(re.findall(r"^::: rlaif\.(\w+)$", API, re.MULTILINE)) == sorted(rlaif.__all__)


def test_every_public_name_method_and_setting_has_an_entry(site: Path) -> None:
    entries = Page(site / "api.html").ids
    public = [f"rlaif.{name}" for name in rlaif.__all__]
    public += [f"rlaif.{cls}.{method}" for cls, method in methods() if not method.startswith("__")]
    for config in (rlaif.PPOConfig, rlaif.GroupConfig):
        public += [f"rlaif.{config.__name__}.{name}" for name in config.__dataclass_fields__]
    assert "rlaif.PPOTrainer.train" in public
    assert [name for name in public if name not in entries] == []


def methods() -> list[tuple[str, str]]:
    """The classes and methods of the snapshot of public names."""
    found, cls = [], ""
    for line in (SNAPSHOTS / "api.txt").read_text().splitlines():
        if match := re.match(r"class (\w+)", line):
            cls = match[1]
        elif match := re.match(r"  method (\w+)", line):
            found.append((cls, match[1]))
    return found


def test_a_setting_is_described_by_the_comment_of_the_run_file(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "api.html").read_text())
    field = rlaif.PPOConfig.__dataclass_fields__["kl_coef"]
    assert field.metadata["meaning"] in text
    assert re.search(rf"kl_coef: NotNegative = {field.default}\b", text)


def test_every_link_of_the_site_leads_to_a_page_and_a_heading(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert {f"{name}.html" for name in PAGES} <= {path.name for path in pages}
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            ids = pages[target].ids if target in pages else {""}
            if not target.exists() or (url.fragment and unquote(url.fragment) not in {*ids, "__skip"}):
                wrong.append(f"{path.name}: {link}")
    assert wrong == []


def test_a_page_loads_nothing_from_the_network(site: Path) -> None:
    loads = [(path.name, url) for path in site.rglob("*.html") for url in Page(path).loads]
    assert loads
    assert [(name, url) for name, url in loads if urlsplit(url).netloc] == []
    styles = {path.name: path.read_text() for path in site.rglob("*.css")}
    assert styles
    assert [name for name, style in styles.items() if re.search(r"(@import|url\()\s*[\"']?https?:", style)] == []


def test_a_link_to_a_script_leads_to_a_page_that_shows_it(site: Path) -> None:
    assert "source/performance/memory.py.html" in Page(site / "index.html").links
    shown = re.sub(r"<[^>]+>", "", (site / "source/performance/memory.py.html").read_text())
    assert "What `rlaif check` predicts of a run&#39;s peak memory" in shown.replace("'", "&#39;")
