"""
Take a judge as a reward function of TRL's GRPOTrainer, beside a function of your own.

    python rewards_for_trl.py --model Qwen/Qwen2.5-0.5B-Instruct --prompts comments.jsonl --judge toxicity

An abstention of the judge is None, which TRL counts as no reward of this function.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

import rlaif


def brevity(completions: list[Any], **columns: Any) -> list[float]:
    """Return a reward of TRL's own kind: 1 for an answer of at most 20 words."""
    return [1.0 if len(str(completion).split()) <= 20 else 0.0 for completion in completions]


def main(arguments: list[str] | None = None) -> None:
    """Train by GRPO."""
    parser = argparse.ArgumentParser(description="Train by TRL's GRPOTrainer against a judge.")
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct", help="a hub id or a folder")
    parser.add_argument("--prompts", required=True, help="JSON lines with a key `prompt`")
    parser.add_argument("--judge", default="toxicity", help="a card's name, or its path")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--output", default="runs/grpo")
    options = parser.parse_args(arguments)

    args = GRPOConfig(
        output_dir=options.output, max_steps=options.steps, per_device_train_batch_size=8, num_generations=4,
        max_completion_length=32, reward_weights=[1.0, 0.2], logging_steps=1, report_to=[],
        bf16=torch.cuda.is_available(),
    )  # fmt: skip
    dataset = load_dataset("json", data_files=options.prompts, split="train").select_columns("prompt")
    judge = rlaif.as_reward_func(options.judge)
    trainer = GRPOTrainer(model=options.model, reward_funcs=[judge, brevity], args=args, train_dataset=dataset)
    trainer.train()
    trainer.save_model(options.output)


if __name__ == "__main__":
    main()
