"""Renders a page: one HTML file that contains its styles and scripts, and makes no network request."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any

from rlaif.report.escape import json_block, visible

HERE = Path(__file__).parent / "templates"
SCRIPTS = ("page.js", "explorer.js")

POLICY = (
    "default-src 'none'; style-src 'sha256-{style}'; script-src {scripts}; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
"""Content security policy: only our own styles and scripts, by hash; no network, frames or forms."""


def page(template: str, **values: Any) -> str:
    """
    Return a page as HTML.

    Args:
        template: file name of a template that extends `page.html`.
        values: values for the template. All texts in them are escaped, and invisible characters are written out.

    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True, loader=FileSystemLoader(HERE), undefined=StrictUndefined, finalize=finalize,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = (HERE / "page.css").read_text(encoding="utf-8")
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in SCRIPTS]
    policy = POLICY.format(style=_hash(style), scripts=" ".join(f"'sha256-{_hash(script)}'" for script in scripts))
    environment.filters["json_block"] = lambda value: Markup(json_block(value))
    ours = {"style": Markup(style), "scripts": [Markup(script) for script in scripts], "policy": Markup(policy)}
    return environment.get_template(template).render(**ours, **values)


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()
