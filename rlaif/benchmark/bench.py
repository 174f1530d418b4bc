"""
The benchmark of reward sources: how well judges agree with people, how noisy, biased, slow and dear they are.

Labelled data in, a folder out: `scores.jsonl` holds what the judges said, a line a text, and `bench.json` what
follows from that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlaif.benchmark.benchmark import BASELINES, Benchmark
from rlaif.benchmark.options import Options
from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.core.types import Judge
from rlaif.data.formats import Row
from rlaif.data.labelled import InMemory, examine, word_of
from rlaif.data.meaning import Graded, Meaning
from rlaif.data.rows import RowSource
from rlaif.judges.cards.card import CardRef
from rlaif.judges.registry import judge_of, to_list
from rlaif.judges.remote.limits import Budget
from rlaif.judges.session import Session
from rlaif.stats.bootstrap import DRAWS

__all__ = ["BASELINES", "Benchmark", "Meaning", "Options", "bench", "examine"]

Label = str | float
Data = str | Path | Iterable[str | Path] | Iterable[Mapping[str, object]]


def bench(
    judges: CardRef | Judge | Sequence[CardRef | Judge],
    data: Data,
    *,
    bad: Label | Iterable[Label] = (),
    good: Label | Iterable[Label] = (),
    graded: bool | Graded = False,
    groups: str | Iterable[str] = (),
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    output: str | Path | None = None,
    retest: int = 0,
    probes: bool = False,
    policy: str | Path | None = None,
    best_of: int | None = None,
    prompts: str | Path | None = None,
    template: str | None = None,
    budget_usd: float | None = None,
    budget_calls: int | None = None,
    fresh: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """
    Benchmark judges on labelled texts, graded texts or preference pairs.

    `rlaif.bench(["toxicity", "lexicon"], "comments.jsonl", bad="toxic")["files"]["comments.jsonl"]["judges"]`

    Args:
        judges: card names, paths, cards as mappings, or judges. The baselines `constant`, `random` and `length` are
            added.
        data: files, hub ids, or rows as mappings: `completion` and `label`, or `prompt`, `chosen` and `rejected`.
        bad: labels of bad texts: one or several, as they stand in the data (1, True, "toxic"), or ">=0.5".
        good: labels of good texts; either is enough.
        graded: labels are numbers: True or "high" where higher is better, "low" where lower is.
        groups: columns by which numbers are told apart.
        columns: new names, `{"completion": "tweet"}`.
        split: of hub data sets.
        limit: rows read of each file.
        output: folder of scores.jsonl, bench.json and bench.csv; that of the same benchmark is gone on with. By
            default none is kept.
        retest: how often up to 500 rows of a file are asked again, past the verdict store.
        probes: whether judges get planted and degenerate texts as well.
        policy: folder or hub id of a model whose completions judges pick from.
        best_of: completions of each prompt; 16 where there is a policy.
        prompts: a file with a column `prompt` for the policy; by default the data's prompts.
        template: of prompts/policy/, for the policy's prompts.
        budget_usd: what remote judges may spend.
        budget_calls: calls they may make.
        fresh: ask again what is in the verdict store.
        draws: of the bootstrap.
        seed: of all that is drawn.

    Returns:
        What bench.json holds: a table for each file, and a pooled one where they are of one kind.

    Raises:
        InputError: a card, the data or the folder is wrong, or nobody said what the labels mean.
        JudgeBug: a judge broke its contract.

    """
    made, session = _make_judges(judges, Session(Budget(budget_usd, budget_calls), fresh))
    needed: frozenset[str] = frozenset().union(*(judge.reads for judge in made))
    meaning = Meaning(frozenset(_join_names(bad)), frozenset(_join_names(good)), graded)
    tables = examine(sources_of(data, columns or {}, split, limit, needed), meaning, _join_names(groups))
    options = Options(
        retest=retest, probes=probes, policy=None if policy is None else str(policy), best_of=best_of, draws=draws,
        prompts=None if prompts is None else RowSource(str(prompts)), template=template, seed=seed,
    )  # fmt: skip
    benchmark = Benchmark(made, tables, session, options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bench" if output is None else Path(output)
        benchmark.ask(folder)
        return benchmark.write_numbers(folder).to_json()


def _make_judges(
    judges: CardRef | Judge | Sequence[CardRef | Judge], session: Session
) -> tuple[list[Judge], Session | None]:
    """Make judges of cards and take those that are made; they share the session if all are of cards."""
    refs = to_list(judges)
    if not refs:
        raise InputError("bench needs a judge")
    made = [judge_of(ref, session) for ref in refs]
    return made, session if all(isinstance(ref, str | Path | Mapping) for ref in refs) else None


def sources_of(
    data: Data, columns: Mapping[str, str], split: str | None, limit: int | None, needed: frozenset[str]
) -> list[RowSource]:
    """Name where labelled rows come from: files, hub ids, or rows in memory."""
    items = [data] if isinstance(data, str | Path) else list(data)
    if not items:
        raise InputError("bench needs data: files, hub ids, or rows")

    def read_into_memory(name: str, rows: Iterable[tuple[str, Row]]) -> InMemory:
        return InMemory(name, items=tuple(rows), columns=columns, limit=limit, needed=needed, stream=False)

    def name_source(name: str) -> RowSource:
        of_hub = split if name in on_hub else None
        return RowSource(name, split=of_hub, columns=columns, limit=limit, needed=needed, stream=False)

    if all(isinstance(item, Mapping) for item in items):
        rows = [dict(item) for item in items if isinstance(item, Mapping)]
        return [read_into_memory("the data", ((f"item {i}", row) for i, row in enumerate(rows)))]
    if wrong := [item for item in items if not isinstance(item, str | Path)]:
        raise InputError(f"data should be files, hub ids, or rows as mappings, not {short_repr(wrong[0])}")
    names = [str(item) for item in items]
    on_hub = [name for name in names if name != "-" and not Path(name).exists()]
    if split and not on_hub:
        raise InputError("--split is for hub data sets, and there is none; leave it out")
    return [read_into_memory(name, RowSource(name).rows()) if name == "-" else name_source(name) for name in names]


def _join_names(words: Label | Iterable[Label]) -> list[str]:
    return [word_of(word) for word in ([words] if isinstance(words, str | int | float) else words)]
