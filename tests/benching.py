"""What tests of the benchmark share: judgements as arrays, labelled files, and judges that do as they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlaif.benchmark.columns import Grouping, JudgeColumns, Texts
from rlaif.core.types import STATUSES, Judgement, Sample, Status, Usage
from rlaif.data.labelled import Kind


def said_of(scores: Sequence[float | None], **arrays: Any) -> JudgeColumns:
    """What a judge said: None is an abstention."""
    score = np.array([np.nan if score is None else score for score in scores], dtype=float)
    count = len(score)
    known = {
        "score_T": score,
        "status_T": np.where(np.isnan(score), STATUSES.index("declined"), STATUSES.index("ok")),
        "asked_T": np.ones(count, dtype=bool),
        "stored_T": np.zeros(count, dtype=bool),
        "seconds_T": np.full(count, 0.001),
        "wall_T": np.full(count, 0.001),
        "tokens_T2": np.zeros((count, 2)),
        "usd_T": np.zeros(count),
        "attempts_T": np.ones(count),
    }
    return JudgeColumns(**{**known, **arrays})


def texts_of(
    kind: Kind,
    target: Sequence[float],
    said: Mapping[str, Sequence[float | None]],
    *,
    prompts: Sequence[int] | None = None,
    words: Sequence[float] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Texts:
    """Texts that have a target and scores; of pairs the chosen one and the rejected one in turn."""
    count = len(target)
    numbers = np.arange(count)
    grouping = {}
    for name, values in (groups or {}).items():
        known = list(dict.fromkeys(values))
        grouping[name] = Grouping(known, np.array([known.index(value) for value in values]))
    return Texts(
        kind=kind,
        file_T=np.zeros(count, dtype=np.int64),
        row_T=numbers // (2 if kind == "pairs" else 1),
        chosen_T=(numbers % 2 == 0) & (kind == "pairs"),
        target_T=np.array(target, dtype=float),
        prompt_T=numbers if prompts is None else np.array(prompts),
        text_T=numbers,
        words_T=np.array(words if words is not None else np.ones(count), dtype=float),
        groups=grouping,
        said={name: said_of(scores) for name, scores in said.items()},
    )


class Scripted:
    """A judge that says of each text what a function says: a score, or None and why, with a reason."""

    measures, has_logit, remote, reads = "toxicity", False, False, frozenset[str]()

    def __init__(
        self,
        name: str,
        says: Callable[[str], float | None],
        reason: Callable[[str], str] = str,
        usage: Usage | None = None,
    ) -> None:
        self.name, self.identity, self.says, self.reason = name, name, says, reason
        priced = Usage(input_tokens=10, output_tokens=2, usd=0.001 * len(name), seconds=0.01)
        self.usage = priced if usage is None else usage

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        return [self.judgement(sample.completion) for sample in samples]

    def judgement(self, text: str) -> Judgement:
        score = self.says(text)
        status: Status = "ok" if score is not None else "filtered"
        return Judgement(self.name, score, status=status, reason=self.reason(text), usage=self.usage)


def write_rows(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> str:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def labelled(count: int, *, bad_every: int = 2) -> list[dict[str, Any]]:
    """Texts of which each so many-th is bad, and says so."""
    return [
        {"completion": f"text {i} is {'bad' if i % bad_every == 0 else 'fine'}",
         "label": "toxic" if i % bad_every == 0 else "neutral", "topic": f"t{i % 3}"}
        for i in range(count)
    ]  # fmt: skip


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{i}?", "chosen": f"fine answer {i}", "rejected": f"bad answer {i}"} for i in range(count)]
