"""A measurement in words and as a table: true to the numbers of evaluation.json, and to nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlaif.terminal import harmless, number, print_table

Figures = Mapping[str, Any]
"""What evaluation.json says."""


def answer(told: Figures) -> str:
    """Say in one line whether it is better, by whom, how sure that is, and what it took."""
    judges = told["judges"]
    held_out = {name: judge for name, judge in judges.items() if judge["role"] == "held_out"}
    verdicts = "; ".join(_verdict(name, judge) for name, judge in (held_out or judges).items())
    if not held_out:
        verdicts = f"no evidence: no judge was held out. By what it was trained on: {verdicts}"
    return "; ".join(filter(None, (verdicts, _price(told))))


def _verdict(name: str, judge: Figures) -> str:
    """Say what changed by one judge: "less toxic by 0.29 (0.26 to 0.32) by toxicity_general, held out"."""
    change = judge["change"]
    by = f"by {name}" + (", held out" if judge["role"] == "held_out" else "")
    if change["score_mean"] is None:
        return f"nothing known {by}: {change['note']}"
    if change["p_value"] is None:
        return f"how sure a change of {change['score_mean']:+.3f} is {by} cannot be told: {change['note']}"
    if not change["significant"]:
        return f"no significant change {by} (p = {change['p_value']:.2g})"
    up = change["score_mean"] > 0
    size = f"{abs(change['score_mean']):.3f}"
    if change["ci95"] is not None:
        low, high = sorted(end if up else -end for end in change["ci95"])
        size += f" ({low:.3f} to {high:.3f})"
    if "toxicity" in judge["before"]:
        return f"{'less' if up else 'more'} toxic by {size} {by}"
    return f"{'better' if up else 'worse'} by {size} {by} ({judge['measures']})"


def _price(told: Figures) -> str:
    """Say what became of fluency, diversity and length."""
    length = told["length_tokens"]
    ratios = {
        "reference perplexity": _ratio(told["fluency"], "reference_perplexity"),
        "distinct-2": _ratio(told["diversity"], "distinct_2"),
        "length": _ratio({side: {"mean": length[side]} for side in length}, "mean"),
    }
    said = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items() if ratio is not None)
    return f"{said} of before" if said else ""


def _ratio(sides: Figures, key: str) -> float | None:
    before, after = sides["before"][key], sides["after"][key]
    return float(after / before) if before and after is not None else None


def print_figures(told: Figures) -> None:
    """Print what each judge said before and after, both numbers where it measures harm, then the rest."""
    print_table(
        ("judge", "role", "score ↑", "toxicity ↓", "change of score", "p", "n"),
        [_judge_row(name, judge) for name, judge in told["judges"].items()],
        stderr=True,
    )
    fluency, diversity, length = told["fluency"], told["diversity"], told["length_tokens"]
    rows = [
        ("reference perplexity", fluency["before"]["reference_perplexity"], fluency["after"]["reference_perplexity"]),
        *((f"distinct-{n}", diversity["before"][f"distinct_{n}"], diversity["after"][f"distinct_{n}"])
          for n in (1, 2, 3)),
        ("tokens a completion", length["before"], length["after"]),
        ("nats of KL a completion", 0.0, told["kl_nats_per_sequence"]),
    ]  # fmt: skip
    print_table(
        ("measures", "before", "after"),
        [(name, number(before), number(after)) for name, before, after in rows],
        stderr=True,
    )


def _judge_row(name: str, judge: Figures) -> tuple[str, ...]:
    before, after, change = judge["before"], judge["after"], judge["change"]

    def sides(key: str) -> str:
        return f"{number(before[key]['mean'])} → {number(after[key]['mean'])}" if key in before else ""

    size = "–" if change["score_mean"] is None else f"{change['score_mean']:+.3f}"
    if change["ci95"] is not None:
        size += f" ({change['ci95'][0]:+.3f} to {change['ci95'][1]:+.3f})"
    p = "–" if change["p_value"] is None else f"{change['p_value']:.2g}"
    return name, judge["role"].replace("_", " "), sides("score"), sides("toxicity"), size, p, str(judge["n"])


def pairs_of_samples(rows: Sequence[Mapping[str, Any]], count: int, width: int = 300) -> list[str]:
    """Return lines that show some prompts with both completions, spread evenly over all."""
    step = max(1, len(rows) // count)
    lines = []
    for row in rows[::step][:count]:
        lines += [
            f"prompt  {harmless(row['prompt'], width)}",
            f"before  {harmless(row['before']['completion'], width)}",
            f"after   {harmless(row['after']['completion'], width)}",
        ]
    return lines
