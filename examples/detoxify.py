"""
Train a model by PPO against one judge, and measure the change by another that it never learned from.

    python detoxify.py --model google/flan-t5-small --prompts comments.jsonl --steps 50

`rlaif train RUN.yaml` does the same from a run file, with guards, a report, and prompts kept apart for the test.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import rlaif


class PrintReward(rlaif.Callback):
    """Prints the reward of each step; a callback may also call `trainer.stop`."""

    def on_step(self, trainer: rlaif.PPOTrainer, metrics: dict[str, object]) -> None:  # type: ignore[override]
        """See the metrics of a step, which are the keys of metrics.jsonl."""
        print(f"step {metrics['step']}: reward {metrics['reward_mean']:.3f}, KL {metrics['kl']:.3f}")


def main(arguments: list[str] | None = None) -> None:
    """Train, and print what changed."""
    parser = argparse.ArgumentParser(description="Train a model against one judge, and measure it by another.")
    parser.add_argument("--model", default="google/flan-t5-small", help="a hub id or a folder")
    parser.add_argument("--prompts", type=Path, required=True, help="JSON lines with a key `prompt`")
    parser.add_argument("--judge", default="toxicity", help="the card that is learned from")
    parser.add_argument("--held-out", default="toxicity_general", help="the card that measures")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--output", default="runs/detoxify")
    options = parser.parse_args(arguments)

    prompts = sorted({json.loads(line)["prompt"] for line in options.prompts.read_text().splitlines()})
    train, test = prompts[::2], prompts[1::2]  # the measurement is of prompts that were not trained on
    args = rlaif.PPOConfig(
        output_dir=options.output, steps=options.steps, batch_size=options.batch_size,
        mini_batch_size=options.batch_size // 2, max_new_tokens=32,
    )  # fmt: skip
    trainer = rlaif.PPOTrainer(options.model, options.judge, args, train, callbacks=[PrintReward()])
    trainer.train()

    measured = rlaif.evaluate(
        before=options.model, after=f"{options.output}/model", data=[{"prompt": prompt} for prompt in test],
        judges=options.held_out, max_new_tokens=32,
    )  # fmt: skip
    print(measured["answer"])


if __name__ == "__main__":
    main()
