"""Handles Ctrl-C and SIGTERM: the first one stops the work at the next safe point, the second one at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """
    A context in which the first signal sets a flag, and work calls `poll` where it can stop.

    A signal that the process ignores from its start stays ignored, such as SIGINT in a background job of a script.
    """

    def __init__(self) -> None:
        self.wished = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.wished = False
        if threading.current_thread() is threading.main_thread():  # only the main thread may set handlers
            self._before = {
                number: signal.signal(number, self._wish)
                for number in (signal.SIGINT, signal.SIGTERM)
                if signal.getsignal(number) != signal.SIG_IGN
            }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def poll(self) -> None:
        """Raise `KeyboardInterrupt` if a signal has come."""
        if self.wished:
            raise KeyboardInterrupt

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True
