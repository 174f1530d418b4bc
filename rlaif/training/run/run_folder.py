"""The folder of a run: whose it is, and whether a run may go on in it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import yaml

from rlaif.core.config.run import RunConfig, read_run
from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.core.system.files import is_taken

MAY_CHANGE = ("training.steps", "training.judge_patience", "stop", "checkpoints", "budget", "trackers", "output")
"""What a resumed run may have otherwise: nothing that has acted on the steps before."""


def format_yaml(config: RunConfig) -> str:
    """Return a run file of all keys as they are: what `--resume` compares with."""
    return yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True, default_flow_style=None)


def refuse_taken(output: Path) -> None:
    """Raise `InputError` where the folder of a new run cannot be made, or is somebody else's."""
    nearest = next(path for path in (output, *output.absolute().parents) if path.exists())
    if nearest != output and not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise InputError(f"{output}: cannot be made in {nearest}; name another folder by --output")
    if output.exists() and (not output.is_dir() or is_taken(output)):
        raise InputError(f"{output}: is there already; go on with its run by --resume, or name another by --output")


def refuse_other_run(config: RunConfig, output: Path) -> None:
    """Raise `InputError` where the folder holds no run to go on with, or one with other settings."""
    there = output / "run.yaml"
    if not there.exists():
        raise InputError(f"{output}: holds no run to go on with (no run.yaml); leave --resume out to begin one")
    before = _flat(asdict(read_run(there)))
    now = _flat(asdict(config))
    for key in now | before:  # one without `lora` has no policy.lora.r, which the other one may have
        theirs, mine = before.get(key), now.get(key)
        if mine != theirs and not any(key == word or key.startswith(f"{word}.") for word in MAY_CHANGE):
            raise InputError(
                f"{output}: its run has {key}: {short_repr(theirs)}, not {short_repr(mine)}; "
                "go on with the same, or name another folder by --output"
            )


def _flat(keys: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in keys.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
