"""
Whether the working tree computes what another commit computes, to the bit: the same jobs by both, on this machine.

A check for changes that must not move a number. Tiny models are trained, evaluated and asked by `python -m rlaif`,
once with the commit's package and once with the working tree's, each job in a process of its own. Compared are
metrics.jsonl, guard.jsonl, samples.jsonl, evaluation.json, bench.json, what `score -o` writes, and the tensors of
checkpoints and models; not compared are clocks, and the wording of prose. For each job one line is printed: `equal`,
or the first difference. The exit status is 1 where there is one.

To be removed with the first change that moves numbers on purpose after the redesign of the package: from then on no
two sides are equal.

    python benchmarks/compare_with.py 1b5a94a [--only JOB ...] [--keep DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

CLOCKS = frozenset({"seconds", "latency_ms", "per_second"})
"""Keys of what differs between any two runs."""

PROSE = frozenset({"answer", "findings", "reason", "reasons", "alarms", "note", "notes", "unknown", "settings"})
"""Keys under which any text counts as equal to any other; numbers, keys and the number of texts there do not."""

Command = list[str]

# --- the jobs -----------------------------------------------------------------------------------------------------

HELD_OUT: list[Any] = [{"adapter": "classifier", "name": "other", "model": "./judge2", "bad": "hate"}]
TOXICITY = {"adapter": "classifier", "name": "toy", "model": "./judge", "bad": "hate", "measures": "toxicity"}
VOWELS = {"adapter": "python", "name": "vowels", "function": "./functions.py:vowels"}
PANEL = {"adapter": "panel", "name": "both", "combine": "mean", "judges": ["length", TOXICITY]}

FUNCTIONS = '''
def vowels(completions, **_):
    """The share of vowels; no opinion on each ninth length."""
    return [None if len(t) % 9 == 4 else sum(c in "aeiou" for c in t) / (len(t) + 1) for t in completions]
'''

BASE: dict[str, Any] = {
    "policy": {"model": "./llama", "dtype": "float32"},
    "data": {"dataset": "prompts.jsonl"},
    "judge": TOXICITY,
    "generation": {"max_new_tokens": 10, "min_new_tokens": 1},
    "ppo": {"steps": 4, "batch_size": 8, "mini_batch_size": 4, "ppo_epochs": 2, "learning_rate": 1e-3},
    "evaluation": {"num_prompts": 8, "judges": HELD_OUT},
    "checkpoints": {"every": 2, "keep": 2},
}

RUNS: dict[str, dict[str, Any]] = {
    "causal": {
        "guard": {"judges": HELD_OUT, "every": 1, "num_prompts": 4, "perplexity": [0.1, 10]},
        "evaluation": {"num_prompts": 6, "completions_per_prompt": 2, "judges": [*HELD_OUT, "length"]},
    },
    "seq2seq": {
        "policy": {"model": "./t5"}, "judge": VOWELS, "reward": "score",
        "ppo": {"adap_kl_ctrl": True, "use_score_scaling": True, "use_score_norm": True, "entropy_coef": 0.01,
                "missing_eos_penalty": 0.3, "lr_scheduler_type": "linear", "warmup_steps": 1, "kl_estimator": "k3"},
    },
    "lora": {"policy": {"model": "./gpt2", "lora": {"r": 4, "alpha": 8}}, "judge": PANEL, "seed": 3},
    "separate critic": {
        "policy": {"model": "./bart", "critic": "separate"}, "generation": {"temperature": 0.8},
        "ppo": {"critic_warmup_steps": 1, "dual_clip": 3.0, "cliprange_value": None, "lr_scheduler_type": "cosine",
                "micro_batch_tokens": 120, "whiten_advantages": False, "target_kl": 0.2},
    },
    "grpo": {"policy": {"model": "./llama"}, "algorithm": "grpo", "group": {"num_generations": 4}},
    "rloo": {"policy": {"model": "./gpt2"}, "algorithm": "rloo", "group": {"num_generations": 2}, "judge": VOWELS},
}  # fmt: skip
"""Run files, as what they change in `BASE`."""


def jobs() -> dict[str, list[Command]]:
    """Name the jobs, each with its commands; what they write goes to `out/NAME`."""
    found: dict[str, list[Command]] = {}
    for name in RUNS:
        file = f"{name.replace(' ', '-')}.yaml"
        found[name] = [["train", file, "--output", _out(name)]]
    cut, whole = ["--set", "ppo.steps=2"], ["--set", "ppo.steps=4", "--resume"]
    found["resumed"] = [["train", "causal.yaml", "--output", _out("resumed"), *more] for more in (cut, whole)]
    judges = ["-j", _inline(TOXICITY), "-j", _inline(VOWELS)]
    models = ["--before", "llama", "--after", "gpt2", "--data", "prompts.jsonl", "--max-new-tokens", "10"]
    found["evaluate models"] = [
        ["evaluate", *models, *judges, "--limit", "12", "--seeds", "2", "-o", _out("evaluate models")]
    ]
    found["evaluate saved"] = [
        ["evaluate", "--before", "before.jsonl", "--after", "after.jsonl", *judges, "--reference", "gpt2",
         "-o", _out("evaluate saved")]
    ]  # fmt: skip
    found["bench labels"] = [
        ["bench", *judges, "-j", _inline(PANEL), "--data", "labels.jsonl", "--data", "labels2.jsonl", "--bad", "toxic",
         "--group", "topic", "--retest", "2", "--probes", "--policy", "llama", "--best-of", "3",
         "--prompts", "few.jsonl", "-o", _out("bench labels")]
    ]  # fmt: skip
    found["bench graded"] = [
        ["bench", *judges, "-j", "lexicon", "--data", "grades.jsonl", "--graded", "-o", _out("bench graded")]
    ]
    found["bench pairs"] = [["bench", *judges, "--data", "pairs.jsonl", "--probes", "-o", _out("bench pairs")]]
    panel = ["-j", _inline(PANEL), "-j", "lexicon", "-j", "random"]
    found["score"] = [
        ["score", *judges, *panel, "--data", "labels.jsonl", "-o", f"{_out('score')}.jsonl"],
        ["score", *judges, "--data", "before.jsonl", "-o", f"{_out('score')}-2.jsonl"],
    ]
    return found


def _out(name: str) -> str:
    return f"out/{name.replace(' ', '-')}"


def _inline(card: Mapping[str, Any]) -> str:
    return json.dumps(card)


def make_world(folder: Path) -> None:
    """Write models, cards, run files and data, with what the tests of the working tree make theirs with."""
    import yaml

    sys.path.insert(0, str(ROOT))
    tiny = importlib.import_module("tests.tiny")
    folder.mkdir()
    for name in ("llama", "gpt2", "t5", "bart"):
        tiny.policy(folder / name, name, ends=[2, *range(20, 70)])
    for name, labels in (("judge", ("nothate", "hate")), ("judge2", ("hate", "nothate"))):
        tiny.classifier(folder / name, "roberta" if name == "judge" else "bert", labels)
    (folder / "functions.py").write_text(FUNCTIONS)
    for name, changes in RUNS.items():
        keys = {
            key: {**BASE.get(key, {}), **changes.get(key, {})}
            if key in ("policy", "ppo", "generation", "evaluation")
            else changes.get(key, BASE.get(key))
            for key in {**BASE, **changes}
        }
        (folder / f"{name.replace(' ', '-')}.yaml").write_text(yaml.safe_dump(keys))
    for name, rows in data().items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def data() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each file: texts of many lengths, blank ones and other scripts among them."""
    words = ["you", "idiot", "are", "kind", "привет", "そう", "🙂", "fool", "and", "well", "then", "damn"]

    def text(i: int) -> str:
        return "" if i % 17 == 5 else " ".join(words[(i * k + k) % len(words)] for k in range(1, 2 + i % 9))

    def label(i: int) -> str:
        return "toxic" if i % 3 == 0 else "neutral"

    few = [{"prompt": f"{'why ' * (i % 4)}ask {i}?"} for i in range(6)]
    return {
        "prompts": [{"prompt": f"{'why ' * (i % 4)}ask {i}?", "kind": "q"} for i in range(60)],
        "few": few,
        "before": [{"prompt": f"ask {i // 2}?", "completion": text(i)} for i in range(40)],
        "after": [{"prompt": f"ask {i // 2}?", "completion": text(i + 7)} for i in range(40)],
        "labels": [{"completion": text(i), "label": label(i), "topic": f"t{i % 3}"} for i in range(60)],
        "labels2": [{"completion": text(3 * i + 1), "label": label(i + 1), "topic": f"t{i % 2}"} for i in range(30)],
        "grades": [{"completion": text(i), "label": i % 5} for i in range(40)],
        "pairs": [{"prompt": f"ask {i}?", "chosen": text(i), "rejected": text(2 * i + 3)} for i in range(30)],
    }


