"""Judgements on disk, a line a text, as they arrive: a killed benchmark goes on where it was."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rlaif.core.errors import InputError, RlaifError
from rlaif.core.records.bench_lines import JudgedText, TimedJudgement
from rlaif.core.schema import reason_of
from rlaif.core.system.files import read_jsonl, replace_file, to_json_line
from rlaif.core.system.terminal import ProgressBar
from rlaif.core.types import Judge, Judgement, Sample, Status
from rlaif.data.labelled import LabelledText
from rlaif.judges.asking import ask_side_by_side
from rlaif.judges.scoring import CHUNK_CHARACTERS, CHUNK_ROWS, call_judge

PASSING: frozenset[Status] = frozenset({"over_budget", "unavailable", "timeout"})
"""Statuses that say nothing of the text: the judge is asked again when a benchmark goes on."""

FIRST_CHUNK, LONG = 64, 5.0
"""Texts of the first chunk; they double until a chunk takes so many seconds, and no more than that can be lost."""


class Ledger:
    """
    A file of judgements.

    Args:
        path: of the file; what is there stays.
        judges: who judge each text, side by side.

    """

    def __init__(self, path: Path, judges: Sequence[Judge]) -> None:
        self.path, self._judges = path, judges

    def __iter__(self) -> Iterator[JudgedText]:
        """Read the whole lines."""
        return (line for line, _ in self._lines())

    def fill(self, asked: Callable[[], Iterable[LabelledText]], progress: ProgressBar) -> None:
        """
        Judge what has not been judged yet, chunk by chunk.

        Args:
            asked: reads all texts, each time in the same order.
            progress: told how many are done.

        Raises:
            RlaifError: the file cannot be written, as on a full disk; what is in it stays.

        """
        known = self._cut_back(asked())
        if known:
            self._mend(asked())
            progress.skip(known)
        rest, size = itertools.islice(asked(), known, None), FIRST_CHUNK
        with self._open("ab") as file:
            while chunk := _chunk(rest, size):
                start = time.monotonic()
                judgements = _judge([sample for _, sample in chunk], self._judges)
                lines = (JudgedText.make(*item, said) for item, said in zip(chunk, judgements, strict=True))
                file.write(b"".join(map(_encode, lines)))
                file.flush()
                progress.advance(len(chunk))
                if time.monotonic() - start < LONG:
                    size = min(2 * size, CHUNK_ROWS)

    # --- going on -------------------------------------------------------------------------------------------------

    def _lines(self) -> Iterator[tuple[JudgedText, int]]:
        """Read the whole lines, each with where it ends; at one that was torn, by a kill or a power cut, they end."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in read_jsonl(file):
                if not line.is_ended:
                    return
                try:
                    judged = JudgedText.from_json(line.row, keep_unknown=True)
                except InputError:
                    return
                yield judged, line.end

    def _cut_back(self, asked: Iterable[LabelledText]) -> int:
        """Count the lines of what is asked now, in order, and cut off what comes after them."""
        names, known, end = {judge.name for judge in self._judges}, 0, 0
        for (line, its_end), (key, sample) in zip(self._lines(), asked, strict=False):
            if line.judgements.keys() != names or not line.is_of(key, sample):
                break
            known, end = known + 1, its_end
        if self.path.exists() and self.path.stat().st_size > end:
            with self._open("r+b") as file:
                file.truncate(end)
        return known

    def _mend(self, asked: Iterable[LabelledText]) -> None:
        """Ask again where a judge could not be reached, or was not paid for, and write the file anew."""
        if not any(_is_unanswered(line, judge) for line in self for judge in self._judges):
            return
        rows = zip(self, asked, strict=False)
        with replace_file(self.path) as file:
            while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
                lines = [line for line, _ in chunk]
                for judge in self._judges:
                    failed = [i for i, line in enumerate(lines) if _is_unanswered(line, judge)]
                    judgements = _judge([chunk[i][1].sample for i in failed], [judge]) if failed else []
                    for i, said in zip(failed, judgements, strict=True):
                        lines[i] = lines[i].replace_values(judgements={**lines[i].judgements, **said})
                file.write(b"".join(map(_encode, lines)))

    @contextmanager
    def _open(self, mode: str) -> Iterator[BinaryIO]:
        try:
            with self.path.open(mode) as file:
                yield file  # type: ignore[misc]
        except OSError as error:
            raise RlaifError(f"{self.path}: cannot be written: {reason_of(error)}") from error


def _judge(samples: Sequence[Sample], judges: Sequence[Judge]) -> list[dict[str, TimedJudgement]]:
    """Ask judges of the same texts side by side, and return what they say of each text, by judge."""
    walls: dict[str, float] = {}

    def ask(judge: Judge, samples: Sequence[Sample]) -> list[Judgement]:
        start = time.perf_counter()
        judgements = call_judge(judge, samples)
        walls[judge.name] = (time.perf_counter() - start) / len(samples)
        return judgements

    said: list[dict[str, TimedJudgement]] = [{} for _ in samples]
    for judge, judgements in zip(judges, ask_side_by_side(judges, samples, ask), strict=True):
        for of_text, judgement in zip(said, judgements, strict=True):
            of_text[judge.name] = TimedJudgement.make(judgement, walls[judge.name])
    return said


def _is_unanswered(line: JudgedText, judge: Judge) -> bool:
    return line.judgements[judge.name].status in PASSING


def _encode(line: JudgedText) -> bytes:
    """Return a line as JSON: UTF-8 text as it is, lone surrogates escaped."""
    return f"{to_json_line(line.to_json())}\n".encode()


def _chunk(asked: Iterator[LabelledText], size: int) -> list[LabelledText]:
    """Take the next texts: so many, and of a bounded number of characters."""
    chunk: list[LabelledText] = []
    characters = 0
    for item in asked:
        chunk.append(item)
        characters += len(item.sample.prompt) + len(item.sample.completion)
        if len(chunk) >= size or characters >= CHUNK_CHARACTERS:
            break
    return chunk
