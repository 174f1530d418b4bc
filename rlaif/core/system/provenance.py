"""Records the versions and the machine of a run, so that it can be reproduced."""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rlaif.core.system.files import append
from rlaif.core.version import __version__

PACKAGES = (
    "torch", "transformers", "tokenizers", "peft", "trl", "accelerate", "datasets", "numpy", "scipy", "openai", "boto3",
)  # fmt: skip
"""Packages whose version may affect the numbers."""


def environment(device: str) -> dict[str, object]:
    """
    Return the time, the machine and the versions of a run that starts now.

    Args:
        device: device that the run computes on.

    """
    return {
        "begun": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "device": device,
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "packages": {"rlaif": __version__, **{name: found for name in PACKAGES if (found := _version(name))}},
    }


def write(path: Path, device: str) -> None:
    """Append a line to a file. It has one line for each time that the run was started or resumed."""
    append(path, json.dumps(environment(device), ensure_ascii=False))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
