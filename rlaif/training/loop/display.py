"""What people see of a run: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rlaif.core.records.steps import Step
from rlaif.core.system.terminal import console, duration, harmless, number

PLAIN_SECONDS = 10.0
"""Between two lines where there is no terminal."""


class View:
    """
    Shows the steps of a run on standard error.

    Args:
        steps: of the whole run.
        speaks: false on all processes but one.

    """

    def __init__(self, steps: int, *, speaks: bool = True) -> None:
        self._steps, self._speaks = steps, speaks
        self._begun_at = 0
        self._seconds: deque[float] = deque(maxlen=20)
        self._last = -PLAIN_SECONDS
        self._bar: Any = None

    def begin_at(self, step: int) -> None:
        """Count from a step that was done before."""
        self._begun_at = step

    def __enter__(self) -> Self:
        if self._speaks and sys.stderr.isatty():
            from rich import progress, table

            self._bar = progress.Progress(
                progress.BarColumn(bar_width=20),
                # A narrow terminal breaks the line: what a run costs, and how long it takes, stand at its end.
                progress.TextColumn("{task.description}", markup=False, table_column=table.Column(overflow="fold")),
                console=console(stderr=True),
            )
            self._bar.start()
            self._bar.add_task("step 0", total=self._steps, completed=self._begun_at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if not self._speaks:
            return
        if self._bar is not None:
            self._bar.console.print(harmless(line))
        else:
            print(harmless(line), file=sys.stderr, flush=True)  # noqa: T201

    def first(self, spread: str, warning: str | None) -> None:
        """Say how the rewards of the first batch are spread."""
        self.say(spread)
        if warning:
            self.say(f"warning: {warning}")

    def step(self, step: int, samples: int, seconds: float, summary: Sequence[str]) -> None:
        """
        Show a step: on a terminal each, elsewhere the first, the last, and one now and then.

        Args:
            step: counted from 1.
            samples: so far, that step included.
            seconds: that it took.
            summary: what is shown between the number of the step and the pace.

        """
        self._seconds.append(seconds)
        now, line = time.monotonic(), self._line(step, samples, summary)
        if self._bar is not None:
            self._bar.update(0, completed=step, description=harmless(line), refresh=True)
        elif now - self._last >= PLAIN_SECONDS or step == self._steps:
            self._last = now
            self.say(line)

    def _line(self, step: int, samples: int, summary: Sequence[str]) -> str:
        pace = sum(self._seconds) / len(self._seconds)
        parts = [
            f"step {step}/{self._steps}",
            *summary,
            f"{samples / step / pace:.1f} samples/s",
            f"{duration(pace * (self._steps - step))} left",
        ]
        return "  ".join(parts)


def describe_step(step: Step, spent: float) -> list[str]:
    """
    Return what a run shows of a step, in words.

    Args:
        step: its metrics.
        spent: USD of the whole run so far.

    """
    abstained = sum(judge.abstained for judge in step.judges.values())
    parts = [
        f"reward {number(step.reward_mean)}",
        *(f"{name} {number(judge.score_mean)}" for name, judge in step.judges.items()),
        f"KL {number(step.kl, 2)}",
        f"length {number(step.length_tokens, 1)}",
        f"{abstained} abstained" if abstained else "",
        f"{spent:.4f} USD" if spent else "",
    ]
    return [part for part in parts if part]
