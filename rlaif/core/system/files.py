"""Files that are on the disk whole or not at all, and what to do where the disk will not have them."""

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
    Write a file whole or not at all: whoever reads it, at whatever moment, finds the old content or the new.

    Args:
        path: of the file; its folder is there.
        data: what it is to hold; text as UTF-8, lone surrogates escaped.

    Raises:
        RlaifError: it cannot be written; what was there before is kept.

    """
    with replace_file(path) as file:
        file.write(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """
    Yield a file that takes the place of `path`, whole, once the block is done.

    Raises:
        RlaifError: it cannot be written; what was there before is kept, as where the block raises.

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
            f"{path}: cannot be written: {reason_of(error)}; what was there is kept: {what_to_do(error)}"
        ) from error


def append(path: Path, line: str) -> None:
    """Write a line at the end of a file, or raise `RlaifError`; `cut_back` removes what a full disk has torn."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise RlaifError(f"{path}: cannot be written: {reason_of(error)}; {what_to_do(error)}") from error


class JSONLine(NamedTuple):
    """
    A line of a JSONL file that is not blank.

    Attributes:
        number: counted from 1.
        row: the mapping that the line holds; None where it holds none.
        problem: why there is no mapping: "malformed JSON: ..." or "should be a JSON object, not ...".
        raw: the bytes, with their end.
        end: how many bytes the file has up to here.

    """

    number: int
    row: dict[str, Any] | None
    problem: str
    raw: bytes
    end: int

    @property
    def is_ended(self) -> bool:
        """Whether it ends with a newline; the last one of a process that was killed while writing may not."""
        return self.raw.endswith(b"\n")


def read_jsonl(lines: Iterable[bytes]) -> Iterator[JSONLine]:
    """Read lines of bytes, such as an open file has, one by one; none is left out but the blank ones."""
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
    """Return the mappings of a JSONL file of ours; what a kill has torn is left out, and a missing file has none."""
    try:
        with path.open("rb") as file:
            return [line.row for line in read_jsonl(file) if line.row is not None]
    except FileNotFoundError:
        return []


def cut_back(path: Path, step: int) -> None:
    """
    Keep the lines of a `metrics.jsonl` whose `step` is not above this one, byte for byte.

    What is no line of JSON goes, as the last one of a process that was killed while writing; a missing file is fine.

    Raises:
        RlaifError: the file cannot be read or written; it is as it was.

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
    """Return the step of a line, or infinity where there is none."""
    step = None if line.row is None else line.row.get("step")
    return step if isinstance(step, int | float) else math.inf


def write_file(path: Path, parts: Iterable[Any]) -> dict[str, object]:
    """Write buffers and see them to the disk; return size and checksum, taken from memory while writing."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
        return {"size": file.tell(), "sha256": digest.hexdigest()}


def sync(folder: Path) -> None:
    """See the names in a folder to the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def what_to_do(error: OSError) -> str:
    """Say how to mend it, to end a message with."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make it readable and writable"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "move away the file that has the name of a folder"
    return "mend that"


def make_folder(folder: Path, option: str) -> None:
    """Make a folder, or raise `InputError`, which names the option, where nothing could be written after hours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {reason_of(error)}; name another folder by {option}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written; name another folder by {option}")


def is_taken(folder: Path) -> bool:
    """Whether a folder holds anything; what a killed process had only begun to write does not count."""
    return any(not (path.name.startswith(".") and path.name.endswith(".writing")) for path in folder.iterdir())


def finite(told: Any) -> Any:
    """Replace by None, at any depth, what is no finite number."""
    if isinstance(told, Mapping):
        return {str(key): finite(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [finite(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told


def to_json(told: Mapping[str, object]) -> str:
    """Return numbers as a file of JSON: what is not finite is null, lone surrogates are escaped."""
    return _escape(json.dumps(finite(told), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def to_json_line(row: Mapping[str, object]) -> str:
    """Return a row as a line of JSON, without its end: UTF-8 text as it is, lone surrogates escaped."""
    return _escape(json.dumps(row, ensure_ascii=False, allow_nan=False))


def _escape(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
