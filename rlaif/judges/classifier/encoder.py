"""Tokenizer and weights of a classifier: texts in, float32 logits out, whatever else is in the batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from rlaif.core.errors import InputError
from rlaif.core.plain_text import cut_special_tokens, spell_out, text_options, tokenize_markup
from rlaif.core.system.hub import explain_hub_error
from rlaif.judges.classifier.card import ClassifierCard
from rlaif.judges.classifier.loading import load_weights
from rlaif.judges.classifier.padding import sees_padding
from rlaif.judges.classifier.text import EncodedText
from rlaif.policy.adapter import base_of
from rlaif.policy.tokenizer import load_tokenizer, refuse_small_vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel


PROBES = (("Hi", "No."), ("How are you?", "You are very kind, thank you."))
"""Prompts and completions, by which padding is looked for."""


class Encoder:
    """Tokenizer and weights of a classifier: texts in, float32 logits out. Thread-safe."""

    def __init__(self, card: ClassifierCard, config: Any, where: str) -> None:
        self._lock = threading.Lock()  # a tokenizer is not thread-safe while it truncates
        self._mode = card.text
        try:
            self.device = _device(card.device, where)
            base, _ = base_of(card.model, card.revision, where)
            self.tokenizer = load_tokenizer(
                card.model, base, card.revision, where, trust_remote_code=card.trust_remote_code
            )
            self.model: PreTrainedModel = load_weights(card, config, where)
            self.model.eval().to(self.device)
        except InputError:
            raise
        except Exception as error:
            raise explain_hub_error(error, card.model, where) from error
        if card.text == "chat" and not self.tokenizer.chat_template:
            raise InputError(f"{where}: text: chat needs a chat template, and {card.model} has none")
        if (rows := _rows_of_embeddings(self.model)) is not None:
            refuse_small_vocabulary(self.tokenizer, rows, where)
        self._pad_id = _pad_id(self.tokenizer)
        self.model.config.pad_token_id = self._pad_id
        limit = _limit_of(self.tokenizer, self.model)
        self.limit = min(limit, card.max_tokens or limit)
        self.tokenizer.truncation_side = "right" if card.text == "completion" else "left"
        self.sees_padding = self._sees_padding(card.dtype)

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
            given = (completions,) if self._mode == "completion" else (prompts, completions)
            columns = tuple([spell_out(self.tokenizer, text) for text in column] for column in given)
        # Without truncation first: only this tells how long a text really is, with any tokenizer.
        if self._mode == "chat":
            batch = tokenize_markup(self.tokenizer, columns[0])
        else:
            batch = self.tokenizer(*columns, verbose=False, **text_options(self.tokenizer))
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

    def _sees_padding(self, dtype: str) -> bool:
        """Whether texts of one length only may stand in a batch; true as well where that cannot be tried."""
        texts = [text for text in self.encode(PROBES) if len(text) <= self.limit]
        if self.model.config.is_encoder_decoder:
            return False  # they are read one by one
        return len({len(text) for text in texts}) < 2 or sees_padding(self._forward, texts, dtype)

    def _cut(self, text: EncodedText, *columns: str) -> EncodedText:
        """Shorten to the limit: a completion loses its end; of a pair the prompt first loses its beginning."""
        plain = text_options(self.tokenizer)
        tokenize = partial(self.tokenizer, max_length=self.limit, verbose=False, **plain)
        if len(columns) == 1:
            inputs = tokenize(*columns, truncation=True)
        else:
            prompt, completion = columns
            room = self.limit - self.tokenizer.num_special_tokens_to_add(pair=True)
            ids = self.tokenizer(completion, add_special_tokens=False, verbose=False, **plain)["input_ids"]
            if len(ids) < room:
                inputs = tokenize(prompt, completion, truncation="only_first")
            else:
                self.tokenizer.truncation_side = "right"
                inputs = tokenize("", completion, truncation="only_second")
                self.tokenizer.truncation_side = "left"
        return EncodedText(dict(inputs), text.full_length)

    def _chat(self, prompt: str, completion: str) -> str:
        prompt, completion = (cut_special_tokens(self.tokenizer, text) for text in (prompt, completion))
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False))


_shared: WeakValueDictionary[tuple[Any, ...], Encoder] = WeakValueDictionary()
_loading = threading.Lock()


def load_shared_encoder(card: ClassifierCard, config: Any, where: str) -> Encoder:
    """Return the encoder of a card's model; judges that ask one model different questions share its weights."""
    key = (card.model, card.revision, card.text, card.max_tokens, card.device, card.dtype, card.trust_remote_code)
    with _loading:
        encoder = _shared.get(key)
        if encoder is None:
            encoder = _shared[key] = Encoder(card, config, where)
    return encoder


def _rows_of_embeddings(model: Any) -> int | None:
    """Return how many tokens a model has embeddings for; None for one without such a table, as Canine."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    return None if weight is None else int(weight.shape[0])


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
