"""What lies in the folder of a benchmark, as its page shows it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.records.bench import Bench, BenchTable, BestOf
from rlaif.core.records.bench_entry import Measure, TableEntry
from rlaif.core.schema import reason_of
from rlaif.report.drawing import BEFORE, DASHES, SERIES

TOLD = "bench.json"

MARKS = "osD^vP"
"""Points that can be told apart without colour."""


@dataclass(frozen=True)
class BenchPart:
    """
    A file of the benchmark, or all of them together.

    Args:
        place: among the parts.
        label: what it is called on the page; of a single file nothing.
        table: of bench.json.

    """

    place: int
    label: str
    table: BenchTable

    @property
    def kind(self) -> str:
        """Labels, graded, or pairs."""
        return self.table.kind

    @property
    def measure(self) -> Measure:
        """By which number judges are ranked."""
        return self.table.measure

    @property
    def judges(self) -> dict[str, TableEntry]:
        """The entries of judges and baselines, the best first."""
        found = self.table.judges
        return {name: found[name] for name in dict.fromkeys([*self.table.ranking, *found]) if name in found}

    @property
    def real(self) -> dict[str, TableEntry]:
        """The entries without baselines, in the order of the command, which is that of colours and legends."""
        return {name: entry for name, entry in self.table.judges.items() if not entry.baseline}

    def title(self, what: str) -> str:
        """Name something of this part."""
        return f"{what}: {self.label}" if self.label else what


@dataclass(frozen=True)
class BenchFolder:
    """
    A benchmark that is done.

    Args:
        folder: where.
        name: what it is called.
        told: bench.json.

    """

    folder: Path
    name: str
    told: Bench

    @cached_property
    def parts(self) -> list[BenchPart]:
        """All files together if they are of one kind, then each file."""
        files = self.told.files
        labels = dict(zip(files, self.labels(list(files)), strict=True)) if len(files) > 1 else dict.fromkeys(files, "")
        found = [(labels[file], table) for file, table in files.items()]
        if len(files) > 1 and self.told.pooled:
            found.insert(0, ("all files together", self.told.pooled))
        return [BenchPart(place, label, table) for place, (label, table) in enumerate(found)]

    @staticmethod
    def labels(files: Sequence[str]) -> list[str]:
        """Return short names of files that differ: the last parts of their paths, as many as it takes."""
        parts = [file.split("/") for file in files]
        for count in range(1, max(map(len, parts), default=1) + 1):
            names = ["/".join(part[-count:]) for part in parts]
            if len(set(names)) == len(names):
                return names
        return list(files)

    @property
    def names(self) -> list[str]:
        """Judges, then baselines, in the order of the command."""
        return list(self.told.judges)

    @property
    def real(self) -> list[str]:
        """Judges without baselines."""
        return [name for name, judge in self.told.judges.items() if not judge.baseline]

    @property
    def draws(self) -> int:
        """Of the bootstrap."""
        return self.told.draws

    @property
    def sampled(self) -> str:
        """What the best of n was picked from."""
        told = self.told.best_of or BestOf.empty()
        return f"{told.n:,} completions of each of {told.prompts:,} prompts by {told.policy}"

    @property
    def over_budget(self) -> int:
        """Judgements that were not asked for."""
        return self.told.over_budget

    @property
    def whole(self) -> str:
        """bench.json without the texts, which stand in the page already."""
        return json.dumps(self.told.drop_texts(), indent=1, ensure_ascii=False)

    @property
    def command(self) -> str:
        """What makes the page again."""
        return f"rlaif report {shlex.quote(str(self.folder))}"

    def colour(self, name: str) -> str:
        """Return a judge's colour in all figures; baselines share one."""
        return SERIES[self.real.index(name) % len(SERIES)] if name in self.real else BEFORE

    def mark(self, name: str) -> str:
        """Return a judge's mark in all figures."""
        return MARKS[self.real.index(name) % len(MARKS)] if name in self.real else MARKS[0]

    def dash(self, name: str) -> Any:
        """Return a judge's line in all figures."""
        return DASHES[self.real.index(name) % len(DASHES)] if name in self.real else DASHES[1]


def holds_bench(folder: Path) -> bool:
    """Whether a folder is that of a benchmark."""
    return (folder / TOLD).is_file() or (folder / "scores.jsonl").is_file()


def read(folder: Path) -> BenchFolder:
    """Read the folder of a benchmark, or raise `InputError` where there are no numbers yet."""
    again = "the command that made the folder writes it"
    if not (folder / TOLD).is_file():
        raise InputError(f"{folder}: this benchmark has no {TOLD} yet; {again} at its end")
    try:
        told = Bench.salvage(json.loads((folder / TOLD).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder / TOLD}: cannot be read: {reason_of(error)}; {again} again") from None
    if not told.files:
        raise InputError(f"{folder / TOLD}: holds no benchmark; {again} again")
    return BenchFolder(folder, folder.resolve().name, told)
