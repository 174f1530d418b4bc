"""Reads human labels: texts with labels or grades, and pairs of a preferred and a rejected completion."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, TypeGuard

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.records.bench_lines import TextKey
from rlaif.core.schema import did_you_mean, short_repr
from rlaif.core.types import Sample
from rlaif.data.columns import MISSING, get_column, refuse_missing
from rlaif.data.formats import Row
from rlaif.data.meaning import Meaning, covers, is_number
from rlaif.data.prompt_column import PAIR, is_dialogue, read_prompt
from rlaif.data.rows import RowSource

Kind = Literal["labels", "graded", "pairs"]

SHOWN = 20
"""Largest number of values that a message lists."""


class LabelledText(NamedTuple):
    """A text to judge, and the key that says where it comes from."""

    key: TextKey
    sample: Sample


@dataclass(frozen=True)
class Labelled:
    """
    A file of labelled rows. It has been read once, and all rows are valid.

    Args:
        name: name of the file, as the user wrote it.
        source: source of its rows.
        kind: `labels`, `graded`, or `pairs`.
        meaning: which labels are good and which are bad.
        groups: columns by which numbers are reported separately.
        n: number of rows.
        labels: how often each label occurs; only for the kind `labels`.
        digest: hash of all texts, labels and groups.

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
        """Number of texts to judge; a pair has two."""
        return self.n * (2 if self.kind == "pairs" else 1)

    def describe_labels(self) -> str:
        """Describe how many rows count as bad and as good, by label; "" if the file has no such labels."""
        sides = []
        for name, target in (("bad", 0.0), ("good", 1.0)):
            of = Counter({label: n for label, n in self.labels.items() if self.meaning.target(label) == target})
            sides.append(f"{of.total()} {name}{f': {_counts(of)}' if of else ''}")
        return f"{self.source.where}: {'; '.join(sides)}" if self.labels else ""

    def read_texts(self) -> Iterator[LabelledText]:
        """Yield the texts to judge. The preferred completion of a pair comes first."""
        for number, (place, row) in enumerate(self.source.rows()):
            row = self.source.rename_columns(row, place)
            groups = {name: self._group(row, name, place) for name in self.groups}
            if self.kind == "pairs":
                for side, sample in zip(PAIR, self._pair(row, place), strict=True):
                    target = float(side == "chosen")
                    key = TextKey(file=self.name, row=number, side=side, label=None, target=target, groups=groups)
                    yield LabelledText(key, sample)
            else:
                label = self._label(row, place)
                meant = self._target(label, place)
                key = TextKey(file=self.name, row=number, side=None, label=label, target=meant, groups=groups)
                yield LabelledText(key, self.source.sample(row, place))

    def _target(self, label: str | float, place: str) -> float | None:
        """Return the target of a label: 1 good, 0 bad, or a grade where higher is better."""
        if isinstance(label, float):
            return -label if self.meaning.graded == "low" else label
        try:
            return self.meaning.target(label)
        except InputError as error:
            raise InputError(f"{self.source.where}, {place}: {error}") from None

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
        """Read both completions of a pair. If there is no prompt column, the shared beginning is their prompt."""
        answers = {side: row[side] for side in PAIR if row.get(side) is not None}
        if missing := [side for side in PAIR if side not in answers]:
            raise InputError(f"{self.source.where}, {place}: has no {missing[0]!r}; a pair needs both")
        others = {name: value for name, value in row.items() if name not in PAIR}
        dialogues = {side: answer for side, answer in answers.items() if _is_conversation(answer)}
        if row.get("prompt") is None and dialogues.keys() == answers.keys():
            asked = read_prompt(row, None, f"{self.source.where}, {place}", "--column")
            start = len(asked.text if asked.messages is None else asked.messages)
            answers = {side: _strip(answer[start:]) for side, answer in dialogues.items()}
            others["prompt"] = asked.text
        return [self.source.sample({**others, "completion": answers[side]}, place) for side in PAIR]

    def _group(self, row: Row, name: str, place: str) -> str:
        refuse_missing(row, name, f"{self.source.where}, {place}: --group")
        value = get_column(row, name)
        return "" if value is None else word_of(value)


