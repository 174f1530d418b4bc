"""The request for an evaluation: the arguments of `rlaif.evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.evaluation.margins import Margins

MICRO_BATCH_TOKENS = 4096
"""Largest number of tokens of a scoring pass."""

PATIENCE = 600.0
"""Seconds to wait for a judge that is down."""

Completions = str | Path | Iterable[Mapping[str, object]]
Data = str | Path | Iterable[Mapping[str, object] | str]


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """The arguments of an evaluation. They have the same names and meanings as those of `evaluate`."""

    run: str | Path | None = None
    before: Completions | None = None
    after: Completions | None = None
    data: Data | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    limit: int | None = None
    template: str | None = None
    max_prompt_tokens: int | None = 256
    generation: Mapping[str, float] = field(default_factory=dict)
    completions_per_prompt: int | None = None
    seed: int = 0
    seeds: int = 1
    batch_size: int = 32
    reference: str | Path | None = None
    api_key_env: str | None = None
    margins: Margins = field(default_factory=Margins)
    fresh: bool = False

    def refuse_small(self) -> None:
        """Raise `InputError` if a number is below 1."""
        for name in ("limit", "completions_per_prompt", "seeds", "batch_size"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InputError(f"{name} should be at least 1, not {number}")
