"""Files that are on the disk whole or not at all, and what to do where the disk will not have them."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlaif.errors import RlaifError
from rlaif.schema import reason_of


def write_atomically(path: Path, data: bytes | str) -> None:
    """
    Write a file whole or not at all: whoever reads it, at whatever moment, finds the old content or the new.

    Raises:
        RlaifError: it cannot be written; what was there before is kept.

    """
    writing = path.with_name(f".{path.name}.writing")
    try:
        try:
            write_file(writing, [data.encode() if isinstance(data, str) else data])
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
    after = b"".join(line + b"\n" for line in before.split(b"\n") if _step_of(line) <= step)
    if after != before:
        write_atomically(path, after)


def _step_of(line: bytes) -> float:
    """Return the step of a line, or infinity where there is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return math.inf
    step = row.get("step") if isinstance(row, dict) else None
    return step if isinstance(step, int | float) else math.inf


def write_file(path: Path, parts: Iterable[Any]) -> dict[str, Any]:
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
