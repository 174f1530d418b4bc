"""
PPO of TRL 1.12.0, the last release that has one, on the shapes of performance/shapes.py. Prints a line of JSON.

It runs in a virtual environment of its own, from the root of the checkout:

    python3 -m venv /tmp/trl112
    /tmp/trl112/bin/pip install -r performance/trl-1.12.txt
    /tmp/trl112/bin/python -m performance.trl_ppo [--batches 4] [--bf16]

How the numbers of the table come about in this trainer:

- A mini-batch of 8 is `per_device_train_batch_size` 8 with 4 accumulated steps, as `num_mini_batches` has no effect:
  all epochs run forward and backward over mini-batches of 8, but Adam steps once an epoch, not four times. That saves
  it work, so the comparison is in its favour.
- Its own way: a second network of the policy's size is the critic, the reward is a network too (a callable raises),
  here of one layer and 8 hidden units; the reference is a copy of the policy.
- `bf16` of its config has no effect on transformers 5 either, as it makes an Accelerator of its own: `--bf16` sets what
  `accelerate launch --mixed_precision bf16` sets. Generation and the reference stay in float32 then.
- No stop token, so that there are 64 new tokens in all.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
import time
from typing import Any

from performance import shapes


def main() -> None:
    """Train for some batches and print the line."""
    given = shapes.options(__doc__)
    os.environ.update(TRL_EXPERIMENTAL_SILENCE="1", ACCELERATE_MIXED_PRECISION="bf16" if given.bf16 else "no")

    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForSequenceClassification, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    torch.set_num_threads(shapes.THREADS)
    config = shapes.SHAPES["llama"]
    if given.model != "llama":
        sys.exit("TRL 1.12 has no PPO for an encoder-decoder model")
    tiny = {**config, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    tiny["num_key_value_heads"] = 1

    ended: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Notes when each batch ends."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            """Start."""
            ended.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """Note the end of a batch."""
            ended.append(time.perf_counter())

    policy = shapes.make_model("llama")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        trainer = PPOTrainer(
            args=PPOConfig(
                output_dir=folder,
                per_device_train_batch_size=given.mini_batch_size,
                gradient_accumulation_steps=given.batch_size // given.mini_batch_size,
                num_mini_batches=given.batch_size // given.mini_batch_size,
                num_ppo_epochs=given.epochs,
                total_episodes=given.batches * given.batch_size,
                response_length=shapes.NEW_TOKENS,
                stop_token=None,
                temperature=1.0,
                learning_rate=shapes.LEARNING_RATE,
                num_sample_generations=0,
                gradient_checkpointing=False,
                bf16=given.bf16,
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
            ),
            processing_class=shapes.make_tokenizer(),
            model=policy,
            ref_model=None,
            reward_model=LlamaForSequenceClassification(LlamaConfig(**tiny, num_labels=1)),
            value_model=LlamaForSequenceClassification(LlamaConfig(**config, num_labels=1)),
            train_dataset=Dataset.from_dict({"input_ids": shapes.prompts(given.batches * given.batch_size)}),
            callbacks=[Clock()],
        )
        trainer.train()
    seconds = [end - start for start, end in itertools.pairwise(ended)]
    shapes.report("TRL 1.12", given, seconds, parameters=sum(p.numel() for p in policy.parameters()))


if __name__ == "__main__":
    main()
