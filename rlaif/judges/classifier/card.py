"""The keys of a classifier's card."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge
from pydantic import AfterValidator

from rlaif.core.paths import ModelSource
from rlaif.core.system.hub import is_cached
from rlaif.judges.cards.card import Card


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", value):
        raise ValueError(f"should be auto, cpu, cuda, cuda:N, xpu or mps, not {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class ClassifierCard(Card):
    """The keys of `adapter: classifier`."""

    model: ModelSource
    bad: str | list[str] | None = None
    good: str | None = None
    head: Literal["auto", "softmax", "sigmoid"] = "auto"
    text: Literal["completion", "prompt_and_completion", "chat"] = "completion"
    max_tokens: Annotated[int, Ge(8)] | None = None
    batch_tokens: Annotated[int, Ge(1)] = 4096
    revision: str | None = None
    device: Annotated[str, AfterValidator(_device)] = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    trust_remote_code: bool = False

    def missing(self) -> str:
        """Say that the model was never downloaded; a folder's absence is refused when the card is read."""
        ready = Path(self.model).is_dir() or is_cached(self.model, self.revision)
        return "" if ready else f"{self.model} is not downloaded yet"
