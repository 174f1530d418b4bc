"""`rlaif init`: write a commented run file (all keys, or a recipe) and the JSON schema that editors check it with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from rlaif.cli.schema import text_of
from rlaif.core.config import recipes
from rlaif.core.config.run import RunConfig
from rlaif.core.errors import InputError
from rlaif.core.schema import read_text, reason_of
from rlaif.core.system.terminal import is_stdout

SCHEMA = "run.schema.json"
"""Name of the schema, written beside the run file. The first line of the run file refers to it."""


def run(recipe: str | None, output: str) -> None:
    """Write a recipe or a file of all keys. An existing file is never overwritten, unless it is our standard output."""
    name = "run.yaml" if output == "-" else output
    text = (
        read_text(recipes.path_of(recipe))
        if recipe
        else "# A run of rlaif: every key with its default. Only policy.model, data.dataset and judge have none.\n"
        f"# `rlaif check {name}` checks it. `rlaif train {name}` trains.\n"
        f"{format_run_file()}"
    )
    if output == "-" or is_stdout(Path(output)):
        sys.stdout.write(text)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(f"# yaml-language-server: $schema={SCHEMA}\n{text}")
        Path(output).with_name(SCHEMA).write_text(text_of("run"), encoding="utf-8")
    except FileExistsError:
        raise InputError(f"{output}: exists already; name another with --output") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{output}: cannot be written: {reason_of(error)}") from None
    print(f"wrote {output}; `rlaif check {output}` checks it", file=sys.stderr)  # noqa: T201


def format_run_file() -> str:
    """Return the text of a run file with every key, its default and a comment that explains it."""
    return "\n".join(_lines_of(RunConfig, "")) + "\n"


def _lines_of(cls: type, indent: str) -> Iterator[str]:
    hints = get_type_hints(cls)
    for key in fields(cls):
        meaning = key.metadata["meaning"]
        if is_dataclass(section := hints[key.name]):
            yield ("" if indent else "\n") + f"{indent}{key.name}:".ljust(40) + f" # {meaning}"
            yield from _lines_of(section, indent + "  ")  # type: ignore[arg-type]
        else:
            yield f"{indent}{key.name}: {_format_yaml(_default_of(key))}".ljust(40) + f" # {meaning}"


def _default_of(key: Field[Any]) -> Any:
    if key.default is not MISSING:
        return key.default
    return key.metadata["example"] if key.default_factory is MISSING else key.default_factory()


def _format_yaml(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).strip()
    return text.removesuffix("...").strip()
