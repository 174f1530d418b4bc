"""Ctrl-C and SIGTERM as a wish that is granted when nothing can be lost; the second one is granted at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """
    Inside this, the first signal sets a flag; work asks for it where it can stop.

    A signal that the process was started to ignore, as a background job of a script ignores SIGINT, stays ignored.
    """

    def __init__(self) -> None:
        self.wished = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.wished = False
        if threading.current_thread() is threading.main_thread():  # Python lets no other set handlers
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
        """Raise `KeyboardInterrupt` if somebody wishes so."""
        if self.wished:
            raise KeyboardInterrupt

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True
