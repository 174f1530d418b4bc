"""
The PPO loop of TRL 0.11.4, which tutorials still teach, on the shapes of performance/shapes.py. Prints a line of JSON.

A value head on the policy's trunk, generation prompt by prompt, `PPOTrainer.step`; the reward is a function. It runs
in a virtual environment of its own, from the root of the checkout:

    python3 -m venv /tmp/trl0114
    /tmp/trl0114/bin/pip install -r performance/trl-0.11.4.txt
    /tmp/trl0114/bin/python -m performance.trl_ppo_classic [--model llama|t5] [--batches 4]
"""

from __future__ import annotations

import sys
import time
import warnings

from performance import shapes


def main() -> None:
    """Train for some batches and print the line."""
    given = shapes.options(__doc__, batch_size=16, mini_batch_size=4, epochs=1)
    if given.bf16:
        sys.exit("the loop of TRL 0.11.4 is measured in float32 only")
    warnings.simplefilter("ignore")

    import torch
    from trl import AutoModelForCausalLMWithValueHead, AutoModelForSeq2SeqLMWithValueHead, PPOConfig, PPOTrainer

    torch.set_num_threads(shapes.THREADS)
    policy = shapes.make_model(given.model)
    decoder_only = given.model == "llama"
    headed = (AutoModelForCausalLMWithValueHead if decoder_only else AutoModelForSeq2SeqLMWithValueHead)(policy)
    headed.is_peft_model = False  # what from_pretrained sets
    if not decoder_only:
        headed.is_encoder_decoder = True
    trainer = PPOTrainer(
        PPOConfig(
            batch_size=given.batch_size,
            mini_batch_size=given.mini_batch_size,
            ppo_epochs=given.epochs,
            learning_rate=shapes.LEARNING_RATE,
        ),
        headed,
        tokenizer=shapes.make_tokenizer(),
    )
    generation = {
        "min_new_tokens": shapes.NEW_TOKENS,
        "max_new_tokens": shapes.NEW_TOKENS,
        "do_sample": True,
        "top_k": 0,
        "top_p": 1.0,
        "pad_token_id": shapes.PAD,
    }
    queries = [torch.tensor(ids) for ids in shapes.prompts(given.batches * given.batch_size)]
    seconds, generating = [], []
    for first in range(0, len(queries), given.batch_size):
        batch = queries[first : first + given.batch_size]
        start = time.perf_counter()
        answers = [trainer.generate(query, return_prompt=False, **generation)[0] for query in batch]
        generating.append(time.perf_counter() - start)
        scores = [torch.tensor(shapes.reward(answer.tolist())) for answer in answers]
        trainer.step(batch, answers, scores)
        seconds.append(time.perf_counter() - start)
        assert all(len(answer) == shapes.NEW_TOKENS + (not decoder_only) for answer in answers)
    shapes.report(
        "TRL 0.11.4",
        given,
        seconds,
        parameters=sum(p.numel() for p in policy.parameters()),
        generating=[round(second, 3) for second in generating],
    )


if __name__ == "__main__":
    main()
