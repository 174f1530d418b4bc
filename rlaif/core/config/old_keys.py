"""Old names of keys of a run file: what is in `training` was in `ppo` until 0.1.0, and may still be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from rlaif.core.config.sections import TrainingSection
from rlaif.core.errors import InputError

MOVED = tuple(field.name for field in fields(TrainingSection))
"""Keys of `training` whose old name is `ppo.KEY`."""


def rename_old_keys(keys: Any, where: str) -> tuple[Any, list[str]]:
    """
    Return the keys of a run file under their names of today, and those that had their old one, as `steps`.

    What is no mapping is left as it is, for the check of types to refuse.

    Args:
        keys: as they were read.
        where: the file, for the message.

    Raises:
        InputError: a key has both names.

    """
    ppo = keys.get("ppo") if isinstance(keys, Mapping) else None
    if not isinstance(ppo, Mapping):
        return keys, []
    if not (old := [name for name in ppo if name in MOVED]):
        return keys, []
    training = keys.get("training", {})
    if isinstance(training, Mapping):
        refuse_both(old, training, where)
        training = {**training, **{name: ppo[name] for name in old}}
    rest = {name: value for name, value in ppo.items() if name not in MOVED}
    return {**keys, "training": training, "ppo": rest}, old


def rename_old_assignment(key: str, value: Any) -> dict[str, object]:
    """Return what `--set key=value` assigns, under the names of today: `ppo={...}` may hold several old names."""
    old = names_assigned("ppo", key, value)
    if not old:
        return {key: value}
    if key != "ppo":
        return {f"training.{key.removeprefix('ppo.')}": value}
    rest = {name: inner for name, inner in value.items() if name not in MOVED}
    return {"ppo": rest, **{f"training.{name}": value[name] for name in old}}


def names_assigned(section: str, key: str, value: Any) -> list[str]:
    """Return which of the keys that moved `--set key=value` assigns in `ppo` or in `training`."""
    head, _, rest = key.partition(".")
    if head != section:
        return []
    names: Iterable[Any] = [rest.partition(".")[0]] if rest else value if isinstance(value, Mapping) else []
    return [name for name in names if name in MOVED]


def refuse_both(old: Iterable[str], new: Iterable[str], where: str) -> None:
    """Raise `InputError` where one source, a file or the command line, gives a key by both of its names."""
    there = set(new)
    if both := next((name for name in old if name in there), None):
        raise InputError(f"{where}: ppo.{both} is the old name of training.{both}, which is given too; leave it out")


def format_note(old: Mapping[str, Iterable[str]]) -> str | None:
    """
    Return the line that says which old names were read; None where there are none.

    Args:
        old: the names, as `steps`, by where they stood: a file, or `--set`.

    """
    places = [where for where, names in old.items() if list(names)]
    names = list(dict.fromkeys(name for found in old.values() for name in found))
    if not names:
        return None
    was, now = (", ".join(f"{section}.{name}" for name in names) for section in ("ppo", "training"))
    verb = "is the old name" if len(names) == 1 else "are the old names"
    return f"note: {' and '.join(places)}: {was} {verb} of {now}"
