"""What tests of remote judges share: cards that ask the loopback server, and an environment that is nobody's."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path
from typing import Any

from tests import processes
from tests.conftest import ROOT
from tests.server import Server

SECRET = "sk-nobody-may-ever-read-this-0123456789"

_numbers = itertools.count()


def card_of(server: Server, adapter: str = "openai", **keys: Any) -> dict[str, Any]:
    """A card whose model no other test has: what is learned of an endpoint is remembered by its model."""
    where = {"base_url": server.openai} if adapter == "openai" else {"endpoint_url": server.url, "region": "us-east-1"}
    card = {"adapter": adapter, "model": f"us.model-{next(_numbers)}", "prompt": "judge/toxicity", "timeout": 10}
    return {**card, **where, **keys}


def environment(home: Path) -> dict[str, str]:
    """The variables of a process with this `RLAIF_HOME` and credentials of nobody."""
    return {
        "RLAIF_HOME": str(home),
        "AWS_ACCESS_KEY_ID": "AKIDNOBODY",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(home / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
    }


def started(script: str, *arguments: str, home: Path) -> Any:
    """Start a Python process that runs a script with arguments."""
    return processes.start(
        ["-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment(home), "PYTHONPATH": str(ROOT)},
    )


def ended(process: Any) -> tuple[str, str]:
    """Wait for a process that should end well, and return what it said on stdout and stderr."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out, err
