"""
A policy of which only the shapes are there: its parameters can be counted, its passes run, and none takes memory.

The model is built from its config, by the code that loads it, on torch's fake tensors. Nothing is downloaded but the
config; no value is ever computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rlaif.core.config.sections import PolicySection
from rlaif.judges.classifier.judge import ClassifierJudge
from rlaif.policy.adapter import add_adapter, base_of
from rlaif.policy.loading import LoadedModel, compute_dtype, config_of
from rlaif.policy.model import Policy
from rlaif.policy.output_layer import capture_hidden_states
from rlaif.policy.parts import autocast, inner
from rlaif.training.run.forecast.live import LiveBytes

BITS_4 = 0.516
"""Bytes of a weight in NF4: 4 bits, and of the scale of each 64 weights 8 bits and 32 / 256 (Dettmers et al. 2023)."""


class _Shapes(FakeTensorMode):  # type: ignore[no-untyped-call]
    """One mode, also for the copy of a model, which would copy the mode with it."""

    def __deepcopy__(self, memo: Any) -> _Shapes:
        return self


class Outline(Policy):
    """A policy without weights; `run_scoring` and `run_generation` pass through it with full rows of given sizes."""

    def _probe(self, where: str) -> None:
        """Leave out the comparison of logits: there are none."""

    def run_scoring(self, rows: int, prompt: int, response: int, *, entropies: bool = False) -> Tensor:
        """Pass rows of so many tokens through policy, critic and heads, and return a number to learn from."""
        prompt_BP = torch.zeros(rows, prompt, dtype=torch.long)
        response_BR = torch.zeros(rows, response, dtype=torch.long)
        with autocast(self.device, self.dtype):
            hidden_Nd = self._states(self.model, prompt_BP, response_BR)
            states_Nd = hidden_Nd if self.critic is None else self._states(self.critic, prompt_BP, response_BR)
            logprobs_N, entropies_N, _ = self._head.logprobs(hidden_Nd, response_BR.flatten(), 1.0, entropies)
        return logprobs_N.sum() + self._values(states_Nd).sum() + (0 if entropies_N is None else entropies_N.sum())

    def _states(self, model: Any, prompt_BP: Tensor, response_BR: Tensor) -> Tensor:
        with capture_hidden_states(inner(model)) as hidden:
            if self.is_seq2seq:
                model(input_ids=prompt_BP, decoder_input_ids=response_BR, use_cache=False)
                return hidden[0].flatten(0, 1)
            model(input_ids=torch.cat([prompt_BP, response_BR], 1), use_cache=False)
        return hidden[0][:, prompt_BP.shape[1] - 1 : -1].flatten(0, 1)

    def run_generation(self, rows: int, prompt: int, response: int) -> tuple[Any, float]:
        """
        Read prompts as generation does, and return what it then holds, and how much of that it will hold at its end.

        Args:
            rows: completions made at once.
            prompt: tokens of each.
            response: tokens to come.

        """
        prompt_BP = torch.zeros(rows, prompt, dtype=torch.long)
        with autocast(self.device, self.dtype), capture_hidden_states(inner(self.model)):
            if self.is_seq2seq:
                encoded = inner(self.model).get_encoder()(input_ids=prompt_BP)
                response_BR = torch.zeros(rows, response, dtype=torch.long)
                made = self.model(encoder_outputs=encoded, decoder_input_ids=response_BR, use_cache=True)
                return (encoded, made), 1.0
            return self.model(input_ids=prompt_BP, use_cache=True), (prompt + response) / prompt


@contextmanager
def make_outline(policy: PolicySection, tokenizer: Any, device: torch.device) -> Iterator[Outline]:
    """
    Yield a policy without weights; what is done with it is done inside this.

    Raises:
        InputError: there is no such model, or it does not generate text.

    """
    source, adapter = base_of(policy.model, policy.revision, "policy.model")
    config = config_of(source, None if adapter else policy.revision, "policy.model")
    compute = compute_dtype(policy.dtype, getattr(config, "dtype", None), device)
    frozen_base = adapter or policy.lora is not None
    lora: Any = policy.lora
    if adapter:
        import peft

        lora = peft.PeftConfig.from_pretrained(policy.model, revision=policy.revision)
        lora.inference_mode = False
    with torch.device("meta"):
        model = _auto(config).from_config(config, dtype=compute if frozen_base else torch.float32)
        _untie(model, config)
        model, base_is_reference = add_adapter(model, None, None, lora, "policy.model")
    with _Shapes():
        pretend_on_cpu(model)
        yield Outline(
            LoadedModel(model, tokenizer, compute, base_is_reference and not adapter),
            critic=policy.critic,
            gradient_checkpointing=policy.gradient_checkpointing,
        )


def outline_of_judge(judge: ClassifierJudge, completion: int) -> tuple[int, int]:
    """
    Return the bytes of a classifier's weights, and what it takes to read a batch; called inside `make_outline`.

    Args:
        judge: of the classifier adapter.
        completion: tokens of a text, by the policy's count.

    """
    from transformers import AutoModelForSequenceClassification

    dtype = getattr(torch, judge.card.dtype)
    model = AutoModelForSequenceClassification.from_config(judge._config, dtype=dtype).eval()
    with torch.no_grad(), LiveBytes() as live:
        model(input_ids=torch.zeros(max(1, judge.card.batch_tokens // completion), completion, dtype=torch.long))
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())), live.peak


def pretend_on_cpu(model: torch.nn.Module) -> None:
    """Let what a model on the meta device holds seem to be on the CPU, whose code then runs; within a fake mode."""
    met: dict[int, Any] = {}

    def report_cpu(tensor: Tensor) -> Any:
        if id(tensor) not in met:
            fake = torch.empty(tensor.shape, dtype=tensor.dtype)
            trained = isinstance(tensor, torch.nn.Parameter)
            met[id(tensor)] = torch.nn.Parameter(fake, tensor.requires_grad) if trained else fake
        return met[id(tensor)]

    for module in model.modules():
        for own in (module._parameters, module._buffers):
            own.update({name: report_cpu(tensor) for name, tensor in own.items() if tensor is not None})


def _untie(model: Any, config: Any) -> None:
    """Give Flan-T5 its own output layer: transformers 5 ties it until it sees that they differ in the file."""
    head = model.get_output_embeddings()
    apart = getattr(config, "scale_decoder_outputs", True) is False  # what is left there of tie_word_embeddings: false
    if apart and head.weight is model.get_input_embeddings().weight:
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight))


def _auto(config: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
