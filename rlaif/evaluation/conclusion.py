"""A measurement in words and as a table: true to the numbers of evaluation.json, and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlaif.core.system.terminal import harmless, number, print_table

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
        same = f", and within the margin of {judge['margin']:g}" if judge.get("within_margin") else ""
        return f"no significant change {by} (p = {change['p_value']:.2g}){same}"
    up = change["score_mean"] > 0
    size = f"{abs(change['score_mean']):.3f}"
    if change["ci95"] is not None:
        low, high = sorted(end if up else -end for end in change["ci95"])
        size += f" ({low:.3f} to {high:.3f})"
    if "toxicity" in judge["before"]:
        return f"{'less' if up else 'more'} toxic by {size} {by}"
    return f"{'better' if up else 'worse'} by {size} {by} ({judge['measures']})"


PRICES = {
    "reference_perplexity": ("fluency", "perplexity"),
    "independent_perplexity": ("fluency by the independent model", "perplexity by the independent model"),
    "distinct_2": ("distinct-2", "distinct-2"),
    "length_tokens": ("length", "length"),
}
"""What is said of the price: what is within its margin, and what went up or down; length in words for want of it."""


def _price(told: Figures) -> str:
    """Say what became of fluency, diversity and length: "fluency within the margin; distinct-2 down 4 %"."""
    changes = told["changes"]
    names = dict(PRICES)
    if "length_tokens" not in changes:
        names["length_words"] = names.pop("length_tokens")
    said = [_describe_change(*names[key], changes[key]) for key in names if key in changes]
    return "; ".join(filter(None, said))


def _describe_change(same: str, name: str, change: Figures) -> str:
    """Say how one figure changed; "the margin" only where the whole interval is within it."""
    ratio = change["ratio"]
    if ratio is None:
        return ""
    if change["within_margin"]:
        return f"{same} within the margin"
    percent = abs(100 * (ratio - 1))
    size = f"{percent:.0f} %" if percent >= 0.5 else "less than 1 %"
    untested = change["p_value"] is None
    if not percent:
        return f"{name} the same, with no interval" if untested else f"{name} not shown to be within the margin"
    doubt = "" if change["significant"] else " (no test)" if untested else " (not significant)"
    return f"{name} {'up' if ratio > 1 else 'down'} {size}{doubt}"


def print_figures(told: Figures) -> None:
    """Print what each judge said before and after, both numbers where it measures harm, then the rest."""
    print_table(
        ("judge", "role", "score ↑", "toxicity ↓", "change of score", "p", "n"),
        [_judge_row(name, judge) for name, judge in told["judges"].items()],
        stderr=True,
    )
    print_table(
        ("measures", "before", "after", "times before"),
        [(name, *map(number, sides), _times(told["changes"].get(key))) for name, key, *sides in _figures(told)],
        stderr=True,
    )
    if worst := [(name, judge["worst_of_k"]) for name, judge in told["judges"].items() if "worst_of_k" in judge]:
        print_table(
            ("judge", "k", "expected maximum toxicity ↓", "one of k is toxic ↓"),
            [(name, str(its["k"]), *(_sides(its, key) for key in ("expected_maximum", "probability")))
             for name, its in worst],
            stderr=True,
        )  # fmt: skip


def _figures(told: Figures) -> Iterator[tuple[str, str, float | None, float | None]]:
    """Yield name, key, before and after of the figures beside the judges'."""
    fluency, diversity = told["fluency"], told["diversity"]
    for key in fluency["before"]:
        yield key.replace("_", " "), key, fluency["before"][key], fluency["after"][key]
    for n in (1, 2, 3):
        key = f"distinct_{n}"
        yield f"distinct-{n}", key, diversity["before"][key], diversity["after"][key]
    for key, name in NAMES.items():
        yield name, key, told[key]["before"], told[key]["after"]
    kl = told["kl_nats_per_sequence"]
    yield "nats of KL a completion", "kl_nats_per_sequence", None if kl is None else 0.0, kl


NAMES = {
    "length_tokens": "tokens a completion", "length_words": "words a completion", "repetition": "repeated 4-grams",
    "empty_rate": "empty", "cut_rate": "cut",
}  # fmt: skip


def _times(change: Figures | None) -> str:
    """Write a ratio with its interval."""
    if change is None or change["ratio"] is None:
        return ""
    ends = change["ci95"]
    return f"{change['ratio']:.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def _sides(figures: Figures, key: str) -> str:
    return f"{number(figures['before'][key])} → {number(figures['after'][key])}"


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
