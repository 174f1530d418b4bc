"""State that the judges of one command share: the budget and the verdict store."""

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
    The session of a command, a run, or a Python process.

    Args:
        budget: budget of remote judges.
        fresh: do not read the verdict store, only write to it.

    """

    budget: Budget = field(default_factory=Budget)
    fresh: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def store(self) -> VerdictStore:
        """The store of verdicts that any process has paid for."""
        return VerdictStore(home() / "verdicts.sqlite")

    def read_stored(self, keys: Iterable[bytes]) -> dict[bytes, Verdict]:
        """Return the stored verdicts of these keys; none if the session is `fresh`."""
        with self._lock:
            store = self.store
        return {} if self.fresh else store.get(keys)
