"""Asked the same again: how far a judge's score moves, and how often its verdict turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from rlaif.core.records.bench_lines import JudgedText
from rlaif.data.labelled import Kind, Labelled, LabelledText

ROWS = 500
"""Of a file that are asked again at most: enough for two digits, and a bound on what it costs."""

NEGLIGIBLE = 1e-6
"""A deviation that is none: a classifier's score moves by the last bits of float32 with what else is in its batch."""

ROUNDING = 1e-20
"""Squares of what a mean of equal scores differs from them."""

Answers = dict[str | None, float | None]
"""A judge's score of a row, by side: of a pair there are two."""


def sample_retest(tables: Sequence[Labelled], seed: int) -> Iterator[LabelledText]:
    """Read the rows that are asked again, chosen at random."""
    for i, table in enumerate(tables):
        rng = np.random.default_rng([seed, i])
        rows = set(rng.choice(table.n, min(ROWS, table.n), replace=False).tolist())
        for key, sample in table.read_texts():
            if key.row in rows:
                yield LabelledText(key, sample)


def count_again(tables: Sequence[Labelled]) -> int:
    """Return how many texts that is."""
    return sum(min(ROWS, table.n) * table.texts // table.n for table in tables)


class Retests:
    """
    What judges said of the same rows several times.

    Args:
        first: the lines of scores.jsonl.
        again: the lines of each retest.

    """

    def __init__(self, first: Iterable[JudgedText], again: Sequence[Iterable[JudgedText]]) -> None:
        self._lines: dict[tuple[str | None, int], list[list[JudgedText]]] = {}
        for repeat, lines in enumerate(again, start=1):
            for line in lines:
                repeats = self._lines.setdefault((line.file, line.row), [[] for _ in range(len(again) + 1)])
                repeats[repeat].append(line)
        for line in first:
            if known := self._lines.get((line.file, line.row)):
                known[0].append(line)

    def figures(self, judge: str, kind: Kind | None, files: set[str]) -> tuple[float | None, float | None]:
        """
        Return a judge's deviation and flip rate over some files.

        The first is the standard deviation of the scores of one text, pooled over texts, each of which costs a
        degree of freedom. The second is the share of retests that turn the first verdict around: the score is on the
        other side of 0.5, or of a pair another answer is preferred. Abstentions have no part in either.
        """
        squares, freedom, flips, compared = 0.0, 0, 0, 0
        for (file, _), repeats in self._lines.items():
            if file not in files:
                continue
            answers = [_answers(lines, judge) for lines in repeats]
            for side in answers[0]:
                scores = np.array([answer[side] for answer in answers if answer[side] is not None], dtype=np.float64)
                if len(scores) > 1:
                    squares += float(((scores - scores.mean()) ** 2).sum())
                    freedom += len(scores) - 1
            first, *others = (_verdict(answer, kind) for answer in answers)
            turned = [other != first for other in others if None not in (first, other)]
            flips, compared = flips + sum(turned), compared + len(turned)
        deviation = (squares / freedom if squares > ROUNDING else 0.0) ** 0.5 if freedom else None
        return deviation, flips / compared if compared else None


def _answers(lines: Iterable[JudgedText], judge: str) -> Answers:
    return {line.side: line.judgements[judge].score for line in lines}


def _verdict(answers: Answers, kind: Kind | None) -> float | None:
    """Return what the answers say: which of a pair is better, or whether a text is good."""
    if None in answers.values():
        return None
    if kind == "pairs":
        return float(np.sign((answers["chosen"] or 0.0) - (answers["rejected"] or 0.0)))
    (score,) = answers.values()
    return float((score or 0.0) >= 0.5)
