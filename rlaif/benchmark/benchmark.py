"""A benchmark from the first text to bench.json: judges are asked, what they said is kept, numbers follow from that."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from rlaif.benchmark import completions
from rlaif.benchmark.csv_files import format_csv
from rlaif.benchmark.folder import claim
from rlaif.benchmark.ledger import Ledger
from rlaif.benchmark.numbers import BenchNumbers
from rlaif.benchmark.options import Options
from rlaif.benchmark.probes import make_probes
from rlaif.benchmark.retest import count_again, sample_retest
from rlaif.core.errors import InputError
from rlaif.core.records.bench import Bench
from rlaif.core.system.files import to_json, write_atomically
from rlaif.core.system.terminal import ProgressBar
from rlaif.core.types import Estimate, Judge, Sample, estimate_of
from rlaif.data.labelled import Labelled, LabelledText
from rlaif.judges.cards.card import refuse_equal_names
from rlaif.judges.panel import Panel
from rlaif.judges.registry import load_judge
from rlaif.judges.scoring import CHUNK_ROWS, call_judge
from rlaif.judges.session import Session

BASELINES = ("constant", "random", "length")
"""What a real judge has to beat; always there."""


class Benchmark:
    """
    Judges, labelled texts, and what is asked of them.

    Args:
        judges: who are compared; baselines are added.
        tables: files that were examined.
        session: that the judges share; None where they were made elsewhere.
        options: what else is measured.

    """

    def __init__(
        self, judges: Sequence[Judge], tables: Sequence[Labelled], session: Session | None, options: Options
    ) -> None:
        refuse_equal_names(judges, "--judge")
        names = {judge.name for judge in judges}
        self.judges, self.tables, self.options = list(judges), tables, options
        self.baselines = [load_judge({"adapter": name, "name": name}) for name in BASELINES if name not in names]
        self._session = session
        self._members = self._members_beside()
        if options.retest and session is None and (remote := [judge.name for judge in judges if judge.remote]):
            raise InputError(
                f"judge {remote[0]}: is made already, and reads its store: a retest would be answered from there; "
                "name its card instead"
            )
        self._policy = self._policy_of() if options.policy else None

    @property
    def all(self) -> list[Judge]:
        """Judges and baselines."""
        return [*self.judges, *self.baselines]

    @property
    def texts(self) -> int:
        """How many texts there are to judge once."""
        return sum(table.texts for table in self.tables)

    def _members_beside(self) -> dict[str, list[str | None]]:
        """Name the members of panels that are not judges themselves: what they said is there, and costs nothing."""
        taken = {judge.name: judge.identity for judge in self.all}
        beside: dict[str, list[str | None]] = {}
        for panel in self.judges:
            if isinstance(panel, Panel):
                beside[panel.name] = []
                for member in panel.judges:
                    known = taken.get(member.name) == member.identity
                    name = f"{panel.name}.{member.name}" if member.name in taken else member.name
                    beside[panel.name].append(None if known else name)
                    taken[name] = member.identity
        return beside

    def _policy_of(self) -> completions.BestOfPolicy:
        options = self.options
        rows = completions.prompts_of_data(options.prompts, self.tables, options.seed)
        return completions.BestOfPolicy(
            str(options.policy), options.best_of or 16, rows, options.template, options.seed
        )

    # --- what is asked ----------------------------------------------------------------------------------------------

    def _texts(self) -> Iterator[LabelledText]:
        return itertools.chain.from_iterable(table.read_texts() for table in self.tables)

    def estimates(self) -> list[tuple[str, Estimate]]:
        """Return what each judge would take at most; of what a policy will answer, the longest is assumed."""
        options = self.options
        longest = "word " * completions.MAX_NEW_TOKENS
        stages: list[tuple[Iterable[Sample], bool]] = [((sample for _, sample in self._texts()), False)]
        for _ in range(options.retest):  # one by one: what is asked twice at once is asked once
            stages.append(((sample for _, sample in sample_retest(self.tables, options.seed)), True))
        if options.probes:
            stages.append(((sample for _, sample in make_probes(self.tables, options.seed)), False))
        if self._policy:
            rows, n = self._policy.rows, self._policy.n
            stages.append(
                ((Sample(f"{i} {longest}", str(row["prompt"]), row) for row in rows for i in range(n)), False)
            )
        total = dict.fromkeys((judge.name for judge in self.judges), Estimate())
        for samples, fresh in stages:
            with self._fresh() if fresh else nullcontext():
                waiting = iter(samples)
                while chunk := list(itertools.islice(waiting, CHUNK_ROWS)):
                    for judge in self.judges:
                        total[judge.name] += estimate_of(judge, chunk)
        return list(total.items())

    def ask(self, folder: Path) -> None:
        """
        Ask the judges about all texts, and keep what they say in a folder; what is there already is not asked again.

        Raises:
            InputError: the folder is another benchmark's, or a judge cannot work.

        """
        claim(folder, self.all, self.tables)
        for judge in self.all:
            call_judge(judge, [])  # loads what it needs: a missing file is found now, not after the first judge's work
        tables, options = self.tables, self.options
        with ProgressBar("scored", self.texts) as progress:
            Ledger(folder / "scores.jsonl", self.all).fill(self._texts, progress)
        with self._fresh(), ProgressBar("asked again", options.retest * count_again(tables)) as progress:
            for name in options.retests:  # one by one: what is asked twice at once is asked once
                Ledger(folder / name, self.all).fill(partial(sample_retest, tables, options.seed), progress)
        if options.probes:
            with ProgressBar("probes", None) as progress:
                Ledger(folder / "probes.jsonl", self.all).fill(partial(make_probes, tables, options.seed), progress)
        if self._policy:
            with ProgressBar("completions", self._policy.texts) as progress:
                answers = completions.read_or_sample(folder / "completions.jsonl", self._policy, progress)
            with ProgressBar("completions scored", len(answers)) as progress:
                Ledger(folder / "best_of.jsonl", self.all).fill(lambda: answers, progress)

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Let the judges not read the verdict store."""
        if self._session is None:
            yield
            return
        before, self._session.fresh = self._session.fresh, True
        try:
            yield
        finally:
            self._session.fresh = before

    # --- what follows -----------------------------------------------------------------------------------------------

    def write_numbers(self, folder: Path) -> Bench:
        """Compute all numbers from what lies in the folder, write bench.json and bench.csv, and return the first."""
        bench = BenchNumbers(folder, self.judges, self.baselines, self._members, self.tables, self.options).compute()
        write_atomically(folder / "bench.json", to_json(bench.to_json()))
        write_atomically(folder / "bench.csv", format_csv(bench))
        return bench
