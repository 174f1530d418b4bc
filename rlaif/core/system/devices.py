"""The device of a run, and errors of one line for running out of memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rlaif.core.errors import RlaifError


@contextmanager
def memory(what: str, lower: str) -> Iterator[None]:
    """
    Raise `RlaifError` if the block runs out of memory.

    Args:
        what: what the block does, for the message, as in "generating".
        lower: which keys to lower, or what else to do, for the message.

    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise RlaifError(f"out of memory while {what}: lower {lower}") from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: on a CPU, torch says so in a plain `RuntimeError`."""
    says_so = "can't allocate memory" in str(error) or "not enough memory" in str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (isinstance(error, RuntimeError) and says_so)


def computes_on() -> torch.device:
    """Return the device type of a run: the accelerator, or the CPU if there is none or it lacks float64 (Apple)."""
    found = torch.accelerator.current_accelerator(check_available=True)
    wanted = os.environ.get("ACCELERATE_USE_CPU", "").lower() not in ("1", "true", "yes", "y", "t", "on")
    return found if found is not None and found.type != "mps" and wanted else torch.device("cpu")
