"""What tests of training share: a small trainer, a policy that knows ten words, and what a run has written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.core.config.trainers import PPOConfig
from rlaif.training.loop.trainer import Callback
from rlaif.training.ppo.trainer import PPOTrainer
from tests import tiny

PROMPTS = ["a", "bb and b", "ccc", "dd", "e, or not e", "f"]
"""Of unequal lengths."""

SMALL: dict[str, Any] = {
    "steps": 2, "batch_size": 4, "mini_batch_size": 2, "ppo_epochs": 2, "max_new_tokens": 6, "min_new_tokens": 0,
    "learning_rate": 1e-3, "save_steps": 1000, "dtype": "float32",
}  # fmt: skip


def trainer_of(
    model: Any, folder: Path, reward: Any = None, prompts: Any = PROMPTS, *, given: Mapping[str, Any] = {}, **args: Any
) -> PPOTrainer:
    """A trainer whose run lies in `folder`; `given` are its other arguments. By default vowels are good."""
    model = str(model) if isinstance(model, Path) else model
    args |= args.pop("args", {})  # for those that are named like an argument here
    config = PPOConfig(**{**SMALL, "output_dir": str(folder), **args})
    return PPOTrainer(model, vowels if reward is None else reward, config, prompts, **given)


def vowels(completions: Sequence[str], **_: Any) -> list[float]:
    """The share of vowels, a little for length, and a little for the very text: two that differ have two rewards."""

    def reward(text: str) -> float:
        return sum(c in "aeiou" for c in text) / (len(text) + 1) + len(text) / 100 + crc32(text.encode()) / 2**32 / 10

    return [reward(text) for text in completions]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The metrics that a run wrote; JSON without NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def weights_of(trainer: PPOTrainer) -> dict[str, torch.Tensor]:
    """A copy of all trained tensors."""
    return {name: tensor.detach().clone() for name, tensor in trainer.policy.weights().items()}


def distance(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """The largest difference of any weight."""
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def policy_part(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights that the next token depends on."""
    return {name: tensor for name, tensor in weights.items() if name.startswith("model.")}


class Watch(Callback):
    """Calls a function at the end of each step."""

    def __init__(self, seen: Callable[[PPOTrainer, dict[str, Any]], None]) -> None:
        self.function = seen

    def on_step(self, trainer: PPOTrainer, metrics: dict[str, Any]) -> None:
        self.function(trainer, metrics)


def ten_words() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A Llama that knows `</s>` and nine letters, so that all that it can say in two tokens can be counted out."""
    core = Tokenizer(models.WordLevel({"</s>": 0, **{letter: i + 1 for i, letter in enumerate("abcdefghi")}}, "a"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="</s>", unk_token="a")
    config = LlamaConfig(
        vocab_size=10, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=64, max_position_embeddings=16, initializer_range=0.2, bos_token_id=None, eos_token_id=0,
        pad_token_id=0,
    )  # fmt: skip
    with tiny.weights():
        return LlamaForCausalLM(config).eval(), tokenizer
