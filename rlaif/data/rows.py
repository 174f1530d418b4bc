"""Rows of a file, of a hub data set or of standard input, one at a time, and the samples that they are."""

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
    Where rows come from, and which of their columns are what.

    Args:
        name: a file, a folder of `save_to_disk`, a hub id, or `-` for standard input (JSON lines, or a text a line).
        columns: new names, `{"completion": "tweet"}`; `choices.0.text` is inside others.
        limit: read no more rows than this.
        split: of a hub data set, or of a folder of `save_to_disk`; by default `train`, or the only one.
        needed: columns that must be there beside the completion, for the judges that read them.
        config: the configuration of a hub data set.
        data_dir: a folder inside a hub data set.
        revision: of the hub's repository.
        line_column: what a line of text is called, where the rows are lines.
        stream: read a hub data set as it comes, rather than keep it on disk for the next time.

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
        """The source as messages name it."""
        return "standard input" if self.name == "-" else self.name

    @property
    def rereadable(self) -> bool:
        """Whether the rows can be read twice: on disk, not of a pipe and not of a network."""
        try:
            return Path(self.name).is_file() or is_saved_dataset(Path(self.name))
        except OSError:  # a name too long, a folder that is closed to us: told when the rows are read
            return False

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Read the rows as they are, each with its place (`line 3`), as messages name it."""
        return itertools.islice(self._rows(), self.limit)

    def samples(self) -> Iterator[Sample]:
        """Read the rows as samples; the first wrong one raises `InputError` with its line."""
        return (self.sample(self.rename_columns(row, place), place) for place, row in self.rows())

    def check(self) -> int:
        """Read all rows without keeping any, and count them."""
        count = sum(1 for _ in self.samples())
        if not count:
            raise InputError(f"{self.where}: has no rows")
        return count

    def rename_columns(self, row: Row, place: str) -> Row:
        """Return a row with the columns' new names; all at once, so that two columns can change places."""
        for old in self.columns.values():
            refuse_missing(row, old, f"{self.where}, {place}")
        return {**row, **{new: get_column(row, old) for new, old in self.columns.items()}} if self.columns else row

    def sample(self, row: Row, place: str) -> Sample:
        """Make a sample of a row whose columns have their new names, or raise `InputError`."""
        key = next((key for key in ("completion", "text") if key in row), None)
        if key is None:
            raise InputError(
                f"{self.where}, {place}: has neither 'completion' nor 'text'; there are: {names(row)}; "
                "--column completion=NAME says which one it is"
            )
        for column in sorted(self.needed):
            if row.get(column) is None if column == "prompt" else column not in row:
                raise InputError(
                    f"{self.where}, {place}: the judge needs the column {column!r}; there are: {names(row)}; "
                    f"--column {column}=NAME says which one it is"
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
            raise InputError(f"{self.where}: has no splits, only a hub data set has; leave --split out")
        stdin = self.name == "-"
        return self._explain_io_errors(
            read_stream(sys.stdin.buffer, self.line_column) if stdin else read_file(path, self.line_column)
        )

    def _explain_io_errors(self, rows: Iterator[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
        try:
            yield from rows
        except (OSError, EOFError, zlib.error) as error:  # the last two: a packed file that is cut or damaged
            raise InputError(f"{self.where}: cannot be read: {reason_of(error)}") from None


def _text_of(value: Any) -> str | None:
    """Return a text or the text of messages; also of `{"text": ...}`, the shape of RealToxicityPrompts."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return text_of(value)


def make_samples(texts_or_samples: Iterable[Any]) -> list[Sample]:
    """Make samples of texts, of mappings with `completion` and `prompt`, or of samples."""
    if isinstance(texts_or_samples, str | bytes | Mapping):
        raise InputError("score takes a list of texts, not one; put it in brackets")
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
    """Whether a name without a file can mean a hub data set; `comments.json` and `data/x.tsv` are mistyped files."""
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
    """Whether a hub data set was loaded before: then a hub that is out of reach is no hindrance."""
    import datasets

    return (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir()