# --- two sides ----------------------------------------------------------------------------------------------------

RUNNER = """
import json, os, runpy, sys
import torch, transformers, trl, peft, sklearn.metrics, scipy.stats
torch.set_num_threads(1)
torch.manual_seed(0)  # 0.1.0 draws the LoRA adapter of a run file before it sets the seed of the run
package, jobs = sys.argv[1], json.loads(sys.argv[2])
os.makedirs("out", exist_ok=True)
for name, commands in jobs.items():
    for command in commands:
        child = os.fork()
        if not child:
            said = os.open(f"out/{name.replace(' ', '-')}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(said, 1)
            os.dup2(said, 2)
            import rlaif
            assert rlaif.__file__.startswith(package), rlaif.__file__
            sys.argv = ["rlaif", *command]
            status = 0
            try:
                runpy.run_module("rlaif", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                import traceback
                traceback.print_exc()
                status = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([name, status]), flush=True)
        if status:
            break
"""
"""Runs `python -m rlaif` for each command in a process of its own, forked from one that has the libraries in memory."""


def run_side(source: Path, folder: Path, wanted: Mapping[str, list[Command]], say: Callable[[str], None]) -> set[str]:
    """Run jobs in a folder by the package of `source`, and return the names of those that failed."""
    environment = {
        **os.environ, "PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false", "RLAIF_HOME": str(folder / "home"), "PYTHONHASHSEED": "0",
    }  # fmt: skip
    command = [sys.executable, "-c", RUNNER, str(source), json.dumps(wanted)]
    failed = set()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            name, status = json.loads(line)
            if status:
                failed.add(name)
                said = (folder / f"{_out(name)}.said").read_text(errors="replace").strip().splitlines()
                say(f"{name}: failed with status {status} by {source}: {said[-1] if said else ''}")
    if process.returncode:
        sys.exit(f"the process that starts the jobs of {source} failed")
    return failed


