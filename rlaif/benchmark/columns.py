"""Judgements as arrays: what the statistics are computed from, without the texts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlaif.core.records.bench_lines import JudgedText
from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.types import STATUSES
from rlaif.data.labelled import Kind, Labelled
from rlaif.stats.changes import FEW

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Grouping(NamedTuple):
    """A column of groups: their names, and the number of the name of each text."""

    names: list[str]
    code_T: Ints


@dataclass(frozen=True)
class JudgeColumns:
    """
    What a judge said of T texts, and what it took. NaN stands for what is not there, and is never computed with.

    Args:
        score_T: in [0, 1]; NaN where the judge abstained.
        status_T: why, as a number of STATUSES.
        asked_T: whether it was asked: neither read from the store nor spared.
        stored_T: whether it came from the store.
        seconds_T: of each judgement.
        wall_T: its share of the time that the judge took for a chunk.
        tokens_T2: in and out.
        usd_T: NaN where the price is unknown.
        attempts_T: calls of a remote judge.

    """

    score_T: Floats
    status_T: Ints
    asked_T: Mask
    stored_T: Mask
    seconds_T: Floats
    wall_T: Floats
    tokens_T2: Floats
    usd_T: Floats
    attempts_T: Floats

    def only(self, rows_T: Mask) -> JudgeColumns:
        """Keep some texts."""
        return JudgeColumns(**{name: getattr(self, name)[rows_T] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Texts:
    """
    T texts with what people said of them, in the order of scores.jsonl.

    Args:
        kind: of all rows; None where they differ.
        file_T: which of the files.
        row_T: of the file.
        chosen_T: whether it is the preferred one of a pair, which stand side by side.
        target_T: 1 for good and 0 for bad; or the grade.
        prompt_T: a hash of the prompt; the text's own where there is none.
        text_T: a hash of prompt and completion.
        words_T: length.
        groups: the value of each text, by column.
        said: by judge.

    """

    kind: Kind | None
    file_T: Ints
    row_T: Ints
    chosen_T: Mask
    target_T: Floats
    prompt_T: Ints
    text_T: Ints
    words_T: Floats
    groups: dict[str, Grouping] = field(default_factory=dict)
    said: dict[str, JudgeColumns] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.file_T)

    def only(self, rows_T: Mask, kind: Kind | None, columns: Iterable[str]) -> Texts:
        """Keep some texts, and some of the columns of groups."""
        kept = {name: getattr(self, name)[rows_T] for name in self.__dataclass_fields__ if name.endswith("_T")}
        groups = {name: Grouping(g.names, g.code_T[rows_T]) for name, g in self.groups.items() if name in columns}
        return Texts(kind=kind, **kept, groups=groups, said={name: s.only(rows_T) for name, s in self.said.items()})

    def clusters(self) -> tuple[Ints, str]:
        """
        Return what is resampled as a whole, by row, and its name.

        Answers to one prompt are not independent. Where there are too few prompts to resample, equal texts are what
        belongs together.
        """
        rows_T = self.chosen_T if self.kind == "pairs" else np.ones(len(self), dtype=bool)
        for name, hash_T in (("prompt", self.prompt_T), ("text", self.text_T)):
            _, cluster_N = np.unique(hash_T[rows_T], return_inverse=True)
            if name == "text" or cluster_N.max(initial=-1) + 1 >= FEW:
                break
        return cluster_N, name


class _JudgeColumnsBuilder:
    """The columns of a judge while lines are read."""

    width = 10

    def __init__(self) -> None:
        self.numbers = array("d")

    def add(self, said: JudgementRecord, wall: float) -> None:
        usage, stored = said.usage, said.usage.from_store
        self.numbers.extend((
            _or_nan(said.score), _STATUS[said.status], usage.attempts > 0 and not stored, stored,
            usage.seconds, wall, usage.input_tokens, usage.output_tokens, _or_nan(usage.usd), usage.attempts,
        ))  # fmt: skip

    def finish(self) -> JudgeColumns:
        table = np.frombuffer(self.numbers, dtype=np.float64).reshape(-1, self.width).T.copy()
        score, status, asked, stored, seconds, wall, tokens_in, tokens_out, usd, attempts = table
        tokens_T2 = np.stack([tokens_in, tokens_out], axis=1)
        return JudgeColumns(
            score, status.astype(np.int64), asked > 0, stored > 0, seconds, wall, tokens_T2, usd, attempts
        )


class _WordColumn:
    """A column of words while lines are read."""

    def __init__(self) -> None:
        self.codes, self.known = array("q"), dict[str, int]()

    def add(self, word: str) -> None:
        self.codes.append(self.known.setdefault(word, len(self.known)))

    def finish(self) -> Grouping:
        return Grouping(list(self.known), np.array(self.codes, dtype=np.int64))


_STATUS = {status: float(i) for i, status in enumerate(STATUSES)}


def read_columns(
    lines: Iterable[JudgedText],
    tables: Sequence[Labelled],
    judges: Sequence[str],
    members: Mapping[str, Sequence[str | None]],
) -> Texts:
    """
    Read the lines of scores.jsonl as arrays.

    Args:
        lines: of the ledger.
        tables: the files, in order.
        judges: whose judgements are there.
        members: of each panel, in the order of its parts, under which names they stand beside it; None: not at all.

    """
    number_of: dict[str | None, int] = {table.name: i for i, table in enumerate(tables)}
    ints = {name: array("q") for name in ("file_T", "row_T", "chosen_T", "prompt_T", "text_T")}
    floats = {name: array("d") for name in ("target_T", "words_T")}
    groups = {name: _WordColumn() for name in sorted({name for table in tables for name in table.groups})}
    growing = {
        name: _JudgeColumnsBuilder() for name in (*judges, *(m for listed in members.values() for m in listed if m))
    }
    for line in lines:
        prompt, completion = line.prompt, line.completion
        ints["file_T"].append(number_of[line.file])
        ints["row_T"].append(line.row)
        ints["chosen_T"].append(line.side == "chosen")
        ints["prompt_T"].append(_hash(prompt) if prompt.strip() else _hash("", completion))
        ints["text_T"].append(_hash(prompt, completion))
        floats["target_T"].append(_or_nan(line.target))
        floats["words_T"].append(len(completion.split()))
        for name, words in groups.items():
            words.add(line.groups.get(name, ""))
        for judge in judges:
            said = line.judgements[judge]
            growing[judge].add(said, said.wall)
            for member, part in zip(members.get(judge, ()), said.parts, strict=False):
                if member:
                    growing[member].add(part, said.wall)
    kinds = {table.kind for table in tables}
    return Texts(
        kind=kinds.pop() if len(kinds) == 1 else None,
        file_T=np.array(ints["file_T"], dtype=np.int64),
        row_T=np.array(ints["row_T"], dtype=np.int64),
        chosen_T=np.array(ints["chosen_T"], dtype=np.int64) > 0,
        target_T=np.array(floats["target_T"], dtype=np.float64),
        prompt_T=np.array(ints["prompt_T"], dtype=np.int64),
        text_T=np.array(ints["text_T"], dtype=np.int64),
        words_T=np.array(floats["words_T"], dtype=np.float64),
        groups={name: words.finish() for name, words in groups.items()},
        said={name: column.finish() for name, column in growing.items()},
    )


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number


def _hash(*texts: str) -> int:
    """Return a number that equal texts share, in every process."""
    joined = "\0".join((str(len(texts)), *texts)).encode(errors="surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), signed=True)
