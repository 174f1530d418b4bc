"""Reads and writes files: atomic writes, JSON lines, and error messages that say what to do."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rlaif.core.errors import InputError, RlaifError
from rlaif.core.schema import reason_of, short_repr


def write_atomically(path: Path, data: bytes | str) -> None:
    """
    Write a file atomically: a reader finds either the old content or the new one.

    Args:
        path: path of the file; its folder has to exist.
        data: content of the file; text is encoded as UTF-8, with lone surrogates escaped.

    Raises:
        RlaifError: the file cannot be written; the old content is kept.

    """
    with replace_file(path) as file:
        file.write(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """
    Yield a file that replaces `path` atomically at the end of the block. If the block raises, `path` is unchanged.

    Raises:
        RlaifError: the file cannot be written; the old content is kept.

    """
    writing = path.with_name(f".{path.name}.writing")
    try:
        try:
            with writing.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            writing.replace(path)
        except BaseException:
            writing.unlink(missing_ok=True)
            raise
        sync(path.parent)
    except OSError as error:
        raise RlaifError(
            f"{path}: cannot be written: {reason_of(error)}; the old content is kept: {what_to_do(error)}"
        ) from error


def append(path: Path, line: str) -> None:
    """Append a line to a file, or raise `RlaifError`. `cut_back` removes a line that a full disk left incomplete."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise RlaifError(f"{path}: cannot be written: {reason_of(error)}; {what_to_do(error)}") from error


class JSONLine(NamedTuple):
    """
    A line of a JSONL file that is not blank.

    Attributes:
        number: line number, from 1.
        row: the JSON object of the line as a mapping, or None if the line is invalid.
        problem: why there is no mapping: "malformed JSON: ..." or "should be a JSON object, not ...".
        raw: bytes of the line, with its newline.
        end: offset of the end of the line in the file, in bytes.

    """

    number: int
    row: dict[str, Any] | None
    problem: str
    raw: bytes
    end: int

    @property
    def is_ended(self) -> bool:
        """Whether the line ends with a newline. The last line may not if the process was killed while writing."""
        return self.raw.endswith(b"\n")


def read_jsonl(lines: Iterable[bytes]) -> Iterator[JSONLine]:
    """Parse lines of bytes, such as those of an open file, one by one. Only blank lines are skipped."""
    end = 0
    for number, raw in enumerate(lines, start=1):
        end += len(raw)
        row, problem = None, ""
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            if not text or text.isspace():
                continue
            row = json.loads(text.rstrip("\r\n"))
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 text (byte {error.start} of the line); save it as UTF-8"
        except json.JSONDecodeError as error:
            problem = f"malformed JSON: {error.msg} at character {error.colno}"
        except (ValueError, RecursionError) as error:
            problem = f"malformed JSON: {reason_of(error)}"
        else:
            if not isinstance(row, dict):
                row, problem = None, f"should be a JSON object, not {short_repr(row)}"
        yield JSONLine(number, row, problem, raw, end)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the valid rows of a JSONL file written by rlaif. Skips incomplete lines; a missing file has no rows."""
    try:
        with path.open("rb") as file:
            return [line.row for line in read_jsonl(file) if line.row is not None]
    except FileNotFoundError:
        return []


def cut_back(path: Path, step: int) -> None:
    """
    Remove the lines of a `metrics.jsonl` whose `step` is above the given one. Other lines stay the same to the byte.

    Invalid lines are removed too, such as the last line of a process that was killed while writing. A missing file is
    not an error.

    Raises:
        RlaifError: the file cannot be read or written; it is unchanged.

    """
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise RlaifError(f"{path}: cannot be read: {reason_of(error)}; {what_to_do(error)}") from error
    lines = read_jsonl(io.BytesIO(before))
    after = b"".join(line.raw.removesuffix(b"\n") + b"\n" for line in lines if _step_of(line) <= step)
    if after != before:
        write_atomically(path, after)


def _step_of(line: JSONLine) -> float:
    """Return the step of a line, or infinity if it has none."""
    step = None if line.row is None else line.row.get("step")
    return step if isinstance(step, int | float) else math.inf


def write_file(path: Path, parts: Iterable[Any]) -> dict[str, object]:
    """Write buffers and fsync the file. Return its size and its checksum, which is computed while writing."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
        return {"size": file.tell(), "sha256": digest.hexdigest()}


def sync(folder: Path) -> None:
    """Call fsync on a folder, so that the names of its files are on the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def what_to_do(error: OSError) -> str:
    """Return what to do about an error, as the end of a message."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make it readable and writable"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "move away the file that has the name of a folder"
    return "fix that"


def make_folder(folder: Path, option: str) -> None:
    """Create a folder. Raises `InputError` with the name of the option if it cannot be created or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {reason_of(error)}; name another folder by {option}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written; name another folder by {option}")


def is_taken(folder: Path) -> bool:
    """Whether a folder holds any file. Incomplete files of a killed process do not count."""
    return any(not (path.name.startswith(".") and path.name.endswith(".writing")) for path in folder.iterdir())


def finite(value: Any) -> Any:
    """Return a value with all numbers that are not finite replaced by None, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(mapping: Mapping[str, object]) -> str:
    """Return the text of a JSON file. Numbers that are not finite become null, and lone surrogates are escaped."""
    return _escape(json.dumps(finite(mapping), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def to_json_line(row: Mapping[str, object]) -> str:
    """Return a row as a line of JSON without the newline, in UTF-8 with lone surrogates escaped."""
    return _escape(json.dumps(row, ensure_ascii=False, allow_nan=False))


def _escape(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
