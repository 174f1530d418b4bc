"""Reads rows of a file, of a hub data set or of standard input, and turns them into samples."""

from __future__ import annotations

import itertools
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.schema import reason_of, short_repr
from rlaif.core.system.hub import explain_hub_error, refuse_unreachable
from rlaif.core.types import Sample
from rlaif.data.columns import get_column, names, refuse_missing
from rlaif.data.formats import SUFFIXES, Row, format_of, is_saved_dataset, read_file, read_saved_dataset, read_stream


@dataclass(frozen=True)
class RowSource:
    """
    A source of rows, and the names of their columns.

    Args:
        name: a file, a folder of `save_to_disk`, a hub id, or `-` for standard input (JSON lines or one text per line).
        columns: new names of columns, as in `{"completion": "tweet"}`; `choices.0.text` is a nested column.
        limit: largest number of rows to read; None for all.
        split: split of a hub data set or of a folder of `save_to_disk`; by default `train`, or the only one.
        needed: columns that the judges need besides the completion.
        config: configuration of a hub data set.
        data_dir: folder inside a hub data set.
        revision: revision of the hub repository.
        line_column: name of the column if the rows are lines of text.
        stream: stream a hub data set instead of downloading it to the cache.

    """

    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    split: str | None = None
    needed: frozenset[str] = frozenset()
    config: str | None = None
    data_dir: str | None = None
    revision: str | None = None
    line_column: str = "completion"
    stream: bool = True

    @property
    def where(self) -> str:
        """Name of the source in messages."""
        return "standard input" if self.name == "-" else self.name

    @property
    def rereadable(self) -> bool:
        """Whether the rows can be read twice, because they are on disk and not in a pipe or on the network."""
        try:
            return Path(self.name).is_file() or is_saved_dataset(Path(self.name))
        except OSError:  # a name too long, a folder without permission: reported when the rows are read
            return False

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Read the rows unchanged, each with its place (`line 3`) for messages."""
        return itertools.islice(self._rows(), self.limit)

    def samples(self) -> Iterator[Sample]:
        """Read the rows as samples. The first invalid row raises `InputError` with its line."""
        return (self.sample(self.rename_columns(row, place), place) for place, row in self.rows())

    def check(self) -> int:
        """Check all rows without keeping them, and return their number. Raises `InputError` if there are none."""
        count = sum(1 for _ in self.samples())
        if not count:
            raise InputError(f"{self.where}: has no rows")
        return count

    def rename_columns(self, row: Row, place: str) -> Row:
        """Return a row with columns renamed, all at once so that two columns can be swapped."""
        for old in self.columns.values():
            refuse_missing(row, old, f"{self.where}, {place}")
        return {**row, **{new: get_column(row, old) for new, old in self.columns.items()}} if self.columns else row

    def sample(self, row: Row, place: str) -> Sample:
        """Make a sample from a row with renamed columns. Raises `InputError` if a column is missing or invalid."""
        key = next((key for key in ("completion", "text") if key in row), None)
        if key is None:
            raise InputError(
                f"{self.where}, {place}: has neither 'completion' nor 'text'; there are: {names(row)}; "
                "name the column of texts with --column completion=NAME"
            )
        for column in sorted(self.needed):
            if row.get(column) is None if column == "prompt" else column not in row:
                raise InputError(
                    f"{self.where}, {place}: the judge needs the column {column!r}; there are: {names(row)}; "
                    f"name it with --column {column}=NAME"
                )
        texts = {name: _text_of(row[name]) for name in (key, "prompt") if row.get(name) is not None or name == key}
        for name, text in texts.items():
            if text is None:
                raise InputError(
                    f"{self.where}, {place}: {name!r} should be text or a list of messages, not {short_repr(row[name])}"
                )
        others = {name: value for name, value in row.items() if name not in (key, "prompt")}
        return Sample(texts[key] or "", texts.get("prompt") or "", others)

    def _rows(self) -> Iterator[tuple[str, Row]]:
        if not self.name:
            raise InputError("the data has an empty name; name a file, a hub id, or - for standard input")
        if self.name == "-" and sys.stdin is None:
            raise InputError("standard input is closed; name a file instead of -")
        path = Path(self.name)
        try:
            if self.name != "-" and not path.exists():
                if _is_hub_id(self.name):
                    return _hub_rows(self)
                raise InputError(f"{self.name}: no such file")
            if path.is_dir():
                if is_saved_dataset(path):
                    return read_saved_dataset(path, self.split)
                raise InputError(f"{self.name}: is a folder; name a file in it ({', '.join(SUFFIXES)})")
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {reason_of(error)}") from None
        if self.split:
            raise InputError(f"{self.where}: has no splits, only hub data sets do; leave --split out")
        stdin = self.name == "-"
        return self._explain_io_errors(
            read_stream(sys.stdin.buffer, self.line_column) if stdin else read_file(path, self.line_column)
        )

    def _explain_io_errors(self, rows: Iterator[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
        try:
            yield from rows
        except (OSError, EOFError, zlib.error) as error:  # the last two: a compressed file that is damaged
            raise InputError(f"{self.where}: cannot be read: {reason_of(error)}") from None


def _text_of(value: Any) -> str | None:
    """Return the text of a string, of messages, or of `{"text": ...}` as in RealToxicityPrompts; else None."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return text_of(value)


def make_samples(texts_or_samples: Iterable[Any]) -> list[Sample]:
    """Make samples from texts, from mappings with `completion` and `prompt`, or from samples."""
    if isinstance(texts_or_samples, str | bytes | Mapping):
        raise InputError("score takes a list of texts, not a single one; put it in brackets")
    samples = []
    for i, item in enumerate(texts_or_samples):
        if isinstance(item, Sample):
            samples.append(item)
        elif isinstance(item, str):
            samples.append(Sample(item))
        elif isinstance(item, Mapping):
            samples.append(RowSource("the list").sample(dict(item), f"item {i}"))
        else:
            raise InputError(f"item {i} should be a text, a mapping or a Sample, not {short_repr(item)}")
    return samples


def _is_hub_id(name: str) -> bool:
    """Whether a name can be a hub id; `comments.json` and `data/x.tsv` are mistyped file names instead."""
    path = Path(name)
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name) or format_of(path):
        return False
    return not path.suffix or ("/" in name and not path.parent.is_dir())


def _hub_rows(source: RowSource) -> Iterator[tuple[str, Row]]:
    import datasets

    name, at = source.name, {"data_dir": source.data_dir, "revision": source.revision}
    if source.stream or not _keep_on_disk(name):
        refuse_unreachable(f"data: {name}")
    try:
        splits = datasets.get_dataset_split_names(name, source.config, **at)
        chosen = source.split or ("train" if "train" in splits else splits[0])
        if chosen not in splits:
            raise InputError(f"{name}: has no split {chosen!r}; there are: {', '.join(splits)}")
        rows = datasets.load_dataset(name, source.config, split=chosen, streaming=source.stream, **at)
        number = 0
        for columns in rows.iter(batch_size=100):
            for cells in zip(*columns.values(), strict=True):
                number += 1
                yield f"row {number} of {chosen}", dict(zip(columns, cells, strict=True))
    except InputError:
        raise
    except Exception as error:
        raise explain_hub_error(error, name, "data", "dataset") from error


def _keep_on_disk(name: str) -> bool:
    """Whether a hub data set is in the cache, so that it can be loaded without the hub."""
    import datasets

    return (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir()
