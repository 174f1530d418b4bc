"""
The memory of a run at its busiest, from the shapes of its models.

What stays: trained weights in float32 with Adam's two moments and a frozen copy where that is the reference, a frozen
base in its own dtype, the judges that run here. What comes and goes: gradients, what autograd keeps of a micro-batch,
the cache of a batch that is generated. The first is counted from parameters; the second by passing tensors without
memory through the same code (`rlaif.training.run.forecast.live`), so that it is right for any architecture.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from rlaif.core.config.run import RunConfig
from rlaif.core.types import Judge
from rlaif.judges.classifier.judge import ClassifierJudge
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.generation.transformers import make_draw_processor
from rlaif.policy.parts import inner
from rlaif.policy.tokens import micro_batches
from rlaif.training.run.forecast.live import LiveBytes
from rlaif.training.run.forecast.machine import CONTEXT, HEAP, LATER, resident
from rlaif.training.run.forecast.outline import BITS_4, Outline, make_outline, outline_of_judge

ADAM = 8
"""Bytes of a trained weight's two moments, float32."""
DRAWS = 100
"""Random mini-batches among which the largest micro-batch is looked for."""


@dataclass(frozen=True)
class MemoryEstimate:
    """
    Bytes, by what holds them.

    Args:
        process: Python, its libraries and the data; on a device what its driver takes.
        weights: of the policy, and of its critic where that is separate.
        adam: the moments of trained weights.
        reference: the copy of trained weights as they were.
        judges: weights of the judges that run here.
        busy: what comes and goes at the peak of each phase, gradients among it.

    """

    process: int
    weights: int
    adam: int
    reference: int
    judges: int
    busy: Mapping[str, int]

    @property
    def phase(self) -> str:
        """When the most is held."""
        return max(self.busy, key=self.busy.__getitem__)

    @property
    def total(self) -> int:
        """The peak."""
        return self.process + self.weights + self.adam + self.reference + self.judges + self.busy[self.phase]


def memory_of(
    config: RunConfig, tokenizer: Any, lengths: Sequence[int], judges: Sequence[Judge], device: torch.device
) -> MemoryEstimate:
    """
    Predict the memory of a run on the device that it computes on. No weights are loaded or made.

    Args:
        config: the run file.
        tokenizer: the policy's.
        lengths: tokens of its prompts, which this process has read: they count with what it holds.
        judges: all that take part.
        device: of the policy.

    Raises:
        InputError: there is no such model, or it does not generate text.

    """
    on_host = device.type == "cpu"
    process = resident() + LATER if on_host else CONTEXT
    with make_outline(config.policy, tokenizer, device) as outline:
        memory = _memory(outline, config, lengths, judges, process)
    if not on_host:
        return memory
    gradients = memory.adam // 2
    return replace(memory, busy={name: busy + min(busy - gradients, HEAP) for name, busy in memory.busy.items()})


def _memory(
    outline: Outline, config: RunConfig, lengths: Sequence[int], judges: Sequence[Judge], process: int
) -> MemoryEstimate:
    trained = [parameter for parameter in outline.parameters() if parameter.requires_grad]
    gradients = sum(parameter.nbytes for parameter in trained)
    local = classifiers_in(judges)
    reading = [outline_of_judge(judge, config.generation.max_new_tokens) for judge in local]
    return MemoryEstimate(
        process=process,
        weights=_weights(outline, config.policy.load_in_4bit),
        adam=ADAM * sum(parameter.numel() for parameter in trained),
        reference=sum(tensor.nbytes for tensor in (outline._reference or {}).values()),
        judges=sum(weights for weights, _ in reading),
        busy={
            "learning": _bytes_of_learning(outline, config, lengths, trained),
            "scoring": gradients + _bytes_of_scoring(outline, config, lengths),
            "generating": gradients + _generation_bytes(outline, config, max(lengths)),
            "judging": gradients + max((busy for _, busy in reading), default=0),
        },
    )


def classifiers_in(judges: Sequence[Judge]) -> list[ClassifierJudge]:
    """Return the classifiers among judges and members of panels, each set of weights once."""
    found: dict[tuple[Any, ...], ClassifierJudge] = {}
    for judge in judges:
        members = classifiers_in(getattr(judge, "judges", ()))
        for one in (judge, *members):
            if isinstance(one, ClassifierJudge):
                found.setdefault((one.card.model, one.card.revision, one.card.dtype, one.card.device), one)
    return list(found.values())


def _weights(outline: Outline, in_4bit: bool) -> int:
    total = sum(tensor.nbytes for tensor in (*outline.parameters(), *outline.buffers()))
    if in_4bit:
        head = inner(outline.model).get_output_embeddings()
        for module in outline.model.modules():
            if isinstance(module, torch.nn.Linear) and module is not head and not module.weight.requires_grad:
                total -= int(module.weight.nbytes - BITS_4 * module.weight.numel())
    return total


# --- phases -------------------------------------------------------------------------------------------------------


def _bytes_of_learning(
    outline: Outline, config: RunConfig, lengths: Sequence[int], trained: list[torch.nn.Parameter]
) -> int:
    """Learn from a mini-batch of two micro-batches, if there are two: the second adds to the gradients of the first."""
    rows, prompt, more = _largest_micro_batch(config, lengths, config.training.mini_batch_size)
    with LiveBytes() as live, outline.learning_mode():
        for _ in range(2 if more else 1):
            loss = outline.run_scoring(
                rows, prompt, config.generation.max_new_tokens, entropies=config.ppo.entropy_coef > 0
            )
            torch.autograd.backward(loss, inputs=trained)
            del loss
    for parameter in trained:
        parameter.grad = None
    return live.peak


def _bytes_of_scoring(outline: Outline, config: RunConfig, lengths: Sequence[int]) -> int:
    rows, prompt, _ = _largest_micro_batch(config, lengths, config.training.batch_size)
    with torch.no_grad(), LiveBytes() as live:
        outline.run_scoring(rows, prompt, config.generation.max_new_tokens, entropies=True)
    return live.peak


def _generation_bytes(outline: Outline, config: RunConfig, prompt: int) -> int:
    """Return the larger of reading the prompts and drawing the last token, when the cache is full."""
    rows, generation = config.training.batch_size, config.generation
    with torch.no_grad(), LiveBytes() as live:
        held, growth = outline.run_generation(rows, prompt, generation.max_new_tokens)
    reading, cache = live.peak, int(live.now * growth)
    del held
    sampling = Sampling(generation.max_new_tokens, 0, generation.temperature, generation.top_p)
    with torch.no_grad(), LiveBytes() as live:
        # A model's logits, and the copy in float32 that transformers makes of them.
        logits_BV = torch.zeros(rows, outline._head.size, dtype=outline.dtype).float()
        make_draw_processor(sampling)(torch.zeros(rows, 1, dtype=torch.long), logits_BV)
    return max(reading, cache + live.peak)


def _largest_micro_batch(config: RunConfig, lengths: Sequence[int], rows: int) -> tuple[int, int, bool]:
    """
    Return rows and prompt tokens of the largest micro-batch of a batch, and whether there are more of them than one.

    Completions are taken to be as long as they may be; prompts are drawn from those of the run.
    """
    response, draw = config.generation.max_new_tokens, random.Random(0)
    most, several = (0, 0), False
    for _ in range(DRAWS):
        batch = [length + response for length in draw.choices(lengths, k=rows)]
        cut = micro_batches(batch, config.training.micro_batch_tokens)
        several = several or len(cut) > 1
        most = max(most, *((len(one), batch[one[0]]) for one in cut), key=lambda size: size[0] * size[1])
    return most[0], most[1] - response, several
