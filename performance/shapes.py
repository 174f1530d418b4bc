"""
What the contestants of performance/ppo.py share: two model shapes, the prompts, the tokenizer, the reward, the report.

Each contestant runs in a virtual environment of its own, so that this file knows no version of anything: the configs
are plain mappings, and libraries are imported where they are used. Token i of the vocabulary is the word "wi".
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import random
import resource
import statistics
import sys
from collections.abc import Sequence
from typing import Any

VOCABULARY = 8192
PAD, EOS, BOS, UNKNOWN = range(4)
SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
NEW_TOKENS = 64
PROMPT_TOKENS = (64, 128)
LEARNING_RATE = 1e-5
THREADS = 2

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {  # 6.9 M parameters
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "bos_token_id": BOS,
    },
    "t5": {  # 11.5 M parameters, gated like Flan-T5. No dropout: all score and train the same function
        "vocab_size": VOCABULARY,
        "d_model": 256,
        "d_kv": 32,
        "d_ff": 512,
        "num_layers": 6,
        "num_heads": 8,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        "initializer_factor": 0.1,
        "tie_word_embeddings": True,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "decoder_start_token_id": PAD,
    },
}


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    """Return `count` prompts of 64 to 128 random ids, no special one among them."""
    draw = random.Random(seed)
    return [draw.choices(range(len(SPECIAL), VOCABULARY), k=draw.randint(*PROMPT_TOKENS)) for _ in range(count)]


def text_of(ids: Sequence[int]) -> str:
    """Return the text that the tokenizer turns into exactly these ids."""
    return " ".join(f"w{i}" for i in ids)


def reward(completion_ids: Sequence[int]) -> float:
    """Return the share of even ids: costs nothing, and is not constant."""
    return sum(i % 2 == 0 for i in completion_ids) / max(len(completion_ids), 1)


def make_tokenizer() -> Any:
    """Return a transformers tokenizer of whole words, which adds no special tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL.values(), *(f"w{i}" for i in range(len(SPECIAL), VOCABULARY))]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=SPECIAL["unk_token"]))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", model_max_length=512, **SPECIAL)


def make_model(shape: str) -> Any:
    """Return a model of that shape with random weights, in float32."""
    import torch
    import transformers

    torch.manual_seed(0)
    if shape == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPES[shape]))
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**SHAPES[shape]))


def options(description: str | None, *, batch_size: int = 32, mini_batch_size: int = 8, epochs: int = 4) -> Any:
    """Read the options that all contestants have, and set what must be set before libraries are imported."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(SHAPES), default="llama")
    parser.add_argument("--batches", type=int, default=4, help="the first warms up and is not counted")
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--mini-batch-size", type=int, default=mini_batch_size)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    given = parser.parse_args()
    if given.batches < 2:
        parser.error("--batches must be 2 or more: the first warms up and is not counted")
    os.environ.update(
        HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", OMP_NUM_THREADS=str(THREADS), CUDA_VISIBLE_DEVICES=""
    )
    return given


def report(name: str, given: Any, seconds: Sequence[float], **more: Any) -> None:
    """Print the line of JSON that performance/ppo.py reads; `seconds` holds one figure per batch, warm-up first."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    line = {
        "name": name,
        "options": vars(given),
        "samples_per_second": round(given.batch_size / statistics.median(seconds[1:]), 3),
        "seconds": [round(second, 3) for second in seconds],
        "peak_rss_mb": round(peak, 1),
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "transformers", "trl")},
    }
    print(json.dumps({**line, **more}))
