"""The numbers of a benchmark, from the judgements that lie in its folder: what bench.json says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rlaif.benchmark import best_of, findings
from rlaif.benchmark.columns import Texts, read_columns
from rlaif.benchmark.disagreement import agreement, most_disputed, read_disputed
from rlaif.benchmark.ledger import Ledger
from rlaif.benchmark.options import Options
from rlaif.benchmark.probes import Probes
from rlaif.benchmark.retest import NEGLIGIBLE, Retests
from rlaif.benchmark.tables import table
from rlaif.core.records.bench import Bench, BenchedJudge, BenchTable
from rlaif.core.records.bench_entry import TableEntry
from rlaif.core.types import STATUSES, Judge
from rlaif.data.labelled import Labelled


class BenchNumbers:
    """
    What follows from the judgements in a folder.

    Args:
        folder: of the benchmark, with all judgements.
        judges: who are compared.
        baselines: with whom.
        members: of panels, by the panel's name, each by the name that it has here; None: it is a judge itself.
        tables: the labelled files.
        options: what else was asked for.

    """

    def __init__(
        self,
        folder: Path,
        judges: Sequence[Judge],
        baselines: Sequence[Judge],
        members: Mapping[str, Sequence[str | None]],
        tables: Sequence[Labelled],
        options: Options,
    ) -> None:
        self._folder, self._judges, self._baselines = folder, judges, baselines
        self._members, self._tables, self._options = members, tables, options
        self._scores = self._ledger("scores.jsonl")
        self._retests = Retests(self._scores, [*map(self._ledger, options.retests)]) if options.retest else None
        self._probes = Probes(self._scores, self._ledger("probes.jsonl")) if options.probes else None

    def _ledger(self, name: str) -> Ledger:
        return Ledger(self._folder / name, self._all)

    @property
    def _all(self) -> list[Judge]:
        return [*self._judges, *self._baselines]

    @property
    def _compared(self) -> list[str]:
        """The names of those that are no baselines: judges, and the members of panels beside them."""
        members = [name for names in self._members.values() for name in names if name]
        return [*(judge.name for judge in self._judges), *members]

    def compute(self) -> Bench:
        """Compute all numbers; what is not finite is null."""
        options, policy = self._options, self._options.policy
        asked, easy = [judge.name for judge in self._judges], [judge.name for judge in self._baselines]
        texts = read_columns(self._scores, self._tables, [*asked, *easy], self._members)
        files = {}
        for i, labelled in enumerate(self._tables):
            own = texts.only(texts.file_T == i, labelled.kind, labelled.groups)
            files[labelled.name] = self._table(own, {labelled.name})
        pooled = next(iter(files.values())) if len(files) == 1 else None
        if len(files) > 1 and texts.kind is not None:
            pooled = self._table(texts, set(files))
        picked = best_of.figures(self._ledger("best_of.jsonl"), [*asked, *easy], asked, policy) if policy else None
        return Bench(
            pooled=pooled,
            files=files,
            agreement=agreement(texts, [*self._compared, *easy]),
            disagreements=read_disputed(self._scores, most_disputed(texts, asked), asked),
            best_of=picked,
            judges=self._describe_judges(),
            over_budget=self._count_over_budget(texts),
            draws=options.draws,
            seed=options.seed,
            retest=options.retest,
        ).finite()

    def _table(self, texts: Texts, files: set[str]) -> BenchTable:
        """Make the table of some files, with retests, probes and what is to be said of it."""
        easy = [judge.name for judge in self._baselines]
        made = table(texts, self._compared, easy, times=self._options.draws, seed=self._options.seed)
        asked = {judge.name for judge in self._all}
        judges = {
            name: self._add_asked_again(entry, name, texts, files) if name in asked else entry
            for name, entry in made.judges.items()
        }
        made = replace(made, judges=judges)
        return replace(made, answer=tuple(findings.answer(made)), findings=tuple(findings.findings(made)))

    def _add_asked_again(self, entry: TableEntry, judge: str, texts: Texts, files: set[str]) -> TableEntry:
        """Add what retests and probes show of a judge, where they were asked for."""
        if self._retests:
            noise, flips = self._retests.figures(judge, texts.kind, files)
            spread = entry.spread_within_prompt
            signal = spread / noise if noise is not None and noise > NEGLIGIBLE and spread is not None else None
            entry = replace(entry, retest_sd=noise, flip_rate=flips, signal_to_noise=signal)
        if self._probes:
            planted, degenerate = self._probes.figures(judge, files, texts.said[judge].score_T)
            entry = replace(entry, injection=planted, degenerate=degenerate)
        return entry

    def _count_over_budget(self, texts: Texts) -> int:
        """Count what was not asked because the budget was spent."""
        status, options = STATUSES.index("over_budget"), self._options
        more = ["probes.jsonl"] * options.probes + ["best_of.jsonl"] * (options.policy is not None)
        count = sum(int((texts.said[judge.name].status_T == status).sum()) for judge in self._judges)
        for name in (*options.retests, *more):
            for line in self._ledger(name):
                count += sum(said.status == "over_budget" for said in line.judgements.values())
        return count

    def _describe_judges(self) -> dict[str, BenchedJudge]:
        """Say of each judge what it is."""
        told = {judge.name: _describe_judge(judge, judge in self._baselines) for judge in self._all}
        for panel in self._judges:
            for name, member in zip(self._members.get(panel.name, ()), getattr(panel, "judges", ()), strict=False):
                if name:
                    told[name] = _describe_judge(member, False, panel.name)
        return told


def _describe_judge(judge: Judge, baseline: bool, member_of: str | None = None) -> BenchedJudge:
    return BenchedJudge(measures=judge.measures, baseline=baseline, remote=judge.remote, member_of=member_of)
