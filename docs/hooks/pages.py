"""
Pages of the site that are not in docs/, so that one text serves the code host and the site.

README.md is the front page; a Python or YAML file that a page links to gets a page that shows it. Links are written
as the code host needs them, relative to the file they stand in, and changed here to where the page is on the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
    "judges/README.md": "judges.md",
    "prompts/README.md": "prompts.md",
}
"""Files of the repository and the names of their pages."""
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")
"""A link to a file, and perhaps to a heading in it; links with a scheme have a colon."""
LANGUAGES = {".py": "python", ".yaml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    origins = [origin_of(file.src_uri) for file in files.documentation_pages()]
    for path in sorted({path for origin in origins for path in files_linked(origin, (ROOT / origin).read_text())}):
        language = LANGUAGES.get(posixpath.splitext(path)[1], "text")
        content = f"# {path}\n\n````{language}\n{(ROOT / path).read_text()}````\n"
        files.append(File.generated(config, page_of(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links of a page to where their targets are on the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def link_on_site(match: re.Match[str]) -> str:
        path = resolve(origin_of(page.file.src_uri), match[1])
        target = posixpath.relpath(page_of(path), folder or ".") if (ROOT / path).is_file() else match[1]
        return f"]({target}{match[2] or ''})"

    return LINK.sub(link_on_site, markdown)


def files_linked(origin: str, text: str) -> set[str]:
    """Return the files that a page links to and that are no pages themselves."""
    paths = {resolve(origin, match[1]) for match in LINK.finditer(text)}
    return {path for path in paths if page_of(path).startswith("source/") and (ROOT / path).is_file()}


def resolve(origin: str, link: str) -> str:
    """Return the path, from the root of the repository, that a link in a file leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def origin_of(page: str) -> str:
    """Return the file of the repository that a page of the site comes from."""
    return next((path for path, name in PAGES.items() if name == page), f"docs/{page}")


def page_of(path: str) -> str:
    """Return the page of the site that shows a file of the repository."""
    if path.startswith("docs/") and path.endswith(".md"):
        return path.removeprefix("docs/")
    return PAGES.get(path, f"source/{path}.md")
