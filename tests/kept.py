"""
Results that are committed, and what a test has found beside them.

`RENEW=1 make test` writes them anew, on purpose: read the difference before it is committed.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

TOLERANCE = 1024 * sys.float_info.epsilon
"""
How far a float may be off, as a share of it, or of 1 where it is smaller.

A sum of n terms in float64 is off by at most n epsilons of the sum of their sizes, in whatever order a processor adds
them. No number here is of more than some hundreds of terms, each about 1 or below.
"""


def check_json(path: Path, found: Any) -> None:
    """Assert that what was found is what the file holds: all to the letter, floats within the tolerance."""
    if os.environ.get("RENEW"):
        text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
        _write(path, text.encode(errors="backslashreplace").decode() + "\n")
    differences = list(_differences(json.loads(path.read_text(encoding="utf-8")), found, ""))
    assert not differences, f"{path.name}: " + "; ".join(differences[:5])


def check_text(path: Path, found: str) -> None:
    """Assert that a text is what the file holds."""
    if os.environ.get("RENEW"):
        _write(path, found)
    assert found == path.read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _differences(kept: Any, found: Any, at: str) -> Any:
    if isinstance(kept, dict) and isinstance(found, dict):
        if list(kept) != list(found):
            yield f"{at}: the keys {list(found)} instead of {list(kept)}"
        for key in kept.keys() & found.keys():
            yield from _differences(kept[key], found[key], f"{at}.{key}")
    elif isinstance(kept, list) and isinstance(found, list):
        if len(kept) != len(found):
            yield f"{at}: {len(found)} items instead of {len(kept)}"
        for i, (a, b) in enumerate(zip(kept, found, strict=False)):
            yield from _differences(a, b, f"{at}[{i}]")
    elif type(kept) is float and type(found) is float:
        if not math.isclose(kept, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{at}: {found!r} instead of {kept!r}"
    elif type(kept) is not type(found) or kept != found:
        yield f"{at}: {found!r} instead of {kept!r}"
