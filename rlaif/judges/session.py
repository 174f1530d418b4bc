"""What the judges of one command share: a budget, the verdict store, and whether it is read."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from rlaif.core.system.home import home
from rlaif.judges.remote.limits import Budget
from rlaif.judges.remote.store import Verdict, VerdictStore


@dataclass
class Session:
    """
    One command, run, or Python process.

    Args:
        budget: what remote judges may spend.
        fresh: do not read the store; what arrives is written all the same.

    """

    budget: Budget = field(default_factory=Budget)
    fresh: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def store(self) -> VerdictStore:
        """The verdicts that were paid before, by whichever process."""
        return VerdictStore(home() / "verdicts.sqlite")

    def read_stored(self, keys: Iterable[bytes]) -> dict[bytes, Verdict]:
        """Return the stored verdicts of these keys."""
        with self._lock:
            store = self.store
        return {} if self.fresh else store.get(keys)
