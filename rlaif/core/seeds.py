"""Seeds for everything that is random, each derived from the run's seed and its purpose."""

from __future__ import annotations

from hashlib import blake2b


def seed_of(*parts: int | str) -> int:
    """Derive a seed from parts, such as the seed of the run, the step, the rank and a purpose."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=7).digest())
