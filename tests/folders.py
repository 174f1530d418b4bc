"""Folders of runs as a run leaves them, made without training: samples are given, the numbers come from them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from rlaif.core.config.run import RunConfig
from rlaif.core.records import SampleRow
from rlaif.core.schema import check
from rlaif.core.system.files import finite
from rlaif.evaluation.conclusion import answer
from rlaif.evaluation.roles import Role
from rlaif.evaluation.summary import figures
from rlaif.training.run.run_folder import format_yaml

HOSTILE = {
    "script": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "end": "</script><script>document.title='owned'</script>",
    "comment": "<!-- <script> --> ]]> <![CDATA[ &lt;b&gt; &amp;",
    "link": "javascript:document.title='owned' <a href=\"javascript:document.title='owned'\">press</a>",
    "bidi": "safe \u202etxet desrever\u202c \u2066\u2069 end",
    "nul": "a\x00b\x1b[31mred\x07 \u2028 \u2029 \ufeff\u200b",
    "surrogate": "half \ud800 of a pair",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7} #{7*7}",
    "formula": '=HYPERLINK("http://127.0.0.1:9/","press")',
    "style": "</style><style>*{display:none}</style>",
    "attribute": "\" autofocus onfocus=\"document.title='owned'\" '",
}

JUDGES: dict[str, tuple[str, str, bool]] = {
    "toxicity": ("training", "toxicity", False),
    "toxicity_general": ("held_out", "toxicity", True),
    "helpfulness": ("held_out", "helpfulness", False),
}
"""Role, what is measured, and whether the judge chose the model."""


def judgement(name: str, score: float | None, **keys: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 10, "output_tokens": 2, "cached_tokens": 0, "usd": 0.0, "seconds": 0.1, "attempts": 1,
        "from_store": False,
    }  # fmt: skip
    status = "ok" if score is not None else "filtered"
    return {
        "judge": name, "score": score, "logit": None, "raw": score, "status": status, "reason": f"{name} says so",
        "shortened": False, "parts": [], "usage": usage, **keys,
    }  # fmt: skip


def side(completion: str, scores: Mapping[str, float | None], **keys: Any) -> dict[str, Any]:
    return {
        "completion": completion, "tokens": 5, "ended": True, "kl": 0.1, "reference_logprob": -9.0,
        "judgements": {name: judgement(name, score) for name, score in scores.items()}, **keys,
    }  # fmt: skip


def samples(count: int, *, seed: int = 0, rise: float = 0.3, words: int = 12) -> list[dict[str, Any]]:
    """Samples whose scores rise by `rise` in the mean; each text names its place: `before 7`, `after 7`."""
    draw = random.Random(seed)
    fixed = random.Random(0)
    rows = []
    for i in range(count):
        befores = {name: round(fixed.random() * 0.7, 4) for name in JUDGES}
        afters = {n: round(min(1.0, max(0.0, s + draw.gauss(rise, 0.2))), 4) for n, s in befores.items()}
        text = " ".join(fixed.choice(("quiet", "river", "stone", "under", "wind", "lamp")) for _ in range(words))
        row = {"prompt": f"prompt {i}: {text}", "index": 0, "before": side(f"before {i} {text}", befores)}
        rows.append({**row, "after": side(f"after {i} {text}", afters)})
    return rows


def settings(folder: Path, **keys: Any) -> dict[str, Any]:
    return {
        "policy": {"model": "google/flan-t5-base"}, "data": {"dataset": "prompts.jsonl"}, "judge": "toxicity",
        "output": str(folder), "training": {"steps": 20}, **keys,
    }  # fmt: skip


def metrics(steps: int, judge: str = "toxicity") -> list[dict[str, Any]]:
    return [
        {
            "step": step, "samples": 64 * step, "reward_mean": step / 10, "reward_std": 0.5, "kl": step / 5,
            "entropy": 4 - step / 50, "length_tokens": 20.0, "eos_rate": 0.9, "explained_variance": None,
            "judges": {judge: {"score_mean": 0.5 + step / 100, "abstained": 0}}, "usd": 0.01, "seconds": 2.0,
            "alarms": ["distinct-2 is 0.70 of before"] if step == 20 else [],
        }
        for step in range(1, steps + 1)
    ]  # fmt: skip


def looks(steps: int) -> list[dict[str, Any]]:
    def judges(step: int) -> dict[str, Any]:
        return {name: {"role": role, "score_mean": 0.5 + step / 200} for name, (role, *_) in JUDGES.items()}

    bands = {"distinct_2": 0.9, "perplexity": 1.1, "length": 1.0, "alarms": []}
    return [{"step": step, "judges": judges(step), **bands} for step in range(0, steps + 1, 5)]


def told_of(rows: Sequence[Mapping[str, Any]], steps: int, seed: int = 0) -> dict[str, Any]:
    """What evaluation.json says of samples."""
    roles = [
        Role(SimpleNamespace(name=name, measures=measures), role, chose)  # type: ignore[arg-type]
        for name, (role, measures, chose) in JUDGES.items()
    ]
    told = figures([SampleRow.salvage(row) for row in rows], roles)
    return replace(told, answer=answer(told), steps=steps, kept_step=steps, seed=seed).to_json()


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    texts = (json.dumps(finite(dict(row)), ensure_ascii=False) for row in rows)
    return "".join(f"{text}\n" for text in texts).encode(errors="backslashreplace").decode()


def run_folder(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    steps: int = 20,
    told: Callable[[dict[str, Any]], dict[str, Any]] = lambda told: told,
    **keys: Any,
) -> Path:
    """Make the folder of a run that has ended; `keys` are of its run file, `told` changes evaluation.json."""
    folder.mkdir(parents=True)
    config = check(RunConfig, settings(folder, **keys), "run.yaml")
    (folder / "run.yaml").write_text(format_yaml(config))
    assert yaml.safe_load((folder / "run.yaml").read_text())["training"]["steps"] == 20
    (folder / "metrics.jsonl").write_text(lines(metrics(steps)))
    (folder / "guard.jsonl").write_text(lines(looks(steps)))
    (folder / "samples.jsonl").write_text(lines(rows))
    (folder / "spending.jsonl").write_text(
        lines([{"step": 1, "calls": 40, "usd": 0.2}, {"step": 2, "calls": 2, "usd": 0.05}])
    )
    (folder / "environment.jsonl").write_text(
        lines([{"begun": "2026-01-02 03:04:05 UTC", "packages": {"torch": "2.13.0"}}])
    )
    numbers = told(told_of(rows, steps, config.seed))
    (folder / "evaluation.json").write_text(json.dumps(finite(numbers)))
    return folder
