"""What to do where memory runs out, in one line instead of an allocator's page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rlaif.errors import RlaifError


@contextmanager
def memory(what: str, lower: str) -> Iterator[None]:
    """
    Make an `RlaifError` of running out of memory.

    Args:
        what: is being done.
        lower: the keys to lower, or what else to do.

    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RlaifError(f"out of memory while {what}: lower {lower}") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):  # what torch says on a CPU
            raise RlaifError(f"out of memory while {what}: lower {lower}") from error
        raise
