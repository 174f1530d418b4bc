"""The sides of a comparison: a local model, a model behind an endpoint, or saved completions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.schema import short_repr
from rlaif.data.formats import Row
from rlaif.data.reader import key_of
from rlaif.data.rows import RowSource
from rlaif.policy.adapter import base_of
from rlaif.policy.loading import config_of, refuse_speechless
from rlaif.policy.positions import refuse_unfit
from rlaif.policy.tokenizer import read_tokenizer

OPENAI = "openai:"


@dataclass(frozen=True)
class ModelSide:
    """
    A causal or seq2seq model of transformers, or a LoRA adapter of one.

    Args:
        source: folder or hub id of the model.
        where: option with which messages begin, such as `--before`.

    """

    source: str
    where: str

    @property
    def name(self) -> str:
        """Name of the side in reports."""
        return self.source

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the model, which is read before the model is loaded."""
        return read_tokenizer(self.source, where=self.where)

    def refuse_unfit(self, prompt_lengths: Sequence[int], max_new_tokens: int) -> None:
        """Raise `InputError` if the model cannot generate text or has too few positions. Loads no weights."""
        base, _ = base_of(self.source, None, self.where)
        config = config_of(base, None, self.where)
        refuse_speechless(base, config, self.where)
        refuse_unfit(config, prompt_lengths, max_new_tokens, self.where)


@dataclass(frozen=True)
class EndpointSide:
    """
    A model behind an OpenAI-compatible endpoint. It gives completions, but no log-probabilities.

    Args:
        model: name of the model at the endpoint.
        url: URL of the endpoint, as in http://localhost:8000/v1.
        key: environment variable with the API key; None for OPENAI_API_KEY at OpenAI's endpoint and none elsewhere.
        where: option with which messages begin.

    """

    model: str
    url: str
    key: str | None
    where: str

    @property
    def name(self) -> str:
        """Name of the side in reports."""
        return f"{OPENAI}{self.model}@{self.url}"


@dataclass(frozen=True)
class SavedCompletions:
    """
    Saved completions.

    Args:
        name: name of the file.
        where: option with which messages begin.
        completions: completions by the hash of their prompt, in the order of the file.
        rows: the first row of each prompt: `prompt` and the other columns.

    """

    name: str
    where: str
    completions: Mapping[bytes, Sequence[str]] = field(repr=False)
    rows: Sequence[Row] = field(repr=False)

    def find(self, prompt: str) -> Sequence[str]:
        """Return the completions of a prompt. Differences in white space are ignored."""
        return self.completions.get(key_of(prompt), ())


Answerer = ModelSide | EndpointSide | SavedCompletions


def answerer_of(
    ref: str | Path | Iterable[Mapping[str, object]],
    where: str,
    *,
    key: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Answerer:
    """
    Return the side that a name refers to. Saved completions are read, but no model is loaded.

    Args:
        ref: hub id, folder, `openai:MODEL@URL`, a `.jsonl` of completions, or rows of completions in memory.
        where: option with which messages begin.
        key: environment variable with an endpoint's API key.
        columns: new names of columns of saved completions.

    Raises:
        InputError: the name is not valid, or the completions cannot be read.

    """
    if not isinstance(ref, str | Path):
        if isinstance(ref, Mapping) or not isinstance(ref, Iterable):
            raise InputError(f"{where}: should be a model, a .jsonl, or rows of completions, not {short_repr(ref)}")
        rows = list(ref)
        if wrong := [row for row in rows if not isinstance(row, Mapping)]:
            raise InputError(
                f"{where}: rows of completions need a prompt and a completion, unlike {short_repr(wrong[0])}"
            )
        return _read_saved("rows in memory", ((f"item {i}", dict(row)) for i, row in enumerate(rows)), where, columns)
    name = str(ref)
    if name.startswith(OPENAI):
        model, at, url = name.removeprefix(OPENAI).rpartition("@")
        if not at or not model or not url.startswith(("http://", "https://")):
            raise InputError(
                f"{where}: {short_repr(name)} should be openai:MODEL@URL, as openai:mine@http://localhost:8000/v1"
            )
        return EndpointSide(model, url.rstrip("/"), key, where)
    if name.endswith(".jsonl"):
        return _read_saved(name, RowSource(name).rows(), where, columns)
    if not name.strip():
        raise InputError(f"{where}: is empty; name a hub id, a folder, openai:MODEL@URL or a .jsonl of completions")
    if Path(name).is_file():
        raise InputError(f"{where}: {name} is a file that holds no model; saved completions need the suffix .jsonl")
    return ModelSide(name, where)


def _read_saved(
    name: str, rows: Iterable[tuple[str, Row]], where: str, columns: Mapping[str, str] | None
) -> SavedCompletions:
    source = RowSource(name, columns or {})
    found: dict[bytes, list[str]] = {}
    first: list[Row] = []
    for place, row in rows:
        row = source.rename_columns(row, place)
        sample = source.sample(row, place)
        prompt = text_of(row.get("prompt"))
        if prompt is None:
            columns_found = ", ".join(map(str, row))
            raise InputError(
                f"{where}: {name}, {place}: a saved completion needs its prompt, as text in the column 'prompt'; "
                f"there are: {columns_found}"
            )
        key = key_of(prompt)
        if key not in found:
            first.append({**sample.columns, "prompt": prompt})
        found.setdefault(key, []).append(sample.completion)
    if not found:
        raise InputError(f"{where}: {name}: has no rows")
    return SavedCompletions(name, where, found, first)
