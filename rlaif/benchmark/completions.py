"""What a policy answers to each prompt, n times, kept as it comes: for the best of n."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from rlaif.core.errors import InputError
from rlaif.core.records.bench_lines import SampledCompletion, SamplingHead, TextKey
from rlaif.core.system.files import read_jsonl
from rlaif.core.system.terminal import ProgressBar
from rlaif.core.types import Sample
from rlaif.data.formats import Row
from rlaif.data.labelled import Labelled, LabelledText
from rlaif.data.rows import RowSource

PROMPTS = 200
"""At most: a curve over so many has an interval of about 0.03."""

BATCH, MAX_NEW_TOKENS, MAX_PROMPT_TOKENS = 64, 64, 256
"""Completions at once, and how long completions and prompts may be: as a run file's defaults."""


@dataclass(frozen=True)
class BestOfPolicy:
    """
    Who answers what.

    Args:
        model: folder or hub id.
        n: completions of each prompt.
        rows: with a column `prompt`.
        template: of `prompts/policy/`, into which prompts are put.
        seed: of the sampling.

    """

    model: str
    n: int
    rows: Sequence[Row]
    template: str | None
    seed: int

    @property
    def texts(self) -> int:
        """How many completions there are."""
        return self.n * len(self.rows)


def prompts_of_data(source: RowSource | None, tables: Sequence[Labelled], seed: int) -> list[Row]:
    """Choose different prompts at random: of a file of prompts, or else of the labelled data."""
    if source is not None:
        found = {str(row.get("prompt") or ""): row for _, row in source.rows()}
        where = source.where
    else:
        found = {}
        for table in tables:
            for _, sample in table.read_texts():
                found.setdefault(sample.prompt, {**sample.columns, "prompt": sample.prompt})
        where = "the data"
    rows = [row for prompt, row in found.items() if prompt.strip()]
    if not rows:
        raise InputError(f"--best-of: {where} has no prompts; name a file with a column 'prompt' by --prompts FILE")
    order = np.random.default_rng(seed).permutation(len(rows))[:PROMPTS]
    return [rows[i] for i in sorted(order.tolist())]


def read_or_sample(path: Path, policy: BestOfPolicy, progress: ProgressBar) -> list[LabelledText]:
    """
    Return completions as texts to judge: those of the file, and after them what is still to be sampled.

    Each batch has a seed of its own, so that what is sampled does not depend on where an earlier start was killed.

    Args:
        path: of the file; that of another policy, or of other prompts, is begun anew.
        policy: who answers what.
        progress: told how many are done.

    """
    head = SamplingHead(
        policy=policy.model,
        n=policy.n,
        template=policy.template,
        seed=policy.seed,
        prompts=blake2b(json.dumps([row["prompt"] for row in policy.rows]).encode()).hexdigest(),
    )
    known = _read_sampled(path, head)
    progress.skip(len(known))
    if len(known) < policy.texts:
        with path.open("w", encoding="utf-8", errors="surrogatepass") as file:
            for record in (head, *known):
                file.write(json.dumps(record.to_json()) + "\n")
            for batch in _sample_missing(policy, len(known)):
                file.writelines(json.dumps(line.to_json()) + "\n" for line in batch)
                file.flush()
                known += batch
                progress.advance(len(batch))
    return [
        LabelledText(
            TextKey(file=None, row=line.row, side=None, label=None, target=None, groups={}, index=line.index),
            Sample(line.completion, line.prompt, policy.rows[line.row]),
        )
        for line in known
    ]


def _read_sampled(path: Path, head: SamplingHead) -> list[SampledCompletion]:
    """Read what an earlier start has sampled, up to the first line that is damaged: a row's place is its prompt's."""
    found: list[SampledCompletion] = []
    with contextlib.suppress(FileNotFoundError, InputError), path.open("rb") as file:
        lines = read_jsonl(file)
        if any(line.row == head.to_json() for line in itertools.islice(lines, 1)):
            for line in lines:
                found.append(SampledCompletion.from_json(line.row))  # what was read before a damaged line stays
    return found


def _sample_missing(policy: BestOfPolicy, known: int) -> Iterator[list[SampledCompletion]]:
    """Sample what is missing, batch by batch; a batch that is there in part is sampled whole, and its end is taken."""
    import torch

    from rlaif.core.seeds import seed_of
    from rlaif.core.system.devices import computes_on, memory
    from rlaif.data.prompts import prompts_of
    from rlaif.policy.generation.protocol import Sampling
    from rlaif.policy.loading import load
    from rlaif.policy.model import Policy as Model

    device = computes_on()
    model = Model(load(policy.model, device=device, where="--policy"), where="--policy").to(device)
    prompts, _ = prompts_of(
        policy.rows, model.tokenizer, template=policy.template, max_prompt_tokens=MAX_PROMPT_TOKENS, where="--prompts"
    )
    model.refuse_unfit([len(prompt.ids) for prompt in prompts], MAX_NEW_TOKENS)
    places = [(row, index) for row in range(len(prompts)) for index in range(policy.n)]
    for start in range(known // BATCH * BATCH, len(places), BATCH):
        batch = places[start : start + BATCH]
        torch.manual_seed(seed_of(policy.seed, "best of n", start))
        with memory("sampling completions", "--best-of"):
            tokens = model.generate([list(prompts[row].ids) for row, _ in batch], Sampling(MAX_NEW_TOKENS, 1))
        lines = []
        for i, (row, index) in enumerate(batch):
            ids = tokens.response_BR[i][tokens.mask_BR[i]]
            text = model.tokenizer.decode(ids, skip_special_tokens=True)
            lines.append(SampledCompletion(row=row, index=index, prompt=prompts[row].text, completion=text))
        yield lines[max(0, known - start) :]
