"""`rlaif init`: the commented run file."""

from __future__ import annotations

import sys
from pathlib import Path

from rlaif.config import commented
from rlaif.errors import InputError
from rlaif.schema import reason_of, shown
from rlaif.terminal import is_stdout


def run(recipe: str | None, output: str) -> None:
    """Write the run file; one that exists is left alone, but for the one that a shell just made of our output."""
    if recipe:
        raise InputError(f"there is no recipe {shown(recipe)}; none is shipped yet: leave it out for all defaults")
    name = "run.yaml" if output == "-" else output
    text = (
        "# A run of rlaif: every key with its default. Only policy.model, data.dataset and judge have none.\n"
        f"# `rlaif check {name}` checks it.\n{commented()}"
    )
    if output == "-" or is_stdout(Path(output)):
        sys.stdout.write(text)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{output}: exists already; name another with --output") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{output}: cannot be written: {reason_of(error)}") from None
    print(f"wrote {output}; `rlaif check {output}` checks it", file=sys.stderr)  # noqa: T201
