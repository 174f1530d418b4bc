"""Finds the source of a run's prompts: a file, a file of a folder, or a split of a hub data set."""

from __future__ import annotations

from pathlib import Path

from rlaif.core.config.sections import DataSection
from rlaif.core.errors import InputError
from rlaif.core.paths import exists, resolve_path
from rlaif.data.formats import SUFFIXES, format_of, is_saved_dataset
from rlaif.data.rows import RowSource

_DEFAULT_SPLIT = DataSection.__dataclass_fields__["split"].default


def source_of(data: DataSection, split: str, *, test: bool = False) -> RowSource:
    """
    Find a split of the data set. Nothing is read yet.

    Args:
        data: the section `data` of the run file.
        split: a split, or a file name: in the folder of the data set, beside its file, or in the working directory.
        test: whether the split is `data.test_split`.

    Raises:
        InputError: there is no such file or split, or a key does not apply to the data set.

    """
    key = "data.test_split" if test else "data.split"
    if not data.dataset:
        raise InputError("data.dataset: is empty; name a file, a folder or a hub id")
    if data.dataset == "-":
        raise InputError("data.dataset: prompts are read again when a run resumes; name a file, not standard input")
    path = resolve_path(data.dataset, Path())
    if exists(path, "folder"):
        _refuse_hub_keys(data, "a folder", ("name", "revision"))
        if not exists(folder := path / (data.data_dir or ""), "folder"):
            raise InputError(f"data.data_dir: there is no folder {folder}")
        if is_saved_dataset(folder):
            return _split_of_saved(folder, data, split, key)
        return _file(_find_named(split, folder) or _file_of_split(folder, split, key), data)
    if exists(path, "file"):
        _refuse_hub_keys(data, "a file", ("name", "revision", "data_dir"))
        if not test and split in (_DEFAULT_SPLIT, path.name):
            return _file(path, data)
        if test and (found := _find_named(split, path.parent)):
            return _file(found, data)
        wanted = "name another file, as in test.jsonl" if test else "leave it out"
        raise InputError(f"{key}: {split!r} is no file, and {path} is a file, which has no splits; {wanted}")
    if test and format_of(Path(split)) and (found := _find_named(split, Path())):
        return _file(found, data)
    return RowSource(
        data.dataset if not data.dataset.startswith("~") else str(path),
        limit=data.limit,
        split=split,
        config=data.name,
        data_dir=data.data_dir,
        revision=data.revision,
        line_column="prompt",
        stream=data.limit is not None,  # do not download a large data set for a few rows
    )


def _file(path: Path, data: DataSection) -> RowSource:
    return RowSource(str(path), limit=data.limit, line_column="prompt")


def _split_of_saved(folder: Path, data: DataSection, split: str, key: str) -> RowSource:
    """Return a split of a folder of `save_to_disk`. A folder with a single data set has only the default split."""
    if (folder / "dataset_dict.json").is_file():
        return RowSource(str(folder), limit=data.limit, split=split)
    if split == _DEFAULT_SPLIT and key == "data.split":
        return RowSource(str(folder), limit=data.limit)
    raise InputError(f"{key}: {folder} is one data set, without a split {split!r}; name a file, or leave it out")


def _file_of_split(folder: Path, split: str, key: str) -> Path:
    """Find the file of a split, such as `train.jsonl` or `train.csv` for `train`."""
    there = sorted(path for path in folder.iterdir() if format_of(path))
    found = [path for path in there if Path(path.name.removesuffix(".gz")).stem == split]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{key}: {folder} holds {' and '.join(path.name for path in found)}; name one of them")
    wanted = split if format_of(Path(split)) else f"{split}.jsonl (or {', '.join(SUFFIXES[1:])})"
    names = ", ".join(path.name for path in there[:20]) or "no such files"
    raise InputError(f"{key}: {folder} has no {wanted}; there are: {names}")


def _find_named(name: str, folder: Path) -> Path | None:
    """Find a file by name, in a folder or else in the working directory; None for a name without a known suffix."""
    if not format_of(Path(name)):
        return None
    return next(
        (path for path in (resolve_path(name, folder), resolve_path(name, Path())) if exists(path, "file")), None
    )


def _refuse_hub_keys(data: DataSection, kind: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        if getattr(data, key) is not None:
            raise InputError(f"data.{key}: {data.dataset} is {kind}, which has none; leave it out")
