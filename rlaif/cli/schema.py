"""`rlaif schema`: print JSON schemas, which editors use to complete and check run files and cards."""

from __future__ import annotations

import json
import sys

from rlaif.cli.output.json_schemas import json_schema


def run(kind: str) -> None:
    """Print the JSON schema of a kind of file."""
    sys.stdout.write(text_of(kind))


def text_of(kind: str) -> str:
    """Return the JSON schema of a kind of file as text."""
    return json.dumps(json_schema(kind), indent=2) + "\n"