@dataclass(frozen=True)
class InMemory(RowSource):
    """Rows in memory with their places, from a list or from a pipe, which can be read only once."""

    items: tuple[tuple[str, Row], ...] = ()

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Return the rows."""
        return iter(self.items[: self.limit])


def is_blank(value: Any) -> bool:
    """Whether a value is missing: null, an empty cell of a table, or NaN."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def word_of(value: Any) -> str:
    """Format a label or a group as `--bad` names it: `true` for a boolean, `1` for 1.0."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def examine(sources: Sequence[RowSource], meaning: Meaning, groups: Sequence[str] = ()) -> list[Labelled]:
    """
    Read all files completely and describe them.

    Args:
        sources: the files. A renaming of columns applies to the files that have the column.
        meaning: which labels are good and which are bad.
        groups: columns by which numbers are reported separately; a file has all of them or none.

    Raises:
        InputError: a row is invalid, a column is missing, or the meaning of a label is not known.

    """
    names = [source.name for source in sources]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"--data: {twice[0]} is named twice")
    heads = [_head(source) for source in sources]
    for option, wanted in (("--column", {old for source in sources for old in source.columns.values()}),
                           ("--group", set(groups))):  # fmt: skip
        known = {name for head in heads for name in head}
        if unknown := sorted(name for name in wanted if all(get_column(head, name) is MISSING for head in heads)):
            hint = did_you_mean(unknown[0], sorted(known))
            raise InputError(f"{option}: no file has a column {unknown[0]!r}{hint}; there are: {_join_names(known)}")
    tables = []
    for source, head in zip(sources, heads, strict=True):
        columns = {new: old for new, old in source.columns.items() if get_column(head, old) is not MISSING}
        source = replace(source, columns=columns)
        kind = _kind_of(source, {*head, *columns}, meaning)
        here = tuple(name for name in groups if name in columns or get_column(head, name) is not MISSING)
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
        "name the column of labels with --column label=NAME"
    )


def _count_rows(table: Labelled) -> Labelled:
    """Read a file completely: count its rows and labels, and hash its texts."""
    labels: Counter[str] = Counter()
    digest, texts = blake2b(digest_size=16), 0
    for key, sample in table.read_texts():
        texts += 1
        if table.kind == "labels":
            labels[str(key.label)] += 1
        content = [sample.prompt, sample.completion, key.label, key.groups]
        digest.update(json.dumps(content, sort_keys=True).encode())
    return replace(table, n=texts // (2 if table.kind == "pairs" else 1), labels=labels, digest=digest.hexdigest())


def _refuse_unmeant(tables: Sequence[Labelled], meaning: Meaning) -> None:
    """Refuse labels whose meaning is not given, because a wrong guess would invert all numbers."""
    labelled = [table for table in tables if table.kind == "labels"]
    there = "; ".join(f"{table.source.where} has {_counts(table.labels)}" for table in labelled)
    if meaning.graded and all(table.kind == "pairs" for table in tables):
        raise InputError("--graded is for files with labels, and all files hold pairs; leave it out")
    if labelled and not meaning.named:
        numbers = all(is_number(label) for table in labelled for label in table.labels)
        graded = ", or --graded if higher is better (--graded low if lower is)" if numbers else ""
        raise InputError(f"which labels are bad? name them with --bad VALUE or --good VALUE{graded}: {there}")
    known = {label for table in labelled for label in table.labels}
    met = {name for name in meaning.named if any(covers(name, label) for label in known)}
    if unknown := sorted(meaning.named - met):
        hint = did_you_mean(unknown[0], sorted(known))
        where = there or "no file has labels"
        if not (meaning.bad and meaning.good and met):  # both named: one class may be absent
            raise InputError(f"no label is {unknown[0]!r}{hint}: {where}")
    for table in labelled:
        if not any(covers(name, label) for name in meaning.named for label in table.labels):
            raise InputError(
                f"none of {_join_names(meaning.named)} is a label of {table.source.where}, which has "
                f"{_counts(table.labels)}; name its labels of bad texts too, with another --bad VALUE"
            )
        if strange := [label for label in table.labels if meaning.target(label) is None]:
            raise InputError(
                f"{table.source.where}: the label {strange[0]!r} is neither --bad nor --good: {_counts(table.labels)}"
            )


def _is_conversation(value: object) -> TypeGuard[str | Sequence[object]]:
    return is_dialogue(value) if isinstance(value, str) else text_of(value) is not None


def _strip(answer: Any) -> Any:
    return answer.strip() if isinstance(answer, str) else answer


def _counts(labels: Counter[str]) -> str:
    listed = ", ".join(f"{label} ({count})" for label, count in labels.most_common(SHOWN))
    return f"{listed} and {len(labels) - SHOWN} more" if len(labels) > SHOWN else listed


def _join_names(names: Any) -> str:
    listed = sorted(map(str, names))
    return ", ".join(listed[:SHOWN]) + (" …" if len(listed) > SHOWN else "")