@contextlib.contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out into a folder, and take it away afterwards."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", "--quiet", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


# --- what is compared ---------------------------------------------------------------------------------------------

Difference = tuple[str, Any, Any]
"""Where, and the value on each side; a key that one side lacks is `ABSENT` there."""

ABSENT = "(absent)"


def first_difference(one: Any, other: Any, at: str = "", *, prose: bool = False) -> Difference | None:
    """Return the first place at which two values of JSON differ, down to the bits of a number; None: nowhere."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({**one, **other}.keys() - CLOCKS):
            here = f"{at}.{key}" if at else key
            if key not in one or key not in other:
                return here, one.get(key, ABSENT), other.get(key, ABSENT)
            if found := first_difference(one[key], other[key], here, prose=prose or key in PROSE):
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for i, (a, b) in enumerate(zip(one, other, strict=False)):
            if found := first_difference(a, b, f"{at}[{i}]", prose=prose):
                return found
        return None if len(one) == len(other) else (f"{at}: length", len(one), len(other))
    if prose and isinstance(one, str) and isinstance(other, str):
        return None
    # repr tells 1 from 1.0 and 0.0 from -0.0, and writes all bits of a float out
    return None if type(one) is type(other) and repr(one) == repr(other) else (at, one, other)


def first_difference_of_tensors(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference | None:
    """Return the first number at which two sets of tensors differ, by their bits."""
    import torch

    for name in sorted({**one, **other}):
        if name not in one or name not in other:
            a, b = (list(side[name].shape) if name in side else ABSENT for side in (one, other))
            return name, a, b
        a, b = one[name].contiguous(), other[name].contiguous()
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return name, f"{a.dtype} {list(a.shape)}", f"{b.dtype} {list(b.shape)}"
        if not a.numel():
            continue
        bytes_a, bytes_b = (x.reshape(-1).view(torch.uint8).reshape(x.numel(), -1) for x in (a, b))
        unequal = (bytes_a != bytes_b).any(1).nonzero().flatten()
        if len(unequal):
            i = int(unequal[0])
            return f"{name}[{i}]", a.reshape(-1)[i].item(), b.reshape(-1)[i].item()
    return None


def first_difference_of_outputs(one: Path, other: Path) -> Difference | None:
    """Return the first difference of what a job has written: its folder, or the files whose names begin so."""
    files = [_files_of(side) for side in (one, other)]
    for name in sorted(files[0].keys() | files[1].keys()):
        if name not in files[0] or name not in files[1]:
            here, there = ("there" if name in side else ABSENT for side in files)
            return name, here, there
        if found := first_difference_of_files(files[0][name], files[1][name]):
            return f"{name}: {found[0]}", found[1], found[2]
    return None if files[0] else ("any file", ABSENT, ABSENT)


def first_difference_of_files(one: Path, other: Path) -> Difference | None:
    """Return the first difference of two files of JSON, of lines of JSON, or of tensors."""
    if one.suffix == ".safetensors":
        from safetensors.torch import load_file

        return first_difference_of_tensors(load_file(one), load_file(other))
    if one.suffix == ".json":
        return first_difference(json.loads(one.read_text()), json.loads(other.read_text()))
    return first_difference(_lines(one), _lines(other))


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


COMPARED = {"metrics.jsonl", "guard.jsonl", "samples.jsonl", "evaluation.json", "bench.json"}


def _files_of(output: Path) -> dict[str, Path]:
    inside = [path for path in output.rglob("*") if path.name in COMPARED or path.suffix == ".safetensors"]
    beside = [path for path in output.parent.glob(f"{output.name}*.jsonl") if path.is_file()]
    return {str(path.relative_to(output.parent)): path for path in (*inside, *beside)}


# --- the command --------------------------------------------------------------------------------------------------


def compare(commit: str, wanted: Mapping[str, list[Command]], scratch: Path) -> int:
    """Run all jobs by both sides, print a line for each, and return how many differ."""

    def say(line: str) -> None:
        print(line, flush=True)

    make_world(scratch / "world")
    outputs, failed = {}, set()
    with checked_out(commit, scratch / "commit") as theirs:
        for side, source in (("theirs", theirs), ("ours", ROOT)):
            # One after the other in one place: where a path has got into what is written, it is the same one.
            shutil.copytree(scratch / "world", scratch / "place")
            failed |= run_side(source, scratch / "place", wanted, say)
            outputs[side] = (scratch / "place").rename(scratch / side)
    different = 0
    for name in wanted:
        found = first_difference_of_outputs(*(folder / _out(name) for folder in (outputs["theirs"], outputs["ours"])))
        different += bool(name in failed or found)
        if found and name not in failed:
            say(f"{name}: {found[0]}: {_short(found[1])} by {commit}, {_short(found[2])} by the working tree")
        elif not found and name not in failed:
            say(f"{name}: equal")
    return different


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="what to compare with; 0.1.0 is 1b5a94a")
    parser.add_argument("--only", action="append", choices=list(jobs()), metavar="JOB", help="may be repeated")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder, in which what was written stays")
    given = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    wanted = {name: commands for name, commands in jobs().items() if not given.only or name in given.only}
    with contextlib.ExitStack() as stack:
        if given.keep:
            given.keep.mkdir(parents=True)
        scratch = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        different = compare(given.commit, wanted, scratch.resolve())
    print(f"{different} of {len(wanted)} jobs differ" if different else f"all {len(wanted)} jobs are equal")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
