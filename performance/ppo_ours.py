"""
Our PPO trainer on the shapes of performance/shapes.py. Prints a line of JSON, the one that performance/ppo.py compares.

The same model, prompt ids, number of new tokens and options as performance/trl_ppo.py and trl_ppo_classic.py, the
reward of the latter. From the root of the checkout:

    python -m performance.ppo_ours [--model llama|t5] [--batches 4] [--bf16]
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from performance import shapes


def main() -> None:
    """Train for some batches and print the line."""
    given = shapes.options(__doc__)

    import torch

    from rlaif import PPOConfig, PPOTrainer

    torch.set_num_threads(shapes.THREADS)
    ids = shapes.prompts(given.batches * given.batch_size)
    lengths: list[int] = []

    def reward(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        lengths.extend(map(len, completion_ids))
        return [shapes.reward(answer) for answer in completion_ids]

    with tempfile.TemporaryDirectory() as folder:
        start, output = Path(folder) / "start", Path(folder) / "run"
        tokenizer = shapes.make_tokenizer()
        assert tokenizer([shapes.text_of(row) for row in ids]).input_ids == ids
        tokenizer.save_pretrained(start)
        policy = shapes.make_model(given.model)
        policy.save_pretrained(start)
        parameters = sum(p.numel() for p in policy.parameters())
        del policy
        trainer = PPOTrainer(
            model=str(start),
            reward_funcs=reward,
            args=PPOConfig(
                steps=given.batches,
                batch_size=given.batch_size,
                mini_batch_size=given.mini_batch_size,
                ppo_epochs=given.epochs,
                learning_rate=shapes.LEARNING_RATE,
                max_new_tokens=shapes.NEW_TOKENS,
                min_new_tokens=shapes.NEW_TOKENS,
                dtype="bfloat16" if given.bf16 else "float32",
                output_dir=str(output),
            ),
            train_dataset=[{"prompt": shapes.text_of(row)} for row in ids],
            processing_class=tokenizer,
        )
        began = time.perf_counter()
        trainer.train()
        total = time.perf_counter() - began
        seconds = [json.loads(line)["seconds"] for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert lengths == [shapes.NEW_TOKENS] * len(ids), "not exactly 64 new tokens each"
    # Beside what the steps say of themselves, the whole: what a batch costs must not hide between the steps.
    shapes.report("rlaif", given, seconds, parameters=parameters, total_seconds=round(total, 3))


if __name__ == "__main__":
    main()
