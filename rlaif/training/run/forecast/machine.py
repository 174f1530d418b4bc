"""What this machine has: the memory that is free, and what this process and its libraries take of it."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import torch

GIB = 2**30
CONTEXT = GIB // 2
"""What CUDA takes of a device before anything is put there; of a size that its version and the device decide."""
LATER = 75 * 2**20
"""What libraries bring into a process when they first work: model code, kernels' buffers, scipy (Linux, x86-64)."""
HEAP = 192 * 2**20
"""
How much larger than what lives in it glibc's heap gets at most: as large again, measured, up to about this.

Blocks of up to 32 MiB lie in it once such a one was freed, in the gaps that others have left. With a fixed
MALLOC_MMAP_THRESHOLD_ a process takes what is alive, to the MiB.
"""


def free(device: torch.device) -> int:
    """Return the bytes that are free: of a device, or of the host, within what a container may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return int(psutil.virtual_memory().available)
    return min(int(psutil.virtual_memory().available), _free_in_container())


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def _free_in_container() -> int:
    """Return what the process's control group leaves, where it has a limit; files in its cache are as good as free."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # no such file, or `max`
        return 2**63
    return max(0, limit - used + (int(cached[1]) if cached else 0))
