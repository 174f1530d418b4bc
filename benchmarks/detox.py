"""
Detoxify small real models, and measure what it took and what it cost, by a judge that did not train them.

    python benchmarks/detox.py [--seeds 3] [--model comment-llama] [--set ppo.steps=20]

For each model and seed: `rlaif train benchmarks/detox/MODEL.yaml`, then one completion of each of 500 test prompts,
sampled with the same seed before and after. Toxicity is 1 - score of toxicity-roberta-b, held out: made of other data
than the training judge; distinct-2 is at equal numbers of words, perplexity that of the model before training.
Needs ../shared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rlaif.adapters import load_judge
from rlaif.config import read_run
from rlaif.data import Prompt, load_parts
from rlaif.policy import Policy, Sampling
from rlaif.policy.loading import load
from rlaif.policy.tokens import Tokens, micro_batches
from rlaif.quality import distinct, perplexity, word_count
from rlaif.run import train
from rlaif.types import Sample

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared"
BATCH = 125


def main() -> None:
    """Train each model with each seed and print a line of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", action="append", choices=["comment-llama", "comment-t5"])
    parser.add_argument("--set", action="append", default=[], dest="sets")
    given = parser.parse_args()
    judge = load_judge({
        "adapter": "classifier", "name": "held_out", "bad": "hate", "measures": "toxicity",
        "model": str(SHARED / "models/toxicity-roberta-b"),
    })  # fmt: skip
    for model in given.model or ["comment-llama", "comment-t5"]:
        for seed in range(given.seeds):
            print(json.dumps({"model": model, "seed": seed, **trained(model, seed, judge, given.sets)}), flush=True)


def trained(name: str, seed: int, judge: Any, sets: Sequence[str]) -> dict[str, Any]:
    """Train once and return the changes, each a ratio of after to before, toxicity in per cent."""
    path = HERE / "detox" / f"{name}.yaml"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        config = read_run(path, [*sets, f"seed={seed}", f"output={output}"])
        start = time.perf_counter()
        train(path, [*sets, f"seed={seed}", f"output={output}"])
        seconds = time.perf_counter() - start
        reference = Policy(load(config.policy.model, dtype="float32"))
        tuned = Policy(load(str(output / "model"), dtype="float32"))
    parts = load_parts(config.data, reference.tokenizer, guard_prompts=0, test_prompts=500)
    generation = config.generation
    sampling = Sampling(generation.max_new_tokens, generation.min_new_tokens, generation.temperature)
    sides = [measured(policy, reference, parts.test, sampling, judge) for policy in (reference, tuned)]
    words = min(word_count(side["texts"]) for side in sides)
    before, after = ({**side, "distinct_2": distinct(side["texts"], 2, words)} for side in sides)
    return {
        "toxicity": [round(side["toxicity"], 4) for side in (before, after)],
        "toxicity_pct": round(100 * (after["toxicity"] / before["toxicity"] - 1), 1),
        **{f"{key}_ratio": round(after[key] / before[key], 3) for key in ("distinct_2", "length", "perplexity")},
        "seconds": round(seconds),
        "samples": list(after["texts"][:6]),
    }


@torch.no_grad()
def measured(
    policy: Policy, reference: Policy, prompts: Sequence[Prompt], sampling: Sampling, judge: Any
) -> dict[str, Any]:
    """Complete the prompts with one seed, and measure the completions."""
    texts, lengths, logprobs = [], [], []
    torch.manual_seed(0)
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        tokens = policy.generate([list(prompt.ids) for prompt in batch], sampling)
        texts += [
            policy.tokenizer.decode(ids[mask], skip_special_tokens=True)
            for ids, mask in zip(tokens.response_BR, tokens.mask_BR, strict=True)
        ]
        lengths += tokens.mask_BR.sum(1).tolist()
        logprobs += scored(reference, tokens)
    judgements = judge([Sample(text, prompt.text) for text, prompt in zip(texts, prompts, strict=True)])
    toxic = [1 - judgement.score for judgement in judgements if judgement.score is not None]
    return {
        "texts": texts,
        "toxicity": sum(toxic) / len(toxic),
        "length": sum(lengths) / len(lengths),
        "perplexity": perplexity(logprobs),
    }


def scored(reference: Policy, tokens: Tokens) -> list[float]:
    """Return the reference's log-probabilities of all response tokens."""
    found: list[float] = []
    for piece in micro_batches(tokens.lengths, 4096):
        rows = tokens.rows(piece)
        found += reference(rows).logprobs[rows.mask_BR].tolist()
    return found


if __name__ == "__main__":
    main()
