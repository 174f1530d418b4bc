"""
Detoxify small real models, and measure what it took and what it cost, by a judge that did not train them.

    python -m performance.detox [--seeds 3] [--model comment-llama] [--set training.steps=20]

For each model and seed: `rlaif train performance/detox/MODEL.yaml`, whose guard keeps the best model by a held-out
judge, and the numbers of its evaluation.json: 500 test prompts, one completion each, sampled with the same seed before
and after. Toxicity is 1 - score of toxicity-roberta-b, held out: made of other data than the training judge; distinct-2
is at equal numbers of words, perplexity that of the model before training. The seconds are of the whole run. Needs
../shared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlaif.training.run.run import train

HERE = Path(__file__).parent
MODELS = ["comment-llama", "comment-t5"]


def main() -> None:
    """Train each model with each seed and print a line of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    given = parser.parse_args()
    for model in given.model or MODELS:
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            print(json.dumps({"model": model, "seed": seed, **trained(model, seed, given.sets)}), flush=True)


def trained(name: str, seed: int, sets: Sequence[str]) -> dict[str, Any]:
    """Train once and return the changes, each a ratio of after to before, toxicity in per cent."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        told = train(HERE / "detox" / f"{name}.yaml", [*sets, f"seed={seed}", f"output={folder}/run"])
        seconds = time.perf_counter() - start
    judge = told["judges"]["held_out"]
    return {
        "toxicity": [round(judge[side]["toxicity"]["mean"], 4) for side in ("before", "after")],
        "toxicity_pct": round(judge["change"]["toxicity_mean_pct"], 1),
        "ci95": [round(end, 3) for end in judge["change"]["ci95"]],
        "distinct_2_ratio": ratio(told["diversity"], "distinct_2"),
        "length_ratio": round(told["length_tokens"]["after"] / told["length_tokens"]["before"], 3),
        "perplexity_ratio": ratio(told["fluency"], "reference_perplexity"),
        "kl": round(told["kl_nats_per_sequence"], 2),
        "kept_step": told["kept_step"],
        "seconds": round(seconds),
    }


def ratio(sides: dict[str, Any], key: str) -> float:
    """Return after / before."""
    return round(float(sides["after"][key] / sides["before"][key]), 3)


if __name__ == "__main__":
    main()
