"""
The classifier judge against transformers' own text-classification pipeline, side by side in one run.

2,000 real texts of mixed length (comments of some 15 tokens, dialogues of up to the model's limit), the same
weights, float32 for both and then bfloat16 for ours, and for the pipeline too, to see what is due to the type.
Medians over rounds in which the contestants take turns; loading is not counted. Prints the largest difference of
logits, and how many distinct logits there are: bfloat16 must not flatten the reward.

    python performance/classifier.py [--texts 2000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

SHARED = Path(__file__).parent.parent.parent / "shared"
MODEL = SHARED / "models/toxicity-roberta"


def mixed_texts(count: int) -> list[str]:
    """Half comments, a quarter answers, a quarter whole dialogues, in random order; all different."""
    comments = [json.loads(line)["completion"] for line in (SHARED / "data/paradetox_labels.jsonl").open()]
    pairs = [json.loads(line) for line in (SHARED / "data/hh_harmless_pairs.jsonl").open()]
    answers = [pair["chosen"] for pair in pairs]
    dialogues = [f"{pair['prompt']}\n\nAssistant: {pair['rejected']}" for pair in pairs]
    draw = random.Random(0)
    chosen = [
        text
        for kind, share in ((comments, 2), (answers, 4), (dialogues, 4))
        for text in draw.sample(list(dict.fromkeys(kind)), count // share)
    ]
    return draw.sample(chosen, len(chosen))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    import torch
    from transformers import pipeline

    from rlaif import Sample, load_judge

    texts = mixed_texts(options.texts)
    samples = [Sample(text) for text in texts]
    runs: dict[str, Callable[[], Any]] = {}
    for dtype in ("float32", "bfloat16"):
        classify = pipeline(
            "text-classification", model=str(MODEL), device="cpu", dtype=getattr(torch, dtype),
            batch_size=16, top_k=None, function_to_apply="none",
        )  # fmt: skip
        judge = load_judge(
            {"adapter": "classifier", "model": str(MODEL), "bad": "hate", "dtype": dtype, "device": "cpu"}
        )
        runs[f"pipeline {dtype}"] = partial(classify, texts, truncation=True, max_length=512)
        runs[f"rlaif {dtype}"] = partial(judge, samples)
    results = {name: run() for name, run in runs.items()}  # the warm-up
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)

    base = statistics.median(seconds["pipeline float32"])
    print(f"{len(texts)} texts, {torch.get_num_threads()} threads, median of {options.rounds} rounds")
    for name, times in seconds.items():
        median = statistics.median(times)
        spread = f"{min(times):.2f} to {max(times):.2f}"
        print(f"{name:18} {median:6.2f} s ({spread})  {len(texts) / median:7.0f}/s  {base / median:5.2f} x")
    reference = [
        next(row["score"] for row in rows if row["label"] == "nothate") for rows in results["pipeline float32"]
    ]
    for dtype in ("float32", "bfloat16"):
        logits = [judgement.logit for judgement in results[f"rlaif {dtype}"]]
        scores = [judgement.score for judgement in results[f"rlaif {dtype}"]]
        full = [judgement.score for judgement in results["rlaif float32"]]
        print(
            f"rlaif {dtype}: logits differ from the pipeline's by at most "
            f"{max(abs(a - b) for a, b in zip(logits, reference, strict=True)):.1e}, scores from float32 by "
            f"{max(abs(a - b) for a, b in zip(scores, full, strict=True)):.1e}; {len(set(logits))} distinct logits"
        )


if __name__ == "__main__":
    main()
