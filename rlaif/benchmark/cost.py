"""What a judge takes: how much it answers, how fast, and for how much money."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from rlaif.benchmark.columns import JudgeColumns
from rlaif.core.records.bench_entry import Latency, TableEntry, TokensPerThousand
from rlaif.core.types import STATUSES, Status


def coverage(said: JudgeColumns) -> float | None:
    """Return the share of texts that have a score; None without a text."""
    return float(np.isfinite(said.score_T).mean()) if len(said.score_T) else None


def count_statuses(said: JudgeColumns) -> dict[Status, int]:
    """Return how many texts have which status, the most frequent first."""
    return dict(Counter(STATUSES[code] for code in said.status_T.tolist()).most_common())


def add_cost(entry: TableEntry, said: JudgeColumns) -> TableEntry:
    """
    Add to an entry latency, throughput, tokens and USD of the texts that the judge was asked about.

    What came from the store took nothing, and says nothing of what it would take; nor does a text that the same
    command had asked before. Null where nothing was asked.
    """
    asked = said.asked_T
    entry = replace(
        entry,
        asked=int(asked.sum()),
        from_store=float(said.stored_T.mean()) if len(asked) else None,
        calls=int(said.attempts_T.sum()),
    )
    if not asked.any():
        return entry
    p50, p95 = np.quantile(said.seconds_T[asked], [0.5, 0.95]) * 1000
    wall = float(said.wall_T.sum())
    usd = float(said.usd_T[asked].mean()) * 1000
    tokens = said.tokens_T2[asked].mean(axis=0) * 1000
    return replace(
        entry,
        latency_ms=Latency(p50=float(p50), p95=float(p95)),
        per_second=float(asked.sum()) / wall if wall else None,
        usd_per_1k=None if np.isnan(usd) else usd,
        tokens_per_1k=TokensPerThousand(input=float(tokens[0]), output=float(tokens[1])),
    )
