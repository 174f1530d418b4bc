"""Seeds for everything that is random, each derived from the run's seed and its purpose."""

from __future__ import annotations

from hashlib import blake2b


def seed_of(*parts: int | str) -> int:
    """Return a seed that differs wherever a part does: of a run, of a step, of a process, of a purpose."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=7).digest())
