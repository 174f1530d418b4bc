"""Prints the forecast of a run for `rlaif check RUN.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch

from rlaif.core.config.run import RunConfig
from rlaif.core.config.sections import BudgetSection
from rlaif.core.system.terminal import duration, harmless, print_table
from rlaif.core.types import Estimate
from rlaif.data.prompts import Parts
from rlaif.training.run.forecast.calls import JudgeUse
from rlaif.training.run.forecast.memory import MemoryEstimate
from rlaif.training.run.forecast.pace import TimedStep


def gib(count: int) -> str:
    """Format a number of bytes in GiB."""
    return f"{count / 2**30:.1f}" if count >= 2**30 else f"{count / 2**30:.2f}"


def say(line: str = "") -> None:
    """Print a line of the findings."""
    print(harmless(line))  # noqa: T201


def print_warnings(lines: Sequence[str]) -> None:
    """Print warnings after an empty line."""
    if lines:
        say()
    for line in lines:
        say(line)


def print_parts(parts: Parts) -> None:
    """Print the number of prompts of each part and their length in tokens."""
    rows = []
    for name, prompts in (("train", parts.train), ("guard", parts.guard), ("test", parts.test)):
        if prompts:
            lengths = [len(prompt.ids) for prompt in prompts]
            rows.append((name, str(len(prompts)), f"{fmean(lengths):.1f}", str(max(lengths))))
    say()
    print_table(("prompts", "count", "tokens, mean", "longest"), rows)


def print_calls(remote: Sequence[tuple[JudgeUse, Estimate]], budget: BudgetSection) -> None:
    """Print the cost of remote judges by judge and purpose, and warn if the budget is too small."""
    together = sum((estimate for _, estimate in remote), Estimate())
    rows: list[tuple[str, ...]] = [(use.judge.name, use.purpose, *_cells(estimate)) for use, estimate in remote]
    if len(rows) > 1:
        rows.append(("together", "", *_cells(together)))
    say()
    print_table(("judge", "for", "calls ≤", "tokens in ~", "tokens out ≤", "USD ≤"), rows)
    if budget.calls is not None and together.calls > budget.calls:
        say(f"warning: budget.calls: {budget.calls} may not last: the run takes up to {together.calls} calls")
    if budget.usd is not None and together.usd is not None and together.usd > budget.usd:
        say(f"warning: budget.usd: {budget.usd:g} USD may not last: the run takes up to {together.usd:.2f} USD")


def _cells(estimate: Estimate) -> tuple[str, str, str, str]:
    usd = "unknown" if estimate.usd is None else f"{estimate.usd:.2f}"
    return str(estimate.calls), str(estimate.input_tokens), str(estimate.output_tokens), usd


def print_memory(memory: MemoryEstimate, available: int, device: torch.device) -> None:
    """
    Print the peak memory and its parts.

    Args:
        memory: the estimate.
        available: free memory of the device, in bytes.
        device: where the policy is trained.

    """
    parts = {
        "weights": memory.weights,
        "Adam": memory.adam,
        "reference": memory.reference,
        "judges": memory.judges,
        memory.phase: memory.busy[memory.phase],
        "Python and libraries" if device.type == "cpu" else "driver": memory.process,
    }
    unmeasured = "" if device.type == "cpu" else f", on {device.type}, where this estimate has not been measured"
    free = f"{gib(available)} GiB are free{unmeasured}"
    say()
    say(f"memory: about {gib(memory.total)} GiB at its peak, {memory.phase}; {free}")
    say(", ".join(f"{name} {gib(count)}" for name, count in parts.items() if gib(count) != "0.00"))


def print_time(config: RunConfig, step: TimedStep, waiting: float, parts: Mapping[str, float], *, spends: bool) -> None:
    """
    Print the time of a step and of the whole run.

    Args:
        config: the run file.
        step: times of the step that was measured.
        waiting: time that the training judge takes per step, in seconds.
        parts: time of each part of the run, in seconds.
        spends: whether the training judge costs money, so that it was not asked in the measured step.

    """
    whole = step.acting + waiting + step.learning
    judged = f"{waiting:.2f} waiting for the judge (estimated from its probe)" if spends else f"{waiting:.2f} judging"
    say()
    say(
        f"a step: about {whole:.2f} s: {step.acting:.2f} acting, {judged}, {step.learning:.2f} learning "
        f"(measured on one step of {config.training.batch_size} completions, then thrown away)"
    )
    shares = ", ".join(f"{purpose} {duration(seconds)}" for purpose, seconds in parts.items() if seconds)
    say(f"the run: about {duration(sum(parts.values()))}: {shares}")
