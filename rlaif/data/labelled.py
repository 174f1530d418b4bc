"""What people said: texts with labels or grades, and pairs of which one was preferred, a row after the other."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.schema import did_you_mean, short_repr
from rlaif.core.types import Sample
from rlaif.data.prompt_column import PAIR, is_dialogue, read_prompt
from rlaif.data.rows import Row, RowSource

Kind = Literal["labels", "graded", "pairs"]
Key = dict[str, Any]
"""What a line of scores.jsonl says of its text beside the text: file, row, side, label, target, groups."""

SHOWN = 20
"""Values of a column that a message lists."""


class LabelledText(NamedTuple):
    """A text to judge, and where it comes from."""

    key: Key
    sample: Sample


@dataclass(frozen=True)
class Meaning:
    """
    What labels mean.

    Args:
        bad: values of bad texts; what is not among them is good, unless `good` says otherwise.
        good: values of good texts; what is not among them is bad, unless `bad` says otherwise.
        graded: labels are numbers, higher = better.

    """

    bad: frozenset[str] = frozenset()
    good: frozenset[str] = frozenset()
    graded: bool = False

    def __post_init__(self) -> None:
        if both := self.bad & self.good:
            raise InputError(f"the label {min(both)!r} cannot be both --bad and --good")
        if self.graded and (self.bad or self.good):
            raise InputError("--graded takes labels as numbers, higher = better; leave --bad and --good out")

    @property
    def named(self) -> frozenset[str]:
        """All values that were named."""
        return self.bad | self.good

    def target(self, word: str) -> float | None:
        """Return 1 for a good label and 0 for a bad one; None where both were named, and this one was not."""
        if word in self.bad or word in self.good:
            return float(word in self.good)
        return None if self.bad and self.good else float(not self.good)


@dataclass(frozen=True)
class Labelled:
    """
    A file of labelled rows, read whole once: all of them are as they should be.

    Args:
        name: as the user wrote it.
        source: its rows.
        kind: labels, graded, or pairs.
        meaning: of its labels.
        groups: columns by which its numbers are told apart.
        n: rows.
        labels: how often each label stands there; of kind labels only.
        digest: of all that is judged and compared.

    """

    name: str
    source: RowSource
    kind: Kind
    meaning: Meaning
    groups: tuple[str, ...] = ()
    n: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    digest: str = ""

    @property
    def texts(self) -> int:
        """How many texts there are to judge: a pair has two."""
        return self.n * (2 if self.kind == "pairs" else 1)

    def read_texts(self) -> Iterator[LabelledText]:
        """Read the texts to judge; of a pair first the preferred one."""
        for number, (place, row) in enumerate(self.source.rows()):
            row = self.source.rename_columns(row, place)
            key: Key = {"file": self.name, "row": number}
            groups = {name: self._group(row, name, place) for name in self.groups}
            if self.kind == "pairs":
                for side, sample in zip(PAIR, self._pair(row, place), strict=True):
                    target = float(side == "chosen")
                    yield LabelledText({**key, "side": side, "label": None, "target": target, "groups": groups}, sample)
            else:
                label = self._label(row, place)
                meant = label if isinstance(label, float) else self.meaning.target(label)
                told = {**key, "side": None, "label": label, "target": meant, "groups": groups}
                yield LabelledText(told, self.source.sample(row, place))

    def _label(self, row: Row, place: str) -> str | float:
        value: Any = row.get("label")
        if is_blank(value):
            raise InputError(f"{self.source.where}, {place}: has no label; leave the row out, or give it one")
        if self.meaning.graded:
            try:
                grade = float(value)
            except (TypeError, ValueError, OverflowError):
                grade = math.nan
            if not math.isfinite(grade):
                raise InputError(
                    f"{self.source.where}, {place}: label: --graded takes numbers, not {short_repr(value)}"
                )
            return grade
        if not isinstance(value, str | int | float):
            raise InputError(
                f"{self.source.where}, {place}: label: should be a text or a number, not {short_repr(value)}"
            )
        return word_of(value)

    def _pair(self, row: Row, place: str) -> list[Sample]:
        """Read both answers of a pair. Without a prompt of their own, dialogues share one: what both begin with."""
        answers = {side: row[side] for side in PAIR if row.get(side) is not None}
        if missing := [side for side in PAIR if side not in answers]:
            raise InputError(f"{self.source.where}, {place}: has no {missing[0]!r}; a pair needs both")
        others = {name: value for name, value in row.items() if name not in PAIR}
        if row.get("prompt") is None and all(map(_is_conversation, answers.values())):
            asked = read_prompt(row, None, f"{self.source.where}, {place}", "--column")
            start = len(asked.text if asked.messages is None else asked.messages)
            answers = {side: _strip(answer[start:]) for side, answer in answers.items()}
            others["prompt"] = asked.text
        return [self.source.sample({**others, "completion": answers[side]}, place) for side in PAIR]

    def _group(self, row: Row, name: str, place: str) -> str:
        if name not in row:
            hint = did_you_mean(name, list(row))
            raise InputError(f"{self.source.where}, {place}: has no column {name!r}{hint}, which --group names")
        return "" if row[name] is None else word_of(row[name])


@dataclass(frozen=True)
class InMemory(RowSource):
    """Rows that are in memory already, each with its place: those of a list, or of a pipe, which can be read once."""

    items: tuple[tuple[str, Row], ...] = ()

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Return the rows."""
        return iter(self.items[: self.limit])


