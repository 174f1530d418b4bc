"""
Step time and peak memory of the PPO trainer for 1, 2 and 4 times the batch, the prompt and the response.

The Llama of performance/shapes.py, from a batch of 16, prompts of 32 tokens and responses of 32; one dimension grows at
a time. Each point is a process of its own, and the medians of its steps; the last column is the growth of the time
over that of the tokens. 1 is linear.

    python performance/scaling.py [--steps 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from performance import shapes

BASE = {"batch": 16, "prompt": 32, "response": 32}


def main() -> None:
    """Run every point and print a line of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        print(json.dumps(point(**json.loads(given.point), steps=given.steps)))
        return
    first: tuple[float, float] | None = None
    for grown in ("batch", "prompt", "response"):
        for factor in (1, 2, 4):
            if factor == 1 and first is not None:
                continue
            size = {**BASE, grown: BASE[grown] * factor}
            command = [
                sys.executable,
                "-m",
                "performance.scaling",
                "--point",
                json.dumps(size),
                "--steps",
                str(given.steps),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
            seconds, peak = json.loads(done.stdout.splitlines()[-1])
            tokens = size["batch"] * (size["prompt"] + size["response"])
            growth = ""
            if first is None:
                first = (seconds, tokens)
            else:
                growth = f"   time x{seconds / first[0]:.2f}, tokens x{tokens / first[1]:.2f}"
            print(f"batch {size['batch']:3}  prompt {size['prompt']:3}  response {size['response']:3}  "
                  f"{seconds:6.2f} s a step  peak {peak:5.0f} MB{growth}", flush=True)  # fmt: skip


def point(batch: int, prompt: int, response: int, steps: int) -> tuple[float, float]:
    """Return median seconds a step, and peak memory in MB."""
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(shapes.THREADS))
    import torch

    from rlaif import PPOConfig, PPOTrainer

    torch.set_num_threads(shapes.THREADS)
    ids = [(row * 2)[:prompt] for row in shapes.prompts(batch)]
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        shapes.make_tokenizer().save_pretrained(start)
        shapes.make_model("llama").save_pretrained(start)
        trainer = PPOTrainer(
            str(start),
            lambda completion_ids, **_: [shapes.reward(answer) for answer in completion_ids],
            PPOConfig(steps=steps + 1, batch_size=batch, mini_batch_size=batch // 4, max_new_tokens=response,
                      min_new_tokens=response, dtype="float32", output_dir=f"{folder}/run"),
            [{"prompt": shapes.text_of(row)} for row in ids],
        )  # fmt: skip
        seconds = []
        for step in range(1, steps + 2):
            began = time.perf_counter()
            rollout, pending = trainer.act(step)
            trainer.learn(rollout, trainer.assign(rollout, trainer.wait_for_rewards(pending)), step)
            seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return statistics.median(seconds[1:]), peak


if __name__ == "__main__":
    main()
