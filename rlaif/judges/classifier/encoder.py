"""Tokenizer and weights of a classifier: texts in, float32 logits out, whatever else is in the batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from rlaif.core.errors import InputError
from rlaif.core.system.hub import explain_hub_error
from rlaif.judges.classifier.card import ClassifierCard

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def token_batches(lengths: Sequence[int], batch_tokens: int, limit: int) -> Iterator[list[int]]:
    """
    Group indices into batches of similar length whose padded size stays within `batch_tokens`, longest first.

    Longest first shows at once whether the largest batch fits into memory. Texts over `limit` are in no batch.
    """
    order = sorted((i for i, length in enumerate(lengths) if length <= limit), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


@dataclass(frozen=True, slots=True)
class EncodedText:
    """One text as the model's inputs; `full_length` is its length in tokens before it was shortened."""

    inputs: dict[str, list[int]]
    full_length: int

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])

    @property
    def shortened(self) -> bool:
        """Whether the model sees only a part of the text."""
        return len(self) < self.full_length


class Encoder:
    """Tokenizer and weights of a classifier: texts in, float32 logits out. Thread-safe."""

    def __init__(self, card: ClassifierCard, where: str) -> None:
        import torch
        from transformers import AutoTokenizer

        self._lock = threading.Lock()  # a tokenizer is not thread-safe while it truncates
        self._mode = card.text
        dtype: torch.dtype = getattr(torch, card.dtype)
        try:
            self.device = _device(card.device, where)
            self.tokenizer = AutoTokenizer.from_pretrained(
                card.model, revision=card.revision, trust_remote_code=card.trust_remote_code
            )
            self.model: PreTrainedModel = _load_model(card, dtype, where)
            self.model.eval().to(self.device)
        except InputError:
            raise
        except Exception as error:
            raise explain_hub_error(error, card.model, where) from error
        if card.text == "chat" and not self.tokenizer.chat_template:
            raise InputError(f"{where}: text: chat needs a chat template, and {card.model} has none")
        self._pad_id = _pad_id(self.tokenizer)
        self.model.config.pad_token_id = self._pad_id
        limit = _limit_of(self.tokenizer, self.model)
        self.limit = min(limit, card.max_tokens or limit)
        self.tokenizer.truncation_side = "right" if card.text == "completion" else "left"

    def encode(self, texts: Sequence[tuple[str, str]]) -> list[EncodedText]:
        """Tokenise pairs of prompt and completion; what does not fit is cut here, in sight, or left too long."""
        if not texts:
            return []
        with self._lock:
            return self._encode(texts)

    def _encode(self, texts: Sequence[tuple[str, str]]) -> list[EncodedText]:
        prompts, completions = [prompt for prompt, _ in texts], [completion for _, completion in texts]
        columns: tuple[list[str], ...]
        if self._mode == "chat":
            columns = ([self._chat(prompt, completion) for prompt, completion in texts],)
        else:
            columns = (completions,) if self._mode == "completion" else (prompts, completions)
        # Without truncation first: only this tells how long a text really is, with any tokenizer.
        batch = self.tokenizer(*columns, add_special_tokens=self._mode != "chat", verbose=False)
        encoded = [
            EncodedText({key: batch[key][i] for key in batch}, len(batch["input_ids"][i])) for i in range(len(texts))
        ]
        if self._mode == "chat":  # a cut dialogue is another dialogue
            return encoded
        return [
            self._cut(text, *row) if len(text) > self.limit else text
            for text, row in zip(encoded, zip(*columns, strict=True), strict=True)
        ]

    def logits(self, batch: Sequence[EncodedText]) -> Tensor:
        """Return float32 logits of shape [B, labels], on the CPU."""
        import torch

        if not self.model.config.is_encoder_decoder:
            return self._forward(batch)
        # T5 and BART pool at the last eos and want as many of them in each text of a batch; a text may quote one.
        return torch.cat([self._forward([text]) for text in batch])

    def _forward(self, batch: Sequence[EncodedText]) -> Tensor:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        inputs = {}
        for key in batch[0].inputs:
            fill = {"input_ids": self._pad_id, "token_type_ids": self.tokenizer.pad_token_type_id}.get(key, 0)
            rows = [torch.tensor(text.inputs[key]) for text in batch]
            inputs[key] = pad_sequence(rows, batch_first=True, padding_value=fill).to(self.device)
        with torch.inference_mode():
            logits: Tensor = self.model(**inputs).logits.float()
        return logits.cpu()

    def _cut(self, text: EncodedText, *columns: str) -> EncodedText:
        """Shorten to the limit: a completion loses its end; of a pair the prompt first loses its beginning."""
        tokenize = partial(self.tokenizer, max_length=self.limit, verbose=False)
        if len(columns) == 1:
            inputs = tokenize(*columns, truncation=True)
        else:
            prompt, completion = columns
            room = self.limit - self.tokenizer.num_special_tokens_to_add(pair=True)
            ids = self.tokenizer(completion, add_special_tokens=False, verbose=False)["input_ids"]
            if len(ids) < room:
                inputs = tokenize(prompt, completion, truncation="only_first")
            else:
                self.tokenizer.truncation_side = "right"
                inputs = tokenize("", completion, truncation="only_second")
                self.tokenizer.truncation_side = "left"
        return EncodedText(dict(inputs), text.full_length)

    def _chat(self, prompt: str, completion: str) -> str:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False))


