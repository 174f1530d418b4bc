"""By what a run is made: versions and machine, for those who want to make it again."""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rlaif.core.version import __version__

PACKAGES = (
    "torch", "transformers", "tokenizers", "peft", "trl", "accelerate", "datasets", "numpy", "scipy", "openai", "boto3",
)  # fmt: skip
"""Those that numbers may hang on."""


def environment(device: str) -> dict[str, object]:
    """
    Return what makes a run from here on.

    Args:
        device: that it computes on.

    """
    return {
        "begun": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "device": device,
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "packages": {"rlaif": __version__, **{name: found for name in PACKAGES if (found := _version(name))}},
    }


def write(path: Path, device: str) -> None:
    """Add a line to a file: one each time that a run is begun or gone on with."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(environment(device), ensure_ascii=False) + "\n")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
