"""The loop knows no rollouts: a trainer on written answers has its checkpoints, callbacks and resuming too."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlaif.core.config.trainers import PPOConfig
from rlaif.core.errors import RlaifError
from rlaif.core.records import Record
from rlaif.core.system.distributed import Processes
from rlaif.policy.loading import load
from rlaif.policy.model import Policy
from rlaif.policy.tokens import TokenBatch, pad_sequences
from rlaif.training.loop.batches import Batches
from rlaif.training.loop.optimizer import load_moments, moments_of
from rlaif.training.loop.trainer import Callback, Trainer
from tests import tiny
from tests.trainers import SMALL, distance, weights_of

PAIRS = [("a", " b"), ("bb", " c"), ("ccc", " d"), ("d", " e"), ("ee", " f")]


class Adam:
    """The optimizer of the model, without the value head."""

    def __init__(self, policy: Policy) -> None:
        policy.value_head.requires_grad_(False)
        self.parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3)

    def state(self) -> Mapping[str, Tensor]:
        return moments_of(self.optimizer, self.parameters)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        load_moments(state, self.optimizer, self.parameters)


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisedStep(Record):
    """A line of metrics.jsonl."""

    step: int
    samples: int
    loss: float
    seconds: float


class SupervisedTrainer(Trainer):
    """Learns to give written answers."""

    learner: Adam

    def make_learner(self) -> Adam:
        return Adam(self.policy)

    def make_step(self, step: int) -> None:
        start, pad, device = time.perf_counter(), self.policy.pad, self.policy.device
        pairs = [PAIRS[row] for row in self.batches.rows_of(step, self.share)]
        prompts, answers = (self.policy.tokenizer(list(texts))["input_ids"] for texts in zip(*pairs, strict=True))
        tokens = TokenBatch(*pad_sequences(prompts, pad, device), *pad_sequences(answers, pad, device))
        loss = -self.policy(tokens).logprobs.sum() / tokens.mask_BR.sum()
        self.learner.optimizer.zero_grad()
        loss.backward()
        self.learner.optimizer.step()
        seconds = time.perf_counter() - start
        done = SupervisedStep(step=step, samples=step * self.args.batch_size, loss=float(loss), seconds=seconds)
        self.end_step(done, [f"loss {float(loss):.3f}"])


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.policy(tmp_path_factory.mktemp("llama"))


def supervised(model: Path, folder: Path, steps: int, *callbacks: Callback) -> SupervisedTrainer:
    args = PPOConfig(**{**SMALL, "steps": steps, "save_steps": 1, "output_dir": str(folder)})
    processes = Processes(folder=str(folder))
    policy = Policy(load(str(model), dtype="float32"))
    return SupervisedTrainer(args, policy, Batches(len(PAIRS), args.batch_size, 0), processes, callbacks)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_trainer_without_rollouts_learns_and_writes_metrics_checkpoints_and_the_model(llama, tmp_path, capsys):
    supervised(llama, tmp_path, 6).train()
    found = losses(tmp_path)
    assert len(found) == 6
    assert found[-1] < found[0]
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-000005", "step-000006"]
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert f"step 6/6 loss {found[-1]:.3f} " in capsys.readouterr().err


def test_a_resumed_run_is_that_of_one_that_was_not_interrupted(llama, tmp_path):
    whole = supervised(llama, tmp_path / "whole", 5)
    whole.train()
    supervised(llama, tmp_path / "cut", 2).train()
    resumed = supervised(llama, tmp_path / "cut", 5)
    resumed.train(resume_from_checkpoint=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert distance(weights_of(whole), weights_of(resumed)) == 0


def test_a_callback_adds_to_the_metrics_and_ends_the_run(llama, tmp_path):
    class Stop(Callback):
        def on_step(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
            metrics["note"] = "seen"
            if metrics["step"] == 2:
                trainer.stop("enough")

    supervised(llama, tmp_path, 5, Stop()).train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["note"]) for line in lines] == [(1, "seen"), (2, "seen")]


def test_what_ends_the_run_between_steps_leaves_a_checkpoint(llama, tmp_path):
    class Fail(Callback):
        def on_step(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
            raise RlaifError("the disk is gone")

    with pytest.raises(
        RlaifError, match=r"the disk is gone; step 1 is kept in .*checkpoints; --resume goes on from it"
    ):
        supervised(llama, tmp_path, 3, Fail()).train()
    assert (tmp_path / "checkpoints/step-000001/checkpoint.json").exists()
    assert len(losses(tmp_path)) == 1