_shared: WeakValueDictionary[tuple[Any, ...], Encoder] = WeakValueDictionary()
_loading = threading.Lock()


def load_shared_encoder(card: ClassifierCard, where: str) -> Encoder:
    """Return the encoder of a card's model; judges that ask one model different questions share its weights."""
    key = (card.model, card.revision, card.text, card.max_tokens, card.device, card.dtype, card.trust_remote_code)
    with _loading:
        encoder = _shared.get(key)
        if encoder is None:
            encoder = _shared[key] = Encoder(card, where)
    return encoder


def _load_model(card: ClassifierCard, dtype: Any, where: str) -> PreTrainedModel:
    """
    Load the weights; in half precision the head stays in float32.

    A classifier with a bfloat16 head has some 60 distinct logits in 160 texts, too few to learn from: the trunk
    carries the cost, the head the digits.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_log

    if not card.missing() and transformers_log.get_verbosity() >= transformers_log.ERROR:
        transformers_log.disable_progress_bar()  # a bar for a download only
    half = dtype is not torch.float32
    model, report = AutoModelForSequenceClassification.from_pretrained(
        card.model,
        revision=card.revision,
        trust_remote_code=card.trust_remote_code,
        dtype="auto" if half else dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    if report["mismatched_keys"]:
        name, stored, made = next(iter(report["mismatched_keys"]))
        raise InputError(f"{where}: {card.model} does not fit its config.json: {name} is {stored}, expected {made}")
    if report["missing_keys"]:
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise InputError(
            f"{where}: {card.model} is no trained classifier: it lacks {names}, and would answer at random"
        )
    if half:
        trunk = model.base_model
        if trunk is not model:
            model.float()
        trunk.to(dtype)
        for head in model.children():
            if head is not trunk:
                head.register_forward_pre_hook(_cast_to_float32)
    return model


def _cast_to_float32(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.float() if hasattr(x, "is_floating_point") and x.is_floating_point() else x for x in inputs)


def _limit_of(tokenizer: Any, model: Any) -> int:
    """
    Return the most tokens the model can read, special ones included.

    `model_max_length` may be 1e30, and RoBERTa's position table holds `padding_idx + 1` rows that no token uses
    (transformers, modeling_roberta.py, `create_position_ids_from_input_ids`). 512 where nothing is stated.
    """
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < 10**9 else []
    table = getattr(model.config, "max_position_embeddings", None)
    if table and table > 0:  # XLNet says -1: none
        limits.append(table)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return int(min(limits, default=512))


def _pad_id(tokenizer: Any) -> int:
    """
    Choose the id that fills a batch up on the right.

    Decoders pool the rightmost token that is not `pad` (transformers, modeling_layers.py,
    `GenericForSequenceClassification`): where pad is eos, a text that ends with eos would be read one token
    short, so bos takes its place, which ends no text but where it is eos too, as in GPT-2.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return int(tokenizer.pad_token_id)
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id):
        if token is not None:
            return int(token)
    return 0


def _device(wanted: str, where: str) -> torch.device:
    """Return the device that a card names, if this machine has it; `auto` is the best there is."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if wanted == "auto":
        return accelerator or torch.device("cpu")
    device = torch.device(wanted)
    count = torch.accelerator.device_count() if accelerator and device.type == accelerator.type else 0
    if device.type == "cpu" or (device.index or 0) < count:
        return device
    there = [f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count())] if accelerator else []
    raise InputError(f"{where}: device: {wanted} is not on this machine, which has: {', '.join(['cpu', *there])}")
