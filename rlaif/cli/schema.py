"""`rlaif schema`: JSON schemas, by which editors complete and check what people write."""

from __future__ import annotations

import json
import sys

from rlaif.cli.output.json_schemas import json_schema


def run(kind: str) -> None:
    """Print the schema of a kind of file."""
    sys.stdout.write(text_of(kind))


def text_of(kind: str) -> str:
    """Return a schema as a file holds it."""
    return json.dumps(json_schema(kind), indent=2) + "\n"
