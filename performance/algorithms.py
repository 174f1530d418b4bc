"""
PPO, GRPO and RLOO at equal samples on comment-llama, by a judge that did not train them.

    python -m performance.algorithms [--seeds 3] [--algorithm grpo] [--set training.steps=20]

`performance/detox/comment-llama.yaml` with one key changed, and what that algorithm's own scales ask for (`OWN`): the
same prompts, samples a step, steps, training judge, guard and measurement. A row a run, as `performance.detox` tells
it, and a table of means at the end. Needs ../shared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from performance.detox import trained

NO_CRITIC = ["policy.critic=shared", "ppo.vf_learning_rate=null", "ppo.cliprange_value=0.2", "ppo.vf_coef=0.1"]
"""The defaults again: where there is no critic, its keys are refused."""

OWN: dict[str, list[str]] = {
    "ppo": [],
    "grpo": ["algorithm=grpo", "ppo.kl_coef=0.1", *NO_CRITIC],  # of a token's KL, against an advantage of about 1
    "rloo": ["algorithm=rloo", *NO_CRITIC],
}
"""What an algorithm changes in the run file."""

SHOWN = {
    "toxicity_pct": "toxicity, %", "distinct_2_ratio": "distinct-2", "length_ratio": "length",
    "perplexity_ratio": "perplexity", "kl": "KL, nats", "kept_step": "kept step", "seconds": "seconds",
}  # fmt: skip


def main() -> None:
    """Train by each algorithm with each seed, print a line of each, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--algorithm", action="append", choices=list(OWN))
    parser.add_argument("--set", action="append", default=[], dest="sets")
    given = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {}
    for algorithm in given.algorithm or OWN:
        for seed in range(given.seeds):
            row = trained("comment-llama", seed, [*OWN[algorithm], *given.sets])
            rows.setdefault(algorithm, []).append(row)
            print(json.dumps({"algorithm": algorithm, "seed": seed, **row}), flush=True)
    print(table(rows))


def table(rows: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Return a table in Markdown: the mean over seeds, and the worst and the best where there are several."""
    lines = [f"| algorithm | {' | '.join(SHOWN.values())} |", "|---" * (len(SHOWN) + 1) + "|"]
    for algorithm, runs in rows.items():
        cells = [cell([run[key] for run in runs]) for key in SHOWN]
        lines.append(f"| {algorithm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(numbers: Sequence[float]) -> str:
    """Return mean (lowest to highest)."""
    mean = f"{fmean(numbers):.3g}"
    return mean if len(numbers) == 1 else f"{mean} ({min(numbers):.3g} to {max(numbers):.3g})"


if __name__ == "__main__":
    main()
