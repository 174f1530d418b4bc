"""
What a run resumes from: tensors and facts in, a folder out, and back. It knows no model and no trainer.

A checkpoint is written beside its place, with its manifest last, and renamed into place: it is there whole or not at
all, whatever kills the process. `newest` believes no file whose checksum is not that in the manifest. One process
at a time writes into a folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from rlaif.core.errors import RlaifError
from rlaif.core.schema import reason_of, short_repr
from rlaif.core.system.files import sync, what_to_do, write_file
from rlaif.core.version import __version__
from rlaif.training.loop.checkpoint.tensors import read_tensors, to_safetensors

log = logging.getLogger("rlaif")

FORMAT = 1
"""Of the manifest; one of another number is passed over."""

MANIFEST = "checkpoint.json"

_NAME = re.compile(r"step-(\d{6}|[1-9]\d{6,})")
_HIDDEN = re.compile(rf"\.({_NAME.pattern})\.(writing|replaced|removed)")


@dataclass(frozen=True)
class TrainingState:
    """
    What a run resumes from, after `step` steps.

    Attributes:
        step: how many steps were done.
        tensors: file stem -> name -> tensor, as `{"policy": {...}, "optimizer": {...}}`.
        facts: what JSON holds without loss: text, finite numbers, booleans, None, lists, mappings with text keys.

    """

    step: int
    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    facts: Mapping[str, Any]


def save(folder: Path, state: TrainingState, *, keep: int) -> Path:
    """
    Write `folder/step-000040` and return it; then remove all but the `keep` newest whole ones up to this step.

    A checkpoint of the same step is replaced. Those of later steps, which a resume passed over, are left alone. For
    the choice of what to remove, whole is what has all its files in full length; checksums are for `newest`.

    Raises:
        RlaifError: it cannot be written, or a fact is not finite; the checkpoints that were there are untouched.
        TypeError: a tensor or a fact would not come back as it is.

    """
    if keep < 1 or state.step < 0:
        raise ValueError(f"keep={keep} and step={state.step}: at least one checkpoint is kept, and steps count from 0")
    place = folder / f"step-{state.step:06d}"
    _refuse_lossy(dict(state.facts), place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tidy(folder)
        writing = _place_before_rename(place, "writing")
        try:
            _write(writing, state)
            _move_into_place(writing, place)
        except BaseException:
            shutil.rmtree(writing, ignore_errors=True)
            raise
    except OSError as error:
        raise RlaifError(
            f"checkpoint {place}: cannot be written: {reason_of(error)}; the earlier checkpoints are kept: "
            f"{what_to_do(error)}, then go on with `--resume`"
        ) from error
    _prune(folder, state.step, keep)
    return place


def newest(folder: Path) -> tuple[TrainingState | None, tuple[str, ...]]:
    """
    Return the newest whole checkpoint, its tensors on the CPU, and a line for each broken one that was passed over.

    A folder that is a checkpoint itself is the only one to choose from. Nothing in the folder is changed. Without a
    whole checkpoint, or without a folder, there is no state.

    Raises:
        RlaifError: the folder is there and cannot be listed; to begin anew would be the wrong answer.

    """
    broken: list[str] = []
    itself = _NAME.fullmatch(folder.name) and (folder / MANIFEST).exists()
    places = [(int(folder.name.removeprefix("step-")), folder)] if itself else _list_places(folder)
    for step, place in reversed(places):
        try:
            return _read(place, step), tuple(broken)
        except _Broken as error:
            broken.append(f"checkpoint {place}: {error}; passed over")
    return None, tuple(broken)


# --- places ---------------------------------------------------------------------------------------------------


def _place_before_rename(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}.{what}")


def _list_places(folder: Path) -> list[tuple[int, Path]]:
    """List step and place of what could be checkpoints, oldest first."""
    try:
        names = {path.name for path in folder.iterdir() if path.is_dir()}
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RlaifError(f"{folder}: cannot be read: {reason_of(error)}; {what_to_do(error)}") from error
    places = {name: folder / name for name in names if _NAME.fullmatch(name)}
    for name in names:
        hidden = _HIDDEN.fullmatch(name)
        if hidden and name.endswith(".replaced"):  # killed between the two renames: it still stands in
            places.setdefault(hidden[1], folder / name)
    return sorted((int(name.removeprefix("step-")), place) for name, place in places.items())


def tidy(folder: Path) -> None:
    """Remove what killed processes left behind, and put back what one had set aside."""
    left = [(path, found) for path in folder.iterdir() if (found := _HIDDEN.fullmatch(path.name))]
    for path, _ in left:
        if path.suffix != ".replaced":
            _remove(path)
    for path, found in left:
        if path.suffix == ".replaced":
            place = folder / found[1]
            if place.exists():
                _discard(path, place)
            else:
                path.rename(place)


def _move_into_place(writing: Path, place: Path) -> None:
    """Rename; no file system replaces a folder that is not empty, so an older one is set aside until it is done."""
    old = _place_before_rename(place, "replaced")
    replaces = place.exists()
    if replaces and not place.is_dir():  # somebody else's, and not to be lost
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if replaces:
        place.rename(old)
    writing.rename(place)
    sync(place.parent)
    if replaces:
        _discard(old, place)


def _prune(folder: Path, step: int, keep: int) -> None:
    kept = 0
    for at, place in reversed(_list_places(folder)):
        if at > step:
            continue
        if kept < keep and _is_complete(place, at):
            kept += 1
        else:
            _discard(place, folder / f"step-{at:06d}")


def _discard(path: Path, place: Path) -> None:
    """Remove a checkpoint; hidden first, so that nobody sees half of it."""
    gone = _place_before_rename(place, "removed")
    try:
        path.rename(gone)
    except OSError as error:
        log.warning("%s cannot be removed: %s", path, reason_of(error))
    else:
        _remove(gone)


def _remove(path: Path) -> None:
    """Remove a folder, with a warning where that fails: an old checkpoint too many is no reason to stop a run."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        log.warning("%s cannot be removed: %s", path, reason_of(error))


