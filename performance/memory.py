"""
What `rlaif check` predicts of a run's peak memory, beside what a process that trains really took.

Small models of several kinds with random weights, each trained for two steps by `rlaif train` in a process of its own,
whose peak is the kernel's (VmHWM). The second pair of columns leaves out what Python and its libraries take. Linux.

    python performance/memory.py [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MIB = 2**20

LLAMA = {
    "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 2, "num_attention_heads": 8,
    "num_key_value_heads": 4, "tie_word_embeddings": False,
}  # fmt: skip
T5 = {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 2, "num_heads": 8, "dropout_rate": 0.1}
GPT2 = {"n_embd": 512, "n_layer": 2, "n_head": 8}
LORA = {"r": 16, "alpha": 32, "target_modules": "all-linear"}

CASES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, small pieces": {"training": {"micro_batch_tokens": 512}},
    "llama, separate critic": {"policy": {"critic": "separate"}},
    "llama, recomputing": {"policy": {"gradient_checkpointing": True}},
    "llama, lora": {"policy": {"lora": LORA}},
    "llama, lora, bfloat16": {"policy": {"lora": LORA, "dtype": "bfloat16"}},
    "llama, bfloat16": {"policy": {"dtype": "bfloat16"}},
    "llama, batch 128": {"training": {"batch_size": 128}, "policy": {"lora": LORA}},
    "gpt2": {"model": "gpt2"},
    "t5": {"model": "t5"},
    "t5, lora": {"model": "t5", "policy": {"lora": {"r": 16, "alpha": 32}}},
    "llama, judge": {"judge": True, "policy": {"lora": LORA}},
}


def main() -> None:
    """Run every case and print a line of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CASES)
    parser.add_argument("--predict", help=argparse.SUPPRESS)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.predict:
        print(json.dumps(predicted(Path(given.predict))))
    elif given.train:
        print(json.dumps(measured(Path(given.train))))
    else:
        print("MiB                        predicted  measured          without libraries           busiest")
        for name in given.only or CASES:
            print(line(name), flush=True)


def line(name: str) -> str:
    """Predict and measure a case, and return the line that is printed."""
    said, peak = both(name)
    total, process = said["total"] / MIB, said["process"] / MIB
    took = peak / MIB
    pairs = ((total, took), (total - process, took - process))
    columns = (f"{guess:9.0f} {truth:9.0f} {guess / truth - 1:+6.0%}" for guess, truth in pairs)
    return f"{name:26} {'   '.join(columns)}   {said['phase']}"


def both(name: str) -> tuple[dict[str, Any], int]:
    """Return what is predicted of a case, and the most bytes that a process of it held."""
    with tempfile.TemporaryDirectory() as folder:
        run = make(Path(folder), CASES[name])
        return child("--predict", run), child("--train", run)


def child(what: str, run: Path) -> Any:
    """Run this file in a process of its own, and return what it says."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__, what, str(run)], capture_output=True, text=True, cwd=run.parent, env=env
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def predicted(run: Path) -> dict[str, Any]:
    """Return what is predicted of a run file."""
    import rlaif.training.run.run
    from rlaif.core.system.devices import computes_on
    from rlaif.core.system.distributed import Processes
    from rlaif.judges.session import Session
    from rlaif.policy.tokenizer import read_tokenizer
    from rlaif.training.run.forecast.memory import memory_of
    from rlaif.training.run.run_file import open_run

    config = open_run(run)
    judges = rlaif.training.run.run.judges_of(config, Session(), resume=False)
    tokenizer = read_tokenizer(config.policy.model)
    parts = rlaif.training.run.run.parts_of(config, tokenizer, judges)
    Processes()  # brings in what a trainer does
    memory = memory_of(config, tokenizer, [len(prompt.ids) for prompt in parts.train], judges.all, computes_on())
    return {"total": memory.total, "process": memory.process, "phase": memory.phase}


def measured(run: Path) -> int:
    """Train by a run file, and return the most bytes that this process held."""
    from rlaif.training.run.run import train

    train(run)
    return most_resident()


def most_resident() -> int:
    """Return the most bytes that this process has held so far; Linux only."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return 1024 * int(found[1])


# --- models, prompts, run files -----------------------------------------------------------------------------------


def make(folder: Path, case: dict[str, Any]) -> Path:
    """Write a model with random weights, prompts, perhaps a judge, and the run file that trains it."""
    from performance import shapes

    draw = random.Random(0)
    prompts = [" ".join(f"w{draw.randrange(4, shapes.VOCABULARY)}" for _ in range(draw.randint(32, 96)))
               for _ in range(400)]  # fmt: skip
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    save_model(folder / "policy", case.get("model", "llama"))
    judge: Any = "length"
    if case.get("judge"):
        save_judge(folder / "judge")
        judge = {"adapter": "classifier", "model": "./judge", "bad": "toxic", "name": "toy"}
    training = {"steps": 2, "batch_size": 16, "mini_batch_size": 16, **case.get("training", {})}
    keys = {
        "policy": {"model": "./policy", "dtype": "float32", **case.get("policy", {})},
        "data": {"dataset": "prompts.jsonl"},
        "judge": judge,
        "generation": {"max_new_tokens": 16, "min_new_tokens": 16},
        "training": training,
        "ppo": {"ppo_epochs": 1},
        "evaluation": {"num_prompts": 8},
        "checkpoints": {"every": 2},
        "output": str(folder / "out"),
    }
    (folder / "run.yaml").write_text(json.dumps(keys))
    return folder / "run.yaml"


def save_model(folder: Path, kind: str) -> None:
    """Save a policy of some 15 million weights."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        GPT2Config,
        LlamaConfig,
        T5Config,
    )

    from performance import shapes

    torch.manual_seed(0)
    ids = {"vocab_size": shapes.VOCABULARY, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    if kind == "t5":
        model = AutoModelForSeq2SeqLM.from_config(T5Config(**T5, **ids, decoder_start_token_id=0))
    elif kind == "gpt2":
        model = AutoModelForCausalLM.from_config(GPT2Config(**GPT2, **ids))
    else:
        model = AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA, **ids))
    model.save_pretrained(folder)
    shapes.make_tokenizer().save_pretrained(folder)


def save_judge(folder: Path) -> None:
    """Save a classifier of the size of RoBERTa-base."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    from performance import shapes

    labels = {0: "neutral", 1: "toxic"}
    config = RobertaConfig(vocab_size=shapes.VOCABULARY, id2label=labels, pad_token_id=0, max_position_embeddings=514)
    RobertaForSequenceClassification(config).save_pretrained(folder)
    shapes.make_tokenizer().save_pretrained(folder)


if __name__ == "__main__":
    main()