def is_blank(value: Any) -> bool:
    """Tell whether there is no value: null, an empty cell of a table, or what tables put there instead, NaN."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def word_of(value: Any) -> str:
    """Write a label or a group as `--bad` names it: `true` for a truth value, `1` for 1.0."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def examine(sources: Sequence[RowSource], meaning: Meaning, groups: Sequence[str] = ()) -> list[Labelled]:
    """
    Read all files whole, and say what is in them, or raise `InputError` with the first line that is wrong.

    Args:
        sources: a file each; a renaming of columns concerns those that have the column.
        meaning: of labels.
        groups: columns; a file has to have all of them or none.

    """
    names = [source.name for source in sources]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"--data: {twice[0]} is named twice")
    heads = [_head(source) for source in sources]
    for what, wanted in (("--column", {old for source in sources for old in source.columns.values()}),
                         ("--group", set(groups))):  # fmt: skip
        known = {name for head in heads for name in head}
        if unknown := sorted(wanted - known):
            hint = did_you_mean(unknown[0], sorted(known))
            raise InputError(f"{what}: no file has a column {unknown[0]!r}{hint}; there are: {_join_names(known)}")
    tables = []
    for source, head in zip(sources, heads, strict=True):
        columns = {new: old for new, old in source.columns.items() if old in head}
        source = replace(source, columns=columns)
        kind = _kind_of(source, {*head, *columns}, meaning)
        here = tuple(name for name in groups if name in {*head, *columns})
        tables.append(_count_rows(Labelled(source.name, source, kind, meaning, here)))
    _refuse_unmeant(tables, meaning)
    return tables


def _head(source: RowSource) -> Row:
    for _, row in source.rows():
        return row
    raise InputError(f"{source.where}: has no rows")


def _kind_of(source: RowSource, columns: set[str], meaning: Meaning) -> Kind:
    if set(PAIR) <= columns:
        return "pairs"
    if "label" in columns:
        return "graded" if meaning.graded else "labels"
    raise InputError(
        f"{source.where}: has neither 'label' nor 'chosen' and 'rejected'; there are: {_join_names(columns)}; "
        "--column label=NAME says which one it is"
    )


def _count_rows(table: Labelled) -> Labelled:
    """Read a file whole: count rows and labels, and hash what is judged."""
    labels: Counter[str] = Counter()
    digest, texts = blake2b(digest_size=16), 0
    for key, sample in table.read_texts():
        texts += 1
        if table.kind == "labels":
            labels[key["label"]] += 1
        said = [sample.prompt, sample.completion, key["label"], key["groups"]]
        digest.update(json.dumps(said, sort_keys=True).encode())
    return replace(table, n=texts // (2 if table.kind == "pairs" else 1), labels=labels, digest=digest.hexdigest())


def _refuse_unmeant(tables: Sequence[Labelled], meaning: Meaning) -> None:
    """Refuse labels of which nobody said what they mean: a guess would turn every number around."""
    labelled = [table for table in tables if table.kind == "labels"]
    there = "; ".join(f"{table.source.where} has {_counts(table.labels)}" for table in labelled)
    if labelled and not meaning.named:
        numbers = all(_is_number(label) for table in labelled for label in table.labels)
        graded = ", or --graded if higher is better" if numbers else ""
        raise InputError(f"which labels are bad? name them by --bad VALUE or --good VALUE{graded}: {there}")
    known = {label for table in labelled for label in table.labels}
    if unknown := sorted(meaning.named - known):
        hint = did_you_mean(unknown[0], sorted(known))
        where = there or "no file has labels"
        if not (meaning.bad and meaning.good and known & meaning.named):  # both named: one class may be absent
            raise InputError(f"no label is {unknown[0]!r}{hint}: {where}")
    for table in labelled:
        if not meaning.named & table.labels.keys():
            raise InputError(
                f"none of {_join_names(meaning.named)} is a label of {table.source.where}, which has "
                f"{_counts(table.labels)}; name what it calls bad too, by another --bad VALUE"
            )
        if strange := [label for label in table.labels if meaning.target(label) is None]:
            raise InputError(
                f"{table.source.where}: the label {strange[0]!r} is neither --bad nor --good: {_counts(table.labels)}"
            )


def _is_conversation(value: Any) -> bool:
    return is_dialogue(value) if isinstance(value, str) else text_of(value) is not None


def _strip(answer: Any) -> Any:
    return answer.strip() if isinstance(answer, str) else answer


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _counts(labels: Counter[str]) -> str:
    listed = ", ".join(f"{label} ({count})" for label, count in labels.most_common(SHOWN))
    return f"{listed} and {len(labels) - SHOWN} more" if len(labels) > SHOWN else listed


def _join_names(names: Any) -> str:
    listed = sorted(map(str, names))
    return ", ".join(listed[:SHOWN]) + (" …" if len(listed) > SHOWN else "")
