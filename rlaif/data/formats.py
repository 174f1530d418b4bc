"""Reads rows of files by format: JSON lines, JSON, tables, text, and folders of `Dataset.save_to_disk`."""

from __future__ import annotations

import codecs
import csv
import gzip
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of, short_repr
from rlaif.core.system.files import read_jsonl

Row = dict[str, object]
Rows = Iterator[tuple[str, Row]]
"""Rows with their places (`line 3`), for messages."""

SUFFIXES = (".jsonl", ".csv", ".parquet", ".txt", ".json", ".tsv")
"""Suffixes of files that can be read; all but parquet also with `.gz` appended."""
_ALIASES = {".ndjson": ".jsonl", ".text": ".txt"}
_CONVERSIONS = {
    ".xlsx": "pandas.read_excel({path!r}).to_csv('data.csv', index=False)",
    ".xls": "pandas.read_excel({path!r}).to_csv('data.csv', index=False)",
    ".feather": "pandas.read_feather({path!r}).to_parquet('data.parquet')",
    ".arrow": "datasets.Dataset.from_file({path!r}).to_parquet('data.parquet')",
}
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".tar")


def format_of(path: Path) -> str:
    """Return the suffix of a file's format, without `.gz`, or "" if the format is not known."""
    name = path.name.lower()
    is_packed = name.endswith(".gz")
    suffix = Path(name.removesuffix(".gz")).suffix
    suffix = _ALIASES.get(suffix, suffix)
    return suffix if suffix in SUFFIXES and not (is_packed and suffix == ".parquet") else ""


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder was written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk` of `datasets`."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def read_file(path: Path, line_column: str) -> Rows:
    """
    Read the rows of a file. Raises `InputError` if it cannot be read.

    Args:
        path: a file of one of `SUFFIXES`, or a pipe with JSON lines or plain text.
        line_column: name of the column for the lines of a text file.

    """
    suffix, where = format_of(path), str(path)
    if not suffix and path.is_file():
        raise InputError(f"{path}: {_how_to_convert(path)}")
    if suffix == ".parquet":
        yield from _read_parquet(path)
        return
    with _open(path) as file:
        if suffix in (".csv", ".tsv"):
            yield from _read_table(file, where, "\t" if suffix == ".tsv" else ",")
        elif suffix == ".txt":
            yield from _read_lines(decode_lines(file, where), line_column)
        elif suffix == ".jsonl":
            yield from _read_json_lines(file, where)
        elif suffix == ".json":
            yield from _read_json(file, where)
        else:  # a pipe has no suffix
            yield from read_stream(file, line_column, where)


def read_stream(stream: Iterable[bytes], line_column: str, where: str = "standard input") -> Rows:
    """Read a stream: JSON lines if the first line that is not blank begins with a brace, else one text per line."""
    stream, head = iter(stream), []
    for line in stream:
        head.append(line)
        if line.strip():
            break
    lines = itertools.chain(head, stream)
    is_json = bool(head) and head[-1].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    yield from _read_json_lines(lines, where) if is_json else _read_lines(decode_lines(lines, where), line_column)


def read_saved_dataset(folder: Path, split: str | None) -> Rows:
    """Read a folder written by `save_to_disk`. `split` is required if it holds several splits."""
    import datasets
    import pyarrow

    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise InputError(f"{folder}: is not a data set that can be read: {reason_of(error)}") from None
    if isinstance(saved, datasets.DatasetDict):
        chosen = split or ("train" if "train" in saved or len(saved) != 1 else next(iter(saved)))
        if chosen not in saved:
            raise InputError(f"{folder}: has no split {chosen!r}; there are: {', '.join(saved) or 'none'}")
        saved = saved[chosen]
    elif split:
        raise InputError(f"{folder}: is one data set, which has no split {split!r}; leave the split out")
    for number, row in enumerate(saved, start=1):
        yield f"row {number}", row


def decode_lines(stream: Iterable[bytes], where: str) -> Iterator[tuple[int, str]]:
    """Decode lines, split at newlines only: a JSON text may contain other line separators of Unicode."""
    for number, line in enumerate(stream, start=1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where}, line {number}: not UTF-8 text (byte {error.start} of the line); save it as UTF-8"
            ) from None


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _how_to_convert(path: Path) -> str:
    suffix = path.suffix.lower()
    allowed = f"should be one of {', '.join(SUFFIXES)}"
    if suffix in _PACKED:
        return f"{allowed}; unpack it first"
    if suffix in _CONVERSIONS:
        return f"{allowed}; to convert it: {_CONVERSIONS[suffix].format(path=str(path))}"
    return allowed


def _read_json_lines(lines: Iterable[bytes], where: str) -> Rows:
    for line in read_jsonl(lines):
        if line.row is None:
            raise InputError(f"{where}, line {line.number}: {line.problem}")
        yield f"line {line.number}", line.row


def _read_json(file: BinaryIO, where: str) -> Rows:
    """Read a list of objects, or JSON lines, which many `.json` files hold."""
    data = file.read()
    if data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{" and _is_object(data.split(b"\n", 1)[0]):
        yield from _read_json_lines(data.splitlines(keepends=True), where)
        return
    try:
        rows = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}, line {error.lineno}: malformed JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: malformed JSON: {reason_of(error)}") from None
    if not isinstance(rows, list):
        inside = [key for key, value in rows.items() if isinstance(value, list)] if isinstance(rows, Mapping) else []
        hint = f"; to convert it: jq -c '.[{json.dumps(inside[0])}][]' {where} > data.jsonl" if inside else ""
        raise InputError(f"{where}: should hold a list of JSON objects, or one object per line{hint}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"{where}, item {number}: should be a JSON object, not {short_repr(row)}")
        yield f"item {number}", row


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_lines(lines: Iterator[tuple[int, str]], column: str) -> Rows:
    for number, line in lines:
        yield f"line {number}", {column: line.removesuffix("\n").removesuffix("\r")}


def _read_table(stream: Iterable[bytes], where: str, delimiter: str) -> Rows:
    """Read CSV or TSV. Columns without a name, which spreadsheets may add, are left out."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((text for _, text in decode_lines(stream, where)), strict=True, delimiter=delimiter)
    last = 0  # last line of the previous row; a row may span several lines
    try:
        header = next(filter(None, reader), [])
        if twice := [name for name, count in Counter(header).items() if count > 1 and name.strip()]:
            raise InputError(f"{where}, line {reader.line_num}: the column {short_repr(twice[0])} appears twice")
        named = [i for i, name in enumerate(header) if name.strip()]
        if header and not named:
            raise InputError(f"{where}, line {reader.line_num}: should name the columns, and all names are blank")
        last = reader.line_num
        for cells in reader:
            place, last = f"line {last + 1}", reader.line_num
            if cells and len(cells) != len(header):
                raise InputError(f"{where}, {place}: has {len(cells)} cells, and the header {len(header)}")
            if cells:
                yield place, {header[i]: cells[i] for i in named}
    except csv.Error as error:
        raise InputError(f"{where}, line {last + 1}: malformed CSV: {error}") from None


def _read_parquet(path: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # the last two: a date out of Python's range
        raise InputError(f"{path}: not a parquet file that can be read: {reason_of(error)}") from None
