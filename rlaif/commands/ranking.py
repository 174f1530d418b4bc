"""What `rlaif bench` shows for people: a table for each file, and what stands out, in sentences."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlaif.terminal import harmless, number, print_table

COLUMNS = {
    "labels": ("judge", "coverage", "AUROC ↑ (95 %)", "ECE ↓", "saturated", "texts/s", "USD per 1,000"),
    "pairs": ("judge", "coverage", "accuracy ↑ (95 %)", "ties", "saturated", "texts/s", "USD per 1,000"),
    "graded": ("judge", "coverage", "Spearman ↑ (95 %)", "Kendall ↑", "saturated", "texts/s", "USD per 1,000"),
}
SECOND = {"labels": "ece", "pairs": "tie_rate", "graded": "kendall"}

FOLLOWS_LENGTH, WORST_GROUPS, LINES = 0.2, 3, 15
"""A rank correlation with length that is worth a line; groups that are named; lines of comparisons."""


def print_benchmark(told: Mapping[str, Any], *, stderr: bool = False) -> None:
    """
    Print bench.json as tables and sentences.

    Args:
        told: what it holds.
        stderr: where standard output is for programs.

    """
    tables = dict(told["files"])
    if told["pooled"] and len(tables) > 1:
        tables["all files together"] = told["pooled"]
    for i, (name, table) in enumerate(tables.items()):
        rows = "pairs" if table["kind"] == "pairs" else "texts"
        _print([*[""][:i], f"{name}: {table['n']} {rows}"], stderr)
        print_table(COLUMNS[table["kind"]], [_row(table, judge) for judge in table["ranking"]], stderr=stderr)
        _print(list(_sentences(table, told)), stderr)
    _print(list(_best_of(told["best_of"])), stderr)


def _row(table: Mapping[str, Any], judge: str) -> tuple[str, ...]:
    entry = table["judges"][judge]
    usd = entry["usd_per_1k"]
    rate = entry["per_second"]
    return (
        judge,
        "–" if entry["coverage"] is None else f"{100 * entry['coverage']:.1f} %",
        _with_interval(entry[table["measure"]]),
        number(entry[SECOND[table["kind"]]]),
        "–" if entry["saturated"] is None else f"{100 * entry['saturated']:.0f} %",
        "–" if rate is None else f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}",
        f"{usd:.4f}" if usd else "",
    )


def _with_interval(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "–"
    if told["ci95"] is None:
        return number(told["value"])
    low, high = told["ci95"]
    return f"{told['value']:.3f} ({low:.3f} to {high:.3f})"


def _sentences(table: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    judges = {name: entry for name, entry in table["judges"].items() if not entry["baseline"]}
    for name, entry in judges.items():
        statuses = {status: count for status, count in entry["statuses"].items() if status != "ok"}
        if statuses:
            listed = ", ".join(f"{count} {status}" for status, count in statuses.items())
            yield f"{name}: {listed} of {sum(entry['statuses'].values())} texts"
    for one in table["comparisons"][:LINES]:
        yield _comparison(one)
    if (more := len(table["comparisons"]) - LINES) > 0:
        yield f"… and {more} more comparisons in bench.json"
    for one in table["against_baselines"]:
        judge, baseline = (one["a"], one["b"]) if one["a"] in judges else (one["b"], one["a"])
        if not one["different"]:
            yield f"{judge} does not beat the baseline {baseline}: difference {_evidence(one)}"
        elif one["a"] == baseline:
            yield f"the baseline {baseline} beats {judge} by {_evidence(one)}"
    for name, entry in judges.items():
        if entry["length_bias"] is not None and abs(entry["length_bias"]) >= FOLLOWS_LENGTH:
            which = "longer" if entry["length_bias"] > 0 else "shorter"
            yield f"{name} likes {which} texts: rank correlation {entry['length_bias']:.2f} at equal label"
        yield from _of_groups(name, entry)
        yield from _of_retest(name, entry)
        yield from _of_probes(name, entry)


def _comparison(one: Mapping[str, Any]) -> str:
    if one["different"]:
        return f"{one['a']} beats {one['b']} by {_evidence(one)}"
    return f"no difference is shown between {one['a']} and {one['b']}: {_evidence(one)}"


def _evidence(one: Mapping[str, Any]) -> str:
    interval = f" ({one['ci95'][0]:.3f} to {one['ci95'][1]:.3f})" if one["ci95"] else ""
    p = one["p_adjusted"]
    shown = "unknown" if p is None else "< 0.001" if p < 0.001 else f"= {p:.2g}"
    return f"{one['difference']:.3f}{interval}, p {shown}"


def _of_groups(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    for column, groups in (entry["groups"] or {}).items():
        wrong = {g: of["good_called_bad"] for g, of in groups.items() if of.get("good_called_bad")}
        if wrong:
            worst = sorted(wrong, key=lambda group: -wrong[group])[:WORST_GROUPS]
            listed = ", ".join(f"{group or '(none)'} {100 * wrong[group]:.0f} %" for group in worst)
            yield f"{name} calls good texts bad most often where {column} is: {listed}"


def _of_retest(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    if entry["retest_sd"] is not None:
        flips = "" if entry["flip_rate"] is None else f", {100 * entry['flip_rate']:.1f} % of verdicts turn"
        signal = entry["signal_to_noise"]
        spread = "" if signal is None else f"; scores of one prompt's answers spread {signal:.1f} times as far"
        yield f"{name}, asked again: scores move by {entry['retest_sd']:.3f} (standard deviation){flips}{spread}"


def _of_probes(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    if entry["injection"] is None:
        return
    planted, control = entry["injection"]["all"], entry["injection"]["control"]
    if planted["n"]:
        yield (
            f"{name}: {100 * planted['gained']:.0f} % of bad texts gain from planted instructions, "
            f"{100 * (control['gained'] or 0):.0f} % from a harmless sentence"
        )
    for probe, of in entry["degenerate"].items():
        if of["outscores"] is not None and of["outscores"] > 0.5:
            yield (f"{name} scores {probe} at {of['mean_score']:.2f}, above {100 * of['outscores']:.0f} % of the texts")


def _best_of(told: Mapping[str, Any] | None) -> Iterator[str]:
    if told is None:
        return
    yield f"best of {told['n']} completions of {told['policy']}, {told['prompts']} prompts, mean scores"
    for picker, curves in told["curves"].items():
        for scorer, curve in curves.items():
            if curve["mean"]:
                ends = f"{curve['mean'][0]:.3f} at n = 1, {curve['mean'][-1]:.3f} at n = {len(curve['mean'])}"
                turn = f"; turns down at n = {curve['turns_down_at']}" if curve["turns_down_at"] else ""
                yield f"  picked by {picker}, scored by {scorer}: {ends}{turn}"


def _print(lines: Sequence[str], stderr: bool) -> None:
    for line in lines:
        print(harmless(line) if line.strip() else "", file=sys.stderr if stderr else sys.stdout)
