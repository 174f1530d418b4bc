"""Old names of keys of a run file. The keys of `training` were in `ppo` until 0.1.0; both places are accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from rlaif.core.config.sections import TrainingSection
from rlaif.core.errors import InputError

MOVED = tuple(field.name for field in fields(TrainingSection))
"""Names of the keys of `training` that may also be given as `ppo.KEY`."""


def rename_old_keys(keys: Any, where: str) -> tuple[Any, list[str]]:
    """
    Return the keys of a run file under their current names, and the keys that had their old name, such as `steps`.

    A value that is not a mapping is returned unchanged; the check of types refuses it later.

    Args:
        keys: content of the run file.
        where: name of the file, for the error message.

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
    """Return the assignments of `--set key=value` under current names. `ppo={...}` may hold several old names."""
    old = names_assigned("ppo", key, value)
    if not old:
        return {key: value}
    if key != "ppo":
        return {f"training.{key.removeprefix('ppo.')}": value}
    rest = {name: inner for name, inner in value.items() if name not in MOVED}
    return {"ppo": rest, **{f"training.{name}": value[name] for name in old}}


def names_assigned(section: str, key: str, value: Any) -> list[str]:
    """Return the moved keys that `--set key=value` assigns in a section, `ppo` or `training`."""
    head, _, rest = key.partition(".")
    if head != section:
        return []
    names: Iterable[Any] = [rest.partition(".")[0]] if rest else value if isinstance(value, Mapping) else []
    return [name for name in names if name in MOVED]


def refuse_both(old: Iterable[str], new: Iterable[str], where: str) -> None:
    """Raise `InputError` if a file or the command line gives a key under both of its names."""
    current = set(new)
    if both := next((name for name in old if name in current), None):
        raise InputError(f"{where}: ppo.{both} is the old name of training.{both}, which is given too; leave it out")


def format_note(old: Mapping[str, Iterable[str]]) -> str | None:
    """
    Return a note on the old names that were used, or None if there were none.

    Args:
        old: old names, such as `steps`, by their source: the name of a file, or `--set`.

    """
    places = [where for where, names in old.items() if list(names)]
    names = list(dict.fromkeys(name for found in old.values() for name in found))
    if not names:
        return None
    was, now = (", ".join(f"{section}.{name}" for name in names) for section in ("ppo", "training"))
    verb = "is the old name" if len(names) == 1 else "are the old names"
    return f"note: {' and '.join(places)}: {was} {verb} of {now}"
