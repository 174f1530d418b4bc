"""A benchmark from the first text to bench.json: judges are asked, what they said is kept, numbers follow from that."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rlaif.benchmark import best_of, completions, findings
from rlaif.benchmark.columns import Texts, read_columns
from rlaif.benchmark.csv_files import format_csv
from rlaif.benchmark.disagreement import agreement, most_disputed, read_disputed
from rlaif.benchmark.folder import claim
from rlaif.benchmark.ledger import Ledger
from rlaif.benchmark.probes import Probes, make_probes
from rlaif.benchmark.retest import NEGLIGIBLE, Retests, count_again, sample_retest
from rlaif.benchmark.tables import table
from rlaif.core.errors import InputError
from rlaif.core.system.files import finite, to_json, write_atomically
from rlaif.core.system.terminal import ProgressBar
from rlaif.core.types import STATUSES, Estimate, Judge, Sample, estimate_of
from rlaif.data.labelled import Labelled, LabelledText
from rlaif.data.rows import RowSource
from rlaif.judges.cards.card import refuse_equal_names
from rlaif.judges.panel import Panel
from rlaif.judges.registry import load_judge
from rlaif.judges.scoring import CHUNK_ROWS, call_judge
from rlaif.judges.session import Session
from rlaif.stats.bootstrap import DRAWS

BASELINES = ("constant", "random", "length")
"""What a real judge has to beat; always there."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    What is asked for beside agreement with people.

    Args:
        retest: how often some rows are asked again, past the verdict store.
        probes: whether judges get planted and degenerate texts.
        policy: folder or hub id of a model, for the best of n.
        best_of: completions of each prompt.
        prompts: a file with a column `prompt`; by default the labelled data's.
        template: of prompts/policy/, for the policy's prompts.
        draws: of the bootstrap.
        seed: of all that is drawn.

    """

    retest: int = 0
    probes: bool = False
    policy: str | None = None
    best_of: int | None = None
    prompts: RowSource | None = None
    template: str | None = None
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"retest": (self.retest, 0), "draws": (self.draws, 1), "seed": (self.seed, 0)}
        least |= {} if self.best_of is None else {"best_of": (self.best_of, 2)}
        for name, (number, lowest) in least.items():
            if number < lowest:
                raise InputError(f"{name} should be at least {lowest}, not {number}")
        if self.policy is None and (self.best_of or self.prompts or self.template):
            raise InputError("--best-of, --prompts and --template need a model that answers; name it by --policy MODEL")

    @property
    def retests(self) -> list[str]:
        """The files of retests."""
        return [f"retest-{number}.jsonl" for number in range(1, self.retest + 1)]


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

    @property
    def compared(self) -> list[str]:
        """The names of those that are no baselines: judges, and the members of panels beside them."""
        return [*(judge.name for judge in self.judges), *(m for ms in self._members.values() for m in ms if m)]

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
            with self._fresh() if fresh else _do_nothing():
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

    def write_numbers(self, folder: Path) -> dict[str, Any]:
        """Compute all numbers from what lies in the folder, write bench.json and bench.csv, and return the first."""
        scores, options = Ledger(folder / "scores.jsonl", self.all), self.options
        asked, easy = [judge.name for judge in self.judges], [judge.name for judge in self.baselines]
        texts = read_columns(scores, self.tables, [*asked, *easy], self._members)
        more = _More(folder, scores, self.all, options)
        files = {}
        for i, labelled in enumerate(self.tables):
            own = texts.only(texts.file_T == i, labelled.kind, labelled.groups)
            files[labelled.name] = self._table(own, {labelled.name}, more)
        pooled = next(iter(files.values())) if len(files) == 1 else None
        if len(files) > 1 and texts.kind is not None:
            pooled = self._table(texts, set(files), more)
        names = [*self.compared, *easy]
        told = {
            "pooled": pooled,
            "files": files,
            "agreement": agreement(texts, names),
            "disagreements": read_disputed(scores, most_disputed(texts, asked), asked),
            "best_of": best_of.figures(Ledger(folder / "best_of.jsonl", self.all), [*asked, *easy], asked)
            | {"policy": options.policy} if self._policy else None,
            "judges": self._describe_judges(),
            "over_budget": self._count_over_budget(texts, folder),
            "draws": options.draws,
            "seed": options.seed,
            "retest": options.retest,
        }  # fmt: skip
        told = dict(finite(told))
        write_atomically(folder / "bench.json", to_json(told))
        write_atomically(folder / "bench.csv", format_csv(told))
        return told

    def _count_over_budget(self, texts: Texts, folder: Path) -> int:
        """Count what was not asked because the budget was spent."""
        status, options = STATUSES.index("over_budget"), self.options
        more = ["probes.jsonl"] * options.probes + ["best_of.jsonl"] * (self._policy is not None)
        count = sum(int((texts.said[judge.name].status_T == status).sum()) for judge in self.judges)
        for name in (*options.retests, *more):
            for line in Ledger(folder / name, self.all):
                count += sum(said["status"] == "over_budget" for said in line["judgements"].values())
        return count

    def _table(self, texts: Texts, files: set[str], more: _More) -> dict[str, Any]:
        easy = [judge.name for judge in self.baselines]
        made = table(texts, self.compared, easy, times=self.options.draws, seed=self.options.seed)
        for judge in self.all:
            made["judges"][judge.name] |= more.figures(judge.name, texts, files, made["judges"][judge.name])
        return made | {"answer": findings.answer(made), "findings": list(findings.findings(made))}

    def _describe_judges(self) -> dict[str, dict[str, Any]]:
        """Say of each judge what it is."""
        told = {judge.name: _describe_judge(judge, judge in self.baselines) for judge in self.all}
        for panel in self.judges:
            for name, member in zip(self._members.get(panel.name, ()), getattr(panel, "judges", ()), strict=False):
                if name:
                    told[name] = _describe_judge(member, False, panel.name)
        return told


def _describe_judge(judge: Judge, baseline: bool, member_of: str | None = None) -> dict[str, Any]:
    return {"measures": judge.measures, "baseline": baseline, "remote": judge.remote, "member_of": member_of}


class _More:
    """Retests and probes, where they were asked for."""

    def __init__(self, folder: Path, scores: Ledger, judges: Sequence[Judge], options: Options) -> None:
        def ledger(name: str) -> Ledger:
            return Ledger(folder / name, judges)

        self._retests = Retests(scores, [*map(ledger, options.retests)]) if options.retest else None
        self._probes = Probes(scores, ledger("probes.jsonl")) if options.probes else None

    def figures(self, judge: str, texts: Texts, files: set[str], entry: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {}
        if self._retests:
            told |= self._retests.figures(judge, texts.kind, files)
            noise, spread = told["retest_sd"], entry["spread_within_prompt"]
            is_noise = noise is not None and noise > NEGLIGIBLE
            told["signal_to_noise"] = spread / noise if is_noise and spread is not None else None
        if self._probes:
            told |= self._probes.figures(judge, files, texts.said[judge].score_T)
        return told


@contextmanager
def _do_nothing() -> Iterator[None]:
    yield
