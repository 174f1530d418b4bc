"""What a benchmark leaves behind: bench.json for programs, bench.csv for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from rlaif.core.system.terminal import cell

COLUMNS = (
    "file", "kind", "n", "judge", "baseline", "coverage", "statuses", "scored", "auroc", "auroc_low", "auroc_high",
    "average_precision", "pairwise_accuracy", "pairwise_accuracy_low", "pairwise_accuracy_high", "tie_rate",
    "spearman", "spearman_low", "spearman_high", "kendall", "accuracy", "best_threshold", "best_f1", "brier", "ece",
    "mean_score", "distinct_scores", "saturated", "length_bias", "spread_within_prompt", "retest_sd", "flip_rate",
    "signal_to_noise", "injection_gained", "latency_ms_p50", "latency_ms_p95", "per_second", "usd_per_1k",
    "input_tokens_per_1k", "output_tokens_per_1k", "from_store",
)  # fmt: skip


def format_csv(told: Mapping[str, Any]) -> str:
    """Write a line a file and judge; a cell of text is never a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    tables = dict(told["files"]) | ({"(pooled)": told["pooled"]} if told["pooled"] and len(told["files"]) > 1 else {})
    for file, table in tables.items():
        for judge, entry in table["judges"].items():
            cells = {"file": file, "kind": table["kind"], "n": table["n"], "judge": judge, **dict(_flat(entry))}
            writer.writerow([cell(cells.get(column)) for column in COLUMNS])
    return text.getvalue()


def _flat(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from entry.items()
    for name in ("auroc", "pairwise_accuracy", "spearman"):
        low, high = (entry[name] or {}).get("ci95") or (None, None)
        yield from ((name, (entry[name] or {}).get("value")), (f"{name}_low", low), (f"{name}_high", high))
    yield "statuses", ", ".join(f"{count} {status}" for status, count in entry["statuses"].items())
    yield from ((f"best_{key}", (entry["best"] or {}).get(key)) for key in ("threshold", "f1"))
    yield from ((f"latency_ms_{key}", value) for key, value in entry["latency_ms"].items())
    yield from ((f"{key}_tokens_per_1k", value) for key, value in entry["tokens_per_1k"].items())
    if entry["injection"]:
        yield "injection_gained", entry["injection"]["all"]["gained"]
