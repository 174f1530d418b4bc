"""The quickstart's models, made from scratch on its corpus: a policy that insults often, and two judges apart."""

from __future__ import annotations

import math
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from rlaif.judges.quickstart.corpus import Comment, comments
from rlaif.judges.quickstart.plan import Size
from rlaif.policy.loading import hide_progress_bars

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
BOS, PAD, EOS, UNK = range(4)
"""As RoBERTa counts them."""
LABELS = ("neutral", "toxic")
_POSITIONS = 256
_IGNORED = -100
"""What the loss of transformers leaves out."""

Tick = Callable[[int], None]
"""Is told how many batches more are done."""


def make_policy(size: Size, folder: Path, tick: Tick) -> None:
    """Make a causal model that continues comments as its corpus does, and save it with its tokenizer."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    texts = [comment.text for comment in comments(size.comments, size.seed, size.half)]
    tokenizer = tokenizer_of(texts, size.vocabulary, single="<s> $A")
    with _apart(size.seed):
        ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=size.hidden, intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers, num_attention_heads=size.heads, num_key_value_heads=size.heads,
            max_position_embeddings=_POSITIONS, tie_word_embeddings=True, **ids,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
        model.generation_config = GenerationConfig(**ids)
        rows = [[*row, EOS] for row in tokenizer(texts)["input_ids"]]

        def loss_of(batch: Sequence[int]) -> Any:
            ids_BT, mask_BT = pad_rows([rows[i] for i in batch])
            labels_BT = ids_BT.masked_fill(~mask_BT, _IGNORED)
            return model(input_ids=ids_BT, attention_mask=mask_BT.long(), labels=labels_BT).loss

        _learn(model, loss_of, [len(row) for row in rows], size, tick)
    _save(model, tokenizer, folder)


def make_judge(size: Size, folder: Path, tick: Tick) -> None:
    """Make a classifier, neutral or toxic, of whole comments and of their continuations, and save it."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    found = comments(size.comments, size.seed, size.half)
    draw = random.Random(size.seed)
    texts = [_judge_text(comment, draw) for comment in found]
    tokenizer = tokenizer_of([comment.text for comment in found], size.vocabulary, single="<s> $A </s>")
    with _apart(size.seed):
        config = RobertaConfig(
            vocab_size=len(tokenizer), hidden_size=size.hidden, intermediate_size=2 * size.hidden,
            num_hidden_layers=size.layers, num_attention_heads=size.heads, max_position_embeddings=_POSITIONS + 2,
            type_vocab_size=1, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
            id2label=dict(enumerate(LABELS)), label2id={label: i for i, label in enumerate(LABELS)},
        )  # fmt: skip
        model = RobertaForSequenceClassification(config)
        rows = tokenizer(texts)["input_ids"]
        labels = torch.tensor([int(comment.is_rude) for comment in found])

        def loss_of(batch: Sequence[int]) -> Any:
            ids_BT, mask_BT = pad_rows([rows[i] for i in batch])
            logits_BC = model(input_ids=ids_BT, attention_mask=mask_BT.long()).logits
            return torch.nn.functional.cross_entropy(logits_BC, labels[list(batch)])

        _learn(model, loss_of, [len(row) for row in rows], size, tick)
    _save(model, tokenizer, folder)


def tokenizer_of(texts: Iterable[str], vocabulary: int, single: str) -> Any:
    """Learn a byte-level BPE (Sennrich et al. 2016) of texts; `single` is how a text is wrapped."""
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", BOS), ("</s>", EOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=_POSITIONS,
    )  # fmt: skip


def pad_rows(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and a mask of rows of mixed lengths, padded on the right."""
    longest = max(map(len, rows))
    ids_BT = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])
    return ids_BT, torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]


def _judge_text(comment: Comment, draw: random.Random) -> str:
    """Return what a judge is to know: mostly the continuation of a prompt, now and then the whole."""
    return comment.text if draw.random() < 0.25 else comment.completion


def _learn(
    model: Any, loss_of: Callable[[Sequence[int]], torch.Tensor], lengths: Sequence[int], size: Size, tick: Tick
) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.learning_rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warmth(step / size.batches))
    for _, batch in zip(range(size.batches), _batches(lengths, size), strict=False):
        optimizer.zero_grad()
        loss_of(batch).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tick(1)
    model.eval()


@contextmanager
def _apart(seed: int) -> Iterator[None]:
    """
    Draw from a seed of our own, and compute on one core: the caller's random numbers and threads stay as they were.

    Layers so small gain next to nothing from a second core, and where other work holds it they wait at every step.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _warmth(done: float) -> float:
    """Return the share of the learning rate after a share of the batches: up for a tenth, then down a cosine."""
    return min(1.0, 10 * done + 0.01) * 0.5 * (1 + math.cos(math.pi * done))


def _batches(lengths: Sequence[int], size: Size) -> Iterable[Sequence[int]]:
    """Yield batches of rows of like lengths without end, each row once in every pass."""
    draw = random.Random(size.seed)
    while True:
        order = sorted(range(len(lengths)), key=lambda i: (lengths[i], draw.random()))
        batches = [order[i : i + size.batch_size] for i in range(0, len(order), size.batch_size)]
        draw.shuffle(batches)
        yield from batches


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save both, or raise `OSError`: the two libraries have errors of their own for a full disk."""
    try:
        with hide_progress_bars():
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise
