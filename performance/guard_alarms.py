"""
How often the guard sounds an alarm: where nothing is wrong, and where the reward is being fooled.

    python -m performance.guard_alarms                    # the seeds that have no line in the results yet
    python -m performance.guard_alarms --case fooled --seeds 20

Both train the policy of the quickstart for 30 steps, with a check every 3 steps on 64 prompts. In `noise` the reward is
the judge `random`, seeds 0 to 99: every alarm is a false one. In `fooled` it is the share of repeated words with a
kl_coef of 0.01, seeds 0 to 19: a run should end in an alarm. Each finished seed adds a line to
performance/results/guard_alarms.jsonl, and seeds that have one are skipped. A line has the steps with an alarm, and
those that 0.1.0 would have had, which did not take chance into account. The checks are the same, for an alarm changes
no step. With `--keep FOLDER` the guard.jsonl of each run is kept there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlaif.core.config import recipes
from rlaif.core.config.sections import GuardSection
from rlaif.core.records.guard import GuardCheck
from rlaif.core.system.files import append, read_rows
from rlaif.training.run.run import train

RESULTS = Path(__file__).parent / "results" / "guard_alarms.jsonl"
EVERY, STEPS = 3, 30
SEEDS = {"noise": 100, "fooled": 20}
REWARDS = {
    "noise": ["judge={adapter: random, name: noise}"],
    "fooled": [f"judge={{adapter: python, name: repeats, function: '{__file__}:repeats'}}", "ppo.kl_coef=0.01"],
}


def repeats(completions: Sequence[str]) -> list[float]:
    """Return the share of words that stand in the same completion before."""
    words = [completion.lower().split() for completion in completions]
    return [1 - len(set(some)) / len(some) if some else 0.0 for some in words]


def main() -> None:
    """Run the seeds that are missing, one after the other, and print what all of them show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(SEEDS))
    parser.add_argument("--seeds", type=int, help="so many of each case, from 0 on")
    parser.add_argument("--keep", type=Path, help="folder for the guard.jsonl of each run")
    given = parser.parse_args()
    for case in given.case or SEEDS:
        done = {row["seed"] for row in read_rows(RESULTS) if row["case"] == case}
        for seed in range(given.seeds or SEEDS[case]):
            if seed not in done:
                append(RESULTS, json.dumps(run_seed(case, seed, given.keep)))
    for case in SEEDS:
        print(summarize(case, [row for row in read_rows(RESULTS) if row["case"] == case]))


def run_seed(case: str, seed: int, keep: Path | None) -> dict[str, Any]:
    """Train once, and return at which steps there was an alarm, and at which 0.1.0 would have had one."""
    guard = [f"guard.every={EVERY}", "guard.num_prompts=64", "guard.on_alarm=warn", "evaluation.num_prompts=8"]
    with tempfile.TemporaryDirectory() as folder:
        sets = [*REWARDS[case], *guard, f"training.steps={STEPS}", f"seed={seed}", f"output={folder}/run"]
        train(recipes.path_of("quickstart"), sets)
        path = Path(folder) / "run" / "guard.jsonl"
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, keep / f"{case}-{seed}.jsonl")
        return {"case": case, "seed": seed, **alarms_of(path)}


def alarms_of(path: Path) -> dict[str, list[int]]:
    """Return the steps with an alarm, by what stands in guard.jsonl and by the rule of 0.1.0."""
    checks = [GuardCheck.from_json(row, str(path)) for row in read_rows(path)]
    return {"alarms": [check.step for check in checks if check.alarms], "alarms_0_1_0": alarms_of_0_1_0(checks)}


def alarms_of_0_1_0(checks: Sequence[GuardCheck]) -> list[int]:
    """Return the steps at which release 0.1.0 would have sounded an alarm, with the bands of the defaults."""
    section, alarms, fit = GuardSection(), [], [checks[0]]
    own = next(name for name, judge in checks[0].judges.items() if judge.role == "training")
    held_out = next(name for name, judge in checks[0].judges.items() if judge.role == "held_out")

    def score(check: GuardCheck, judge: str) -> float:
        mean = check.judges[judge].score_mean
        assert mean is not None, "judges of this script never abstain on all prompts"
        return mean

    for check in checks[1:]:
        now, first = score(check, held_out), score(checks[0], held_out)
        gain = score(check, own) - score(checks[0], own)
        best = max(score(earlier, held_out) for earlier in fit)
        follows = gain < 0.1 or now - first >= section.follow * gain
        bands = [(check.length, section.length), (check.perplexity, section.perplexity)]
        within = (check.distinct_2 or 0) >= section.distinct_2 and all(
            value is not None and low <= value <= high for value, (low, high) in bands
        )
        if now >= best - section.score_drop and follows and within:
            fit.append(check)
        elif gain > 0.01:
            alarms.append(check.step)
    return alarms


def summarize(case: str, rows: Sequence[dict[str, Any]]) -> str:
    """Say in a line how many runs had an alarm, by either rule, and at which step the first one came in the median."""
    said = []
    for key, rule in (("alarms", "this tree"), ("alarms_0_1_0", "0.1.0")):
        first = sorted(row[key][0] for row in rows if row[key])
        median = f", the first at step {first[len(first) // 2]} in the median" if first else ""
        said.append(f"{rule}: {len(first)} of {len(rows)} runs with an alarm{median}")
    return f"{case}: {'; '.join(said)}"


if __name__ == "__main__":
    main()
