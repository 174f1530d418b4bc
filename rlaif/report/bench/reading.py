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
from rlaif.core.schema import reason_of
from rlaif.report.drawing import BEFORE, DASHES, SERIES
from rlaif.report.reading import Row, get_list, get_mapping, get_number, get_value

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
    table: Row

    @property
    def kind(self) -> str:
        """Labels, graded, or pairs."""
        return str(get_value(self.table, "kind"))

    @property
    def measure(self) -> str:
        """By which number judges are ranked."""
        return str(get_value(self.table, "measure"))

    @property
    def judges(self) -> dict[str, Row]:
        """The entries of judges and baselines, the best first."""
        found = get_mapping(self.table, "judges")
        ranked = [name for name in get_list(self.table, "ranking") if isinstance(name, str)]
        return {name: get_mapping(found, name) for name in dict.fromkeys([*ranked, *found])}

    @property
    def real(self) -> dict[str, Row]:
        """The entries without baselines, in the order of the command, which is that of colours and legends."""
        found = get_mapping(self.table, "judges")
        return {name: get_mapping(found, name) for name in found if not get_value(found, name, "baseline")}

    def title(self, what: str) -> str:
        """Name something of this part."""
        return f"{what}: {self.label}" if self.label else what

    def sentences(self, key: str) -> list[str]:
        """Return sentences of the table."""
        return [sentence for sentence in get_list(self.table, key) if isinstance(sentence, str)]


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
    told: Row

    @cached_property
    def parts(self) -> list[BenchPart]:
        """All files together if they are of one kind, then each file."""
        files = get_mapping(self.told, "files")
        labels = dict(zip(files, self.labels(list(files)), strict=True)) if len(files) > 1 else dict.fromkeys(files, "")
        found = [(labels[file], get_mapping(files, file)) for file in files]
        if len(files) > 1 and get_mapping(self.told, "pooled"):
            found.insert(0, ("all files together", get_mapping(self.told, "pooled")))
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
        return list(get_mapping(self.told, "judges"))

    @property
    def real(self) -> list[str]:
        """Judges without baselines."""
        return [name for name in self.names if not get_value(self.told, "judges", name, "baseline")]

    @property
    def draws(self) -> int:
        """Of the bootstrap."""
        return int(get_number(self.told, "draws") or 0)

    @property
    def sampled(self) -> str:
        """What the best of n was picked from."""
        told = get_mapping(self.told, "best_of")
        count, prompts = (f"{get_number(told, key) or 0:,.0f}" for key in ("n", "prompts"))
        return f"{count} completions of each of {prompts} prompts by {get_value(told, 'policy')}"

    @property
    def over_budget(self) -> int:
        """Judgements that were not asked for."""
        return int(get_number(self.told, "over_budget") or 0)

    @property
    def whole(self) -> str:
        """bench.json without the texts, which stand in the page already."""
        told = {key: value for key, value in self.told.items() if key != "disagreements"}
        return json.dumps(told, indent=1, ensure_ascii=False)

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
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder / TOLD}: cannot be read: {reason_of(error)}; {again} again") from None
    if not get_mapping(told, "files"):
        raise InputError(f"{folder / TOLD}: holds no benchmark; {again} again")
    return BenchFolder(folder, folder.resolve().name, told)
