"""
Tiny models of real architectures, from their configs: what works on them loads a hub model by the same code.

Classifiers for judges, generation models for policies. Their random weights are the same on every CPU; no test may
hang on which they are, so `TINY_SEED=1 pytest ...` runs it with others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
    T5Config,
)

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}

SEED = int(os.environ.get("TINY_SEED", "0"))

CHAT = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"


def tokenizer(
    *,
    bos: str | None = "<s>",
    pad: str | None = "<pad>",
    single: str = "<s> $A </s>",
    max_length: float = 128,
    chat: str | None = None,
) -> PreTrainedTokenizerFast:
    """Bytes as tokens, with RoBERTa's special tokens: ids 0 to 3, pad is 1. `single` is how one text is wrapped."""
    vocab = {token: i for i, token in enumerate([*SPECIAL, *BYTES])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(
        single=single, pair="<s> $A </s> </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=bos,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token=pad,
        model_max_length=max_length,
        chat_template=chat,
    )


@contextmanager
def weights() -> Iterator[None]:
    """
    Draw initial weights by NumPy, which draws the same on every CPU.

    What torch draws from a normal distribution is another on a CPU without AVX2. What it draws from a uniform one, as
    peft does, is the same but for rounding.
    """
    draw = np.random.default_rng(SEED)

    def normal_(self: torch.Tensor, mean: float = 0.0, std: float = 1.0, **_: Any) -> torch.Tensor:
        return self.copy_(torch.as_tensor(draw.normal(mean, std, tuple(self.shape))))

    torch.manual_seed(SEED)
    with mock.patch.object(torch.Tensor, "normal_", normal_):
        yield


def classifier(
    folder: Path,
    architecture: str = "roberta",
    labels: tuple[str, ...] = ("nothate", "hate"),
    *,
    positions: int = 130,
    tokens: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Path:
    """Save a classifier with random but lively weights, and return its folder."""
    words = tokenizer(**(tokens or {}))
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    ids = {"pad_token_id": words.pad_token_id, "bos_token_id": 0, "eos_token_id": 2}
    common = {"vocab_size": len(words), "initializer_range": 0.3, "num_labels": len(labels), **names, **ids, **config}
    common["num_labels"] = len(labels)
    made = {
        "roberta": lambda: RobertaConfig(**SIZE, max_position_embeddings=positions, type_vocab_size=1, **common),
        "bert": lambda: BertConfig(**SIZE, max_position_embeddings=positions, **common),
        "distilbert": lambda: DistilBertConfig(
            dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=positions, **common
        ),
        "deberta": lambda: DebertaV2Config(
            **SIZE, max_position_embeddings=positions, relative_attention=True, pos_att_type=["p2c", "c2p"],
            position_biased_input=False, type_vocab_size=0, **common
        ),
        "llama": lambda: LlamaConfig(**SIZE, max_position_embeddings=positions, num_key_value_heads=2, **common),
        "qwen": lambda: Qwen2Config(**SIZE, max_position_embeddings=positions, num_key_value_heads=2, **common),
        "gpt2": lambda: GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=positions, **common),
    }  # fmt: skip
    with weights():
        model = AutoModelForSequenceClassification.from_config(made[architecture]()).eval()
    model.to(dtype).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


CAUSAL = ("llama", "gpt2", "gpt_neox", "qwen2")
SEQ2SEQ = ("t5", "flan_t5", "bart")
POLICIES = (*CAUSAL, *SEQ2SEQ)
POSITIONS = 512
DROPOUT = 0.2

# What generation configs on the hub bring along, and nobody who samples for PPO wants: as published for
# bart-large-cnn, Llama-3-Instruct and Qwen2-Instruct; the others' are made up.
HUB_DEFAULTS: dict[str, dict[str, Any]] = {
    "bart": {
        "num_beams": 4, "no_repeat_ngram_size": 3, "early_stopping": True, "length_penalty": 2.0,
        "forced_bos_token_id": 0, "forced_eos_token_id": 2, "min_length": 56, "max_length": 142,
    },
    "llama": {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_length": 64},
    "qwen2": {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1},
    "gpt2": {"do_sample": True, "top_k": 5, "typical_p": 0.5, "max_length": 50, "suppress_tokens": [40, 41, 42]},
    "gpt_neox": {"do_sample": True, "top_k": 5, "min_p": 0.2, "bad_words_ids": [[40]]},
    "t5": {"num_beams": 4, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "max_length": 40},
    "flan_t5": {"do_sample": True, "top_k": 5, "encoder_no_repeat_ngram_size": 2, "max_length": 40},
}  # fmt: skip


def policy(
    folder: Path,
    architecture: str = "llama",
    *,
    dtype: torch.dtype = torch.float32,
    pad: bool = True,
    chat: str | None = None,
    hub_defaults: bool = False,
    ends: Sequence[int] | None = None,
    **config: Any,
) -> Path:
    """
    Save a generation model with random but lively weights and a tokenizer of bytes, and return its folder.

    Dropout is on in its config. A causal tokenizer adds `<s>` in front and no `</s>`; T5's adds `</s>` and knows no
    `<s>`; BART's adds both.

    Args:
        pad: false leaves out the pad token, as Llama and GPT-2 do; seq2seq models cannot do without.
        hub_defaults: save a generation config with HUB_DEFAULTS, instead of one that only names ids.
        ends: ids that end a completion; by default only `</s>`, which random weights seldom say.
        config: overrides keys of the model's config.

    """
    single = {"t5": "$A </s>", "flan_t5": "$A </s>", "bart": "<s> $A </s>"}.get(architecture, "<s> $A")
    words = tokenizer(
        bos=None if "t5" in architecture else "<s>",
        pad="<pad>" if pad else None,
        single=single,
        max_length=POSITIONS,
        chat=chat,
    )
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    common: dict[str, Any] = {"vocab_size": len(words), "initializer_range": 0.3, **ids}
    rope = {**SIZE, "max_position_embeddings": POSITIONS, "attention_dropout": DROPOUT}
    gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 48, "n_positions": POSITIONS}
    t5 = {
        "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "dropout_rate": DROPOUT,
        "decoder_start_token_id": words.pad_token_id,
    }  # fmt: skip
    bart = {
        "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
        "max_position_embeddings": POSITIONS, "decoder_start_token_id": 2, "forced_eos_token_id": None,
        "dropout": DROPOUT, "attention_dropout": DROPOUT, "activation_dropout": DROPOUT,
    }  # fmt: skip
    drop = {"resid_pdrop": DROPOUT, "embd_pdrop": DROPOUT, "attn_pdrop": DROPOUT}
    gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    kind, keys = {
        "llama": (LlamaConfig, {**rope, "num_key_value_heads": 1}),
        "qwen2": (Qwen2Config, {**rope, "num_key_value_heads": 1, "tie_word_embeddings": True}),
        "gpt_neox": (GPTNeoXConfig, {**rope, "hidden_dropout": DROPOUT}),
        "gpt2": (GPT2Config, {**gpt2, **drop}),
        "t5": (T5Config, {**t5, "initializer_factor": 1.3}),
        "flan_t5": (T5Config, {**t5, **gated, "initializer_factor": 1.1}),
        "bart": (BartConfig, {**bart, "initializer_range": 0.45}),
    }[architecture]
    auto = AutoModelForSeq2SeqLM if architecture in SEQ2SEQ else AutoModelForCausalLM
    settings = kind(**{**common, **keys, **config})
    with weights():
        model = auto.from_config(settings).eval()
        if architecture == "flan_t5":
            _untie(model)
    model.to(dtype)
    start = {"decoder_start_token_id": settings.decoder_start_token_id} if architecture in SEQ2SEQ else {}
    defaults = HUB_DEFAULTS[architecture] if hub_defaults else {}
    model.generation_config = GenerationConfig(
        **{**ids, **start, **defaults, **({"eos_token_id": list(ends)} if ends else {})}
    )
    model.save_pretrained(folder)
    if architecture == "flan_t5":
        _as_on_the_hub(folder / "config.json")
    words.save_pretrained(folder)
    return folder


def _untie(model: Any) -> None:
    """Give T5 a head of its own: transformers 5 ties it always, and unties at loading what differs in the file."""
    head = torch.empty_like(model.lm_head.weight).normal_(std=0.3)
    model.lm_head.weight = torch.nn.Parameter(head)
    model.all_tied_weights_keys = {k: v for k, v in model.all_tied_weights_keys.items() if k != "lm_head.weight"}


def _as_on_the_hub(config: Path) -> None:
    """Say `tie_word_embeddings: false`, as Flan-T5 does: it tells transformers not to scale the decoder's output."""
    keys = json.loads(config.read_text())
    keys.pop("scale_decoder_outputs", None)
    config.write_text(json.dumps({**keys, "tie_word_embeddings": False}))