# --- writing --------------------------------------------------------------------------------------------------


def _write(place: Path, state: TrainingState) -> None:
    """Write all files and, last, the manifest that vouches for them."""
    place.mkdir()
    files = {}
    for stem, tensors in state.tensors.items():
        if not re.fullmatch(r"\w[\w.-]*", stem):
            raise ValueError(f"checkpoint {place}: {stem!r} is no name of a file")
        name = f"{stem}.safetensors"
        files[name] = write_file(place / name, to_safetensors(tensors, place / name))
    content = {"format": FORMAT, "rlaif": __version__, "step": state.step, "facts": dict(state.facts), "files": files}
    text = json.dumps({**content, "sha256": _digest(content)}, indent=1)
    write_file(place / MANIFEST, [text.encode()])
    sync(place)


def _refuse_lossy(value: object, place: Path, path: str = "") -> None:
    """Refuse facts that JSON cannot hold or would change, before anything is written."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RlaifError(
            f"checkpoint {place}: the fact {path[:-1]!r} is {value}, no number to go on from; it is not written, and "
            "the earlier checkpoints are kept"
        )
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise TypeError(f"checkpoint {place}: the key {path}{short_repr(key)} of a fact is not text")
            _refuse_lossy(part, place, f"{path}{key}.")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _refuse_lossy(part, place, f"{path}{index}.")
    elif not (value is None or isinstance(value, str | bool | int | float)):
        raise TypeError(f"checkpoint {place}: the fact {path[:-1]!r} is {short_repr(value)}, which JSON would change")


# --- reading --------------------------------------------------------------------------------------------------


class _Broken(Exception):
    """Why a checkpoint is not whole."""


def _read(place: Path, step: int) -> TrainingState:
    manifest = _manifest(place, step)
    try:
        for name, entry in manifest["files"].items():
            with (place / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    raise _Broken(f"{name}: the checksum is not that in {MANIFEST}")
        tensors = {name.removesuffix(".safetensors"): read_tensors(place / name) for name in manifest["files"]}
    except (OSError, SafetensorError) as error:
        raise _Broken(f"cannot be read: {reason_of(error)}") from error
    return TrainingState(step, tensors, manifest["facts"])


def _manifest(place: Path, step: int) -> dict[str, Any]:
    """Return a manifest that is whole itself and whose files are there in full length, or raise `_Broken`."""
    try:
        content = json.loads((place / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise _Broken(f"{MANIFEST} is missing") from None
    except OSError as error:
        raise _Broken(f"{MANIFEST} cannot be read: {reason_of(error)}") from error
    except (ValueError, RecursionError):
        raise _Broken(f"{MANIFEST} is not JSON: damaged or cut") from None
    if not isinstance(content, dict):
        raise _Broken(f"{MANIFEST} is not a mapping")
    if content.get("format") != FORMAT:
        raise _Broken(f"{MANIFEST} has the format {short_repr(content.get('format'))}; this rlaif reads {FORMAT}")
    if content.pop("sha256", None) != _digest(content):
        raise _Broken(f"{MANIFEST} does not have its own checksum")
    if content["step"] != step:
        raise _Broken(f"{MANIFEST} is of step {content['step']}")
    for name, entry in content["files"].items():
        try:
            size = (place / name).stat().st_size
        except FileNotFoundError:
            raise _Broken(f"{name} is missing") from None
        except OSError as error:
            raise _Broken(f"{name} cannot be read: {reason_of(error)}") from error
        if size != entry["size"]:
            raise _Broken(f"{name} is cut" if size < entry["size"] else f"{name} is too long")
    return content


def _is_complete(place: Path, step: int) -> bool:
    try:
        _manifest(place, step)
    except _Broken:
        return False
    return True


def _digest(content: Mapping[str, object]) -> str:
    """Return the checksum of a manifest: of what it says, so that it can stand in the manifest itself."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
