"""
Our PPO trainer against TRL 1.12's and the loop of TRL 0.11.4, side by side in one run: samples a second, peak memory.

A Llama of 6.9 M parameters and a T5 of 11.5 M, random weights, prompts of 64 to 128 tokens, exactly 64 new ones, 2
threads; batch 32, mini-batch 8, 4 epochs against 1.12, and 16, 4, 1 against 0.11.4. Contestants take turns, each time
as a process of its own, whose first batch is not counted; medians over rounds. Ours in bfloat16 (autocast) is compared
with TRL's in both types. The environments are made as performance/trl_ppo.py and trl_ppo_classic.py say; a side whose
interpreter is not named is left out.

    python performance/ppo.py --trl /tmp/trl112/bin/python --classic /tmp/trl0114/bin/python [--rounds 3] [--batches 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def run(python: str, module: str, *options: str) -> dict[str, Any]:
    """Run a contestant and return its line; its own output is shown where it fails."""
    command = [python, "-m", f"performance.{module}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def compare(title: str, contestants: dict[str, tuple[str, ...]], rounds: int) -> None:
    """Let contestants (interpreter, module, options) take turns, and print each beside the ones before it."""
    lines: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, command in contestants.items():
            lines[name].append(run(*command))
    print(f"{title}, median of {rounds} rounds")
    theirs: dict[str, tuple[float, float]] = {}
    for name, rows in lines.items():
        rates, peaks = ([row[key] for row in rows] for key in ("samples_per_second", "peak_rss_mb"))
        rate, peak = statistics.median(rates), statistics.median(peaks)
        ratios = "".join(
            f"; against {other}: {rate / their_rate:.2f} x the speed, {peak / their_peak:.2f} x the memory"
            for other, (their_rate, their_peak) in theirs.items()
            if name.startswith("rlaif")
        )
        print(
            f"{name:20} {rate:5.2f} samples/s ({min(rates):.2f} to {max(rates):.2f}), peak {peak:5.0f} MB{ratios}",
            flush=True,
        )
        if not name.startswith("rlaif"):
            theirs[name] = (rate, peak)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", help="the interpreter of the environment with TRL 1.12.0")
    parser.add_argument("--classic", help="the interpreter of the environment with TRL 0.11.4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=3, help="batches a process, the first is not counted")
    given = parser.parse_args()
    if not (given.trl or given.classic):
        parser.error("name an interpreter to compare with: --trl, --classic or both")
    count = ("--batches", str(given.batches))
    if given.trl:
        contestants = {
            f"{name} {dtype}": (python, module, *count, *extra)
            for dtype, extra in (("float32", ()), ("bfloat16", ("--bf16",)))
            for name, python, module in (("TRL 1.12", given.trl, "trl_ppo"), ("rlaif", sys.executable, "ppo_ours"))
        }
        compare("llama, batch 32, mini-batch 8, 4 epochs", contestants, given.rounds)
    if given.classic:
        sizes = ("--batch-size", "16", "--mini-batch-size", "4", "--epochs", "1")
        for model in ("llama", "t5"):
            options = (*count, *sizes, "--model", model)
            contestants = {
                "TRL 0.11.4 float32": (given.classic, "trl_ppo_classic", *options),
                "rlaif float32": (sys.executable, "ppo_ours", *options),
            }
            compare(f"{model}, batch 16, mini-batch 4, 1 epoch", contestants, given.rounds)


if __name__ == "__main__":
    main()
