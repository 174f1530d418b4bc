"""Tiny models of real architectures, from their configs: what works on them loads a hub model by the same code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
)

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}

CHAT = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"


def tokenizer(*, pad: str = "<pad>", max_length: float = 128, chat: str | None = None) -> PreTrainedTokenizerFast:
    """Bytes as tokens, with RoBERTa's special tokens: ids 0 to 3, pad is 1."""
    vocab = {token: i for i, token in enumerate([*SPECIAL, *BYTES])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token=pad,
        model_max_length=max_length,
        chat_template=chat,
    )


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
    torch.manual_seed(0)
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
    model = AutoModelForSequenceClassification.from_config(made[architecture]()).eval()
    model.to(dtype).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
