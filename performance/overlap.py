"""
A remote judge of 2 s latency behind the generation: the step against the sum of what it cannot hide.

A loopback server in a process of its own answers after 2 s; the judge asks 16 at once. The Llama of
performance/shapes.py answers 64 prompts, completion i ending after 5 to 64 tokens, evenly. What the step would take
at best is max(judging, generating + scoring) + learning, each measured by itself on the same batch.

    python performance/overlap.py [--steps 4] [--delay 2]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from performance import shapes
from performance.remote import serving

BATCH, CONCURRENCY, SHORTEST = 64, 16, 5


def main() -> None:
    """Train some steps, measure the parts, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--delay", type=float, default=2.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(given.delay) as url:
        os.environ.update(RLAIF_HOME=f"{folder}/home", OPENAI_API_KEY="nobody's", HF_HUB_OFFLINE="1")
        trainer = made(Path(folder), url, given.steps)
        parts = [timed(trainer, step) for step in range(1, given.steps + 1)]
    judging, acting, learning, step = (statistics.median(column) for column in zip(*parts[1:], strict=True))
    best = max(judging, acting) + learning
    print(
        f"judging {judging:.2f} s, generating + scoring {acting:.2f} s, learning {learning:.2f} s; "
        f"step {step:.2f} s = {step / best:.3f} x (max(judging, acting) + learning)"
    )


def made(folder: Path, url: str, steps: int) -> Any:
    """Return a trainer whose completions end evenly between 5 and 64 tokens."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    from rlaif import PPOConfig, PPOTrainer

    class Ending(LogitsProcessor):  # type: ignore[misc]
        """Lets row i end after its number of tokens, and not before."""

        def __init__(self) -> None:
            self.start: int | None = None

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            if self.start is None:
                self.start = input_ids.shape[1]
            made, ends = input_ids.shape[1] - self.start, torch.linspace(SHORTEST, shapes.NEW_TOKENS, len(scores))
            scores[:, shapes.EOS] = -torch.inf
            for row in (ends.round() <= made + 1).nonzero().flatten().tolist():
                scores[row] = -torch.inf
                scores[row, shapes.EOS] = 0.0
            return scores

    torch.set_num_threads(shapes.THREADS)
    shapes.make_tokenizer().save_pretrained(folder / "start")
    shapes.make_model("llama").save_pretrained(folder / "start")
    judge = {
        "adapter": "openai", "name": "slow", "model": "tiny-judge", "base_url": f"{url}/v1", "prompt": "judge/toxicity",
        "price": {"input": 0, "output": 0}, "concurrency": CONCURRENCY,
    }  # fmt: skip
    trainer = PPOTrainer(
        str(folder / "start"),
        judge,
        PPOConfig(steps=steps, batch_size=BATCH, max_new_tokens=shapes.NEW_TOKENS, min_new_tokens=0, dtype="float32",
                  output_dir=str(folder / "run")),
        [{"prompt": shapes.text_of(ids)} for ids in shapes.prompts(BATCH * steps)],
    )  # fmt: skip
    generate = trainer.policy.model.generate

    def ending(*arguments: Any, logits_processor: Any, **keywords: Any) -> Any:
        return generate(*arguments, logits_processor=LogitsProcessorList([Ending(), *logits_processor]), **keywords)

    trainer.policy.model.generate = ending
    return trainer


def timed(trainer: Any, step: int) -> tuple[float, float, float, float]:
    """Return the seconds of judging, acting and learning, each alone, and of the step as the trainer makes it."""
    from rlaif.core.types import Sample
    from rlaif.judges.rewards import Rewards
    from rlaif.training.loop.rollout import act

    prompts = [trainer.prompts[i] for i in trainer.batches.rows_of(step, trainer.share)]
    micro_batch_tokens = trainer.args.micro_batch_tokens

    nobody = Rewards({"adapter": "constant", "name": "nobody"})
    start = time.perf_counter()
    rollout, _ = act(trainer.policy, prompts, nobody, trainer.sampling, micro_batch_tokens=micro_batch_tokens)
    acting = time.perf_counter() - start
    lengths = rollout.tokens.mask_BR.sum(1).tolist()
    assert (min(lengths), max(lengths)) == (SHORTEST, shapes.NEW_TOKENS), lengths
    judge = trainer.rewards.sources[0].judge
    start = time.perf_counter()
    judge([Sample(f"{text} again", prompt.text) for text, prompt in zip(rollout.completions, prompts, strict=True)])
    judging = time.perf_counter() - start
    start = time.perf_counter()
    rollout, pending = trainer.act(step)
    verdicts = trainer.wait_for_rewards(pending)
    until_judged = time.perf_counter()
    assert all(verdict.status == "ok" and not verdict.usage.from_store for verdict in verdicts[0])
    credit = trainer.assign(rollout, verdicts)
    trainer.learn(rollout, credit, step)
    end = time.perf_counter()
    print(json.dumps({"judging": judging, "acting": acting, "learning": end - until_judged, "step": end - start}))
    return judging, acting, end - until_judged, end - start


if __name__ == "__main__":
    main()
