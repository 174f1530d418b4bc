"""The results of a run, in words and as tables with intervals. They show all of evaluation.json and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from rlaif.core.records.evaluation import BeforeAfter, EvaluationRecord, RatioFigures, SeedFigures
from rlaif.core.records.judge_figures import JudgeFigures, JudgeSide
from rlaif.core.records.record import ABSENT, Absent
from rlaif.report import tables
from rlaif.report.reading import Row, RunFolder, get_number
from rlaif.report.scores import judges_of
from rlaif.report.tables import Cell, Column, Table, Tone, format_number
from rlaif.stats.corrections import seed_spread

NAMES = {
    "reference_perplexity": "Perplexity under the reference",
    "distinct_1": "Distinct-1",
    "distinct_2": "Distinct-2",
    "distinct_3": "Distinct-3",
    "length_tokens": "Length in tokens",
    "independent_perplexity": "Perplexity under an independent model",
    "length_words": "Length in words",
    "ended_rate": "Share that ended by itself",
    "cut_rate": "Share that was cut",
    "empty_rate": "Share that is empty",
    "repetition": "Repetition",
    "kl_nats_per_sequence": "KL from the reference, nats per completion",
}
"""Names of the keys of evaluation.json in the report; other keys are shown as they are."""


def judge_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return the table of judges, held-out judges first, with toxicity if they measure harm; None if there are none."""
    found = [(run, name, judge) for name in judges_of(runs) for run in runs if (judge := run.judges.get(name))]
    if not found:
        return None
    harm = any(judge.before.toxicity is not ABSENT for *_, judge in found)
    columns = [Column("Judge", numeric=False), *([Column("Run", numeric=False)] if len(runs) > 1 else [])]
    columns += [
        Column("Score before", hint="mean ± std"),
        Column("Score after"),
        Column("Change", hint="95 % interval"),
        Column("p"),
    ]
    columns += [Column("Toxicity before", hint="1 − score"), Column("Toxicity after"), Column("%")] if harm else []
    columns += [
        Column("Effect", hint="Cohen’s d"),
        Column("Pairs"),
        Column("Abstained", hint="before, after"),
    ]
    rows = [_judge_row(run if len(runs) > 1 else None, name, judge, harm) for run, name, judge in found]
    trained = "" if any(run.evaluation and run.evaluation.settings is not ABSENT for run in runs) else " training"
    return Table(f"Scores by judge, before and after{trained}", columns, rows, sortable=True)


def _judge_row(run: RunFolder | None, name: str, judge: JudgeFigures, harm: bool) -> list[Cell]:
    change = judge.change
    difference = change.score_mean
    tone: Tone = "" if not change.significant or not difference else "better" if difference > 0 else "worse"
    role = {"held_out": "held out", "training": "learned from"}.get(judge.role, "")
    hint = ", ".join(filter(None, (role, "chose the model" if judge.used_for_selection else "", judge.measures)))
    cells = [tables.text_cell(name, hint), *([tables.text_cell(run.name)] if run else [])]
    cells += [_mean(side) for side in (judge.before, judge.after)]
    note = tables.interval(change.ci95 or (), signed=True) or change.note or ""
    cells += [
        tables.number_cell(difference, signed=True, note=note, tone=tone),
        tables.p_value(change.p_value, change.p_resolution),
    ]
    if harm:
        cells += [_toxicity(side) for side in (judge.before, judge.after)]
        percentage = None if change.toxicity_mean_pct is ABSENT else change.toxicity_mean_pct
        cells.append(tables.number_cell(percentage, 1, signed=True))
    cells += [tables.number_cell(change.effect_size, 2, signed=True), tables.number_cell(judge.n, 0)]
    return [*cells, _abstention_cell(judge)]


def _mean(side: JudgeSide) -> Cell:
    std = side.score.std
    return tables.number_cell(side.score.mean, note="" if std is None else f"± {format_number(std)}")


def _toxicity(side: JudgeSide) -> Cell:
    if side.toxicity is ABSENT:
        return tables.number_cell(None)
    return tables.number_cell(side.toxicity.mean, note=_rate(side.toxicity.rate))


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.0f} % toxic"


def _abstention_cell(judge: JudgeFigures) -> Cell:
    sides = [judge.before.abstained, judge.after.abstained]
    counts = [sum(side.values()) for side in sides]
    why = ", ".join(sorted({status for side in sides for status in side}))
    return Cell(f"{counts[0]}, {counts[1]}", sum(counts), why, "quiet" if not sum(counts) else "")


def side_effects_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return the side effects on the model: fluency, diversity, length, and whatever else was measured."""
    found = [{name: rest for name, *rest in _side_effects(run.evaluation)} if run.evaluation else {} for run in runs]
    rows = []
    for name, (run, side_effects) in itertools.product(
        dict.fromkeys(itertools.chain(*found)), zip(runs, found, strict=True)
    ):
        before, after, note = side_effects.get(name, (None, None, ""))
        ratio = after / before if before and after is not None else None
        cells = [tables.text_cell(name), *([tables.text_cell(run.name)] if len(runs) > 1 else [])]
        cells += [tables.number_cell(before), tables.number_cell(after), tables.number_cell(ratio, 2, note=note)]
        rows.append(cells)
    columns = [Column("Measure", numeric=False), *([Column("Run", numeric=False)] if len(runs) > 1 else [])]
    columns += [Column("Before"), Column("After"), Column("Times before")]
    return Table("Side effects", columns, rows, sortable=len(runs) > 1) if rows else None


SideEffect = tuple[str, float | None, float | None, str]
"""Name of a measure, its value before, its value after, and a note on their ratio."""


def _side_effects(evaluation: EvaluationRecord) -> Iterator[SideEffect]:
    """Yield the measures that are not a judge's. Measures that this report does not know come last, by their keys."""
    changes, before, after = evaluation.changes, evaluation.fluency.before, evaluation.fluency.after
    perplexity = "Perplexity under the reference"
    yield perplexity, before.reference_perplexity, after.reference_perplexity, _ratio(changes.reference_perplexity)
    if before.independent_perplexity is not ABSENT or after.independent_perplexity is not ABSENT:
        sides = [None if x is ABSENT else x for x in (before.independent_perplexity, after.independent_perplexity)]
        yield "Perplexity under an independent model", sides[0], sides[1], _ratio(changes.independent_perplexity)
    diversity = evaluation.diversity
    yield "Distinct-1", diversity.before.distinct_1, diversity.after.distinct_1, _ratio(changes.distinct_1)
    yield "Distinct-2", diversity.before.distinct_2, diversity.after.distinct_2, _ratio(changes.distinct_2)
    yield "Distinct-3", diversity.before.distinct_3, diversity.after.distinct_3, _ratio(changes.distinct_3)
    yield _both("Length in tokens", evaluation.length_tokens, changes.length_tokens)
    yield _both("Length in words", evaluation.length_words, changes.length_words)
    yield _both("Share that ended by itself", evaluation.ended_rate)
    yield _both("Share that was cut", evaluation.cut_rate)
    yield _both("Share that is empty", evaluation.empty_rate)
    yield _both("Repetition", evaluation.repetition)
    if evaluation.kl_nats_per_sequence is not None:  # before training the policy is the reference
        yield "KL from the reference, nats per completion", 0.0, evaluation.kl_nats_per_sequence, ""
    yield from _unknown_side_effects(evaluation.unknown_keys)


def _both(name: str, figure: BeforeAfter, change: RatioFigures | Absent = ABSENT) -> SideEffect:
    return name, figure.before, figure.after, _ratio(change)


def _unknown_side_effects(unknown: Row) -> Iterator[SideEffect]:
    for key, value in unknown.items():
        if (number := get_number(unknown, key)) is not None:
            yield name_of(key), None, number, ""
        elif isinstance(value, Mapping):
            pair = BeforeAfter.salvage(value)
            if pair.before is not None or pair.after is not None:
                yield _both(name_of(key), pair)


def _ratio(change: RatioFigures | Absent) -> str:
    """Return the interval of a ratio in words, and whether it lies within the margin."""
    if change is ABSENT:
        return ""
    within = f"within the margin of {100 * change.margin:.0f} %" if change.within_margin else ""
    return ", ".join(filter(None, (tables.interval(change.ci95 or (), 2), within)))


def leaves(row: Row, prefix: str = "") -> Iterator[tuple[str, float | None]]:
    """Yield the numbers of nested mappings with their paths."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}, ")
        elif value is None or get_number(row, key) is not None:
            yield f"{prefix}{key}", get_number(row, key)


def name_of(key: str) -> str:
    """Return the name of a key in the report."""
    words = NAMES.get(key, key.replace("_", " "))
    return words[:1].upper() + words[1:]


# --- several seeds ------------------------------------------------------------------------------------------------


def seeds_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return the mean and spread of changes over runs that differ only in their seeds; None if there are none."""
    measured = [run for run in runs if run.evaluation]
    evaluation = measured[0].evaluation if len(measured) == 1 else None
    if evaluation and evaluation.seeds is not ABSENT:
        return _seeds_of_one(evaluation.seeds)
    if len(measured) < 2 or any(_settings_without_seed(run) != _settings_without_seed(measured[0]) for run in measured):
        return None
    rows = []
    for name in measured[0].judges:
        found = [run.judges.get(name) for run in measured]
        spread = seed_spread([None if judge is None else judge.change.score_mean for judge in found])
        note = tables.interval(spread.ci95 or (), signed=True)
        rows.append(
            [
                tables.text_cell(name),
                tables.number_cell(spread.mean, signed=True, note=note),
                tables.number_cell(spread.std),
                tables.number_cell(spread.n, 0),
            ]
        )
    return Table("The same run with other seeds", SEEDS, rows)


SEEDS = [
    Column("Judge", numeric=False),
    Column("Mean change", hint="95 % interval"),
    Column("Spread", hint="standard deviation"),
    Column("Seeds"),
]


def _seeds_of_one(seeds: SeedFigures) -> Table:
    """Return the changes of a comparison whose sides were sampled with several seeds."""
    rows = []
    for name, judge in seeds.judges.items():
        spread = judge.score_mean
        note = tables.interval(spread.ci95 or (), signed=True)
        mean = tables.number_cell(spread.mean, signed=True, note=note)
        rows.append(
            [
                tables.text_cell(name),
                mean,
                tables.number_cell(spread.std),
                tables.number_cell(seeds.n, 0),
            ]
        )
    return Table("The same models sampled with other seeds", SEEDS, rows)


def _settings_without_seed(run: RunFolder) -> Row:
    return {key: value for key, value in run.settings.items() if key not in ("seed", "output")} or {"of": run.name}


# --- in words -----------------------------------------------------------------------------------------------------


def state_of(run: RunFolder) -> tuple[str, str]:
    """Return the state of a run and its description: `finished`, `unmeasured`, or `further` than its numbers."""
    of = f" of {run.steps}" if run.steps else ""
    written = f" It last wrote on {run.written:%Y-%m-%d at %H:%M:%S} UTC." if run.written else ""
    if not run.evaluation:
        if not run.metrics and not run.steps:
            return "unmeasured", f"There is no measurement in this folder.{written}"
        progress = f"Step {run.step}{of} is done." if run.step else "No step is done."
        return "unmeasured", f"Not finished: this run is still going, or it was stopped. {progress}{written}"
    measured = run.evaluation.steps
    if measured is not None and run.step > measured:
        return "further", (
            f"The numbers are from step {measured}; the run has since reached step {run.step}{of}, "
            f"and is still going or was stopped.{written}"
        )
    kept = run.evaluation.kept_step
    if measured is None:
        return "finished", ""
    early = f", not all {run.steps}" if run.steps and measured < run.steps else ""
    chosen = f" The model of step {kept} was kept." if kept is not None and kept != measured else ""
    return "finished", f"Finished after {measured} steps{early}.{chosen}"


def answer_of(run: RunFolder) -> list[str]:
    """Return the conclusion of a run as a list of statements, the most important first."""
    answer = run.evaluation.answer if run.evaluation else ""
    return [part[:1].upper() + part[1:] for part in answer.split("; ") if part]


def limits_of(run: RunFolder) -> list[str]:
    """Return notes on what was left out of a measurement or could not be measured, with reasons."""
    if run.evaluation is None:
        return []
    notes = () if run.evaluation.notes is ABSENT else run.evaluation.notes
    unknown = {} if run.evaluation.unknown is ABSENT else run.evaluation.unknown
    return [*notes, *(f"Not known: {name_of(key)}: {reason}" for key, reason in unknown.items())]


def lacks_evidence(run: RunFolder) -> bool:
    """Whether there are scores, but only from judges that the model was trained against."""
    roles = [judge.role for judge in run.judges.values()]
    return bool(roles) and "held_out" not in roles


def find_kept_step(runs: Sequence[RunFolder]) -> int | None:
    """Return the step whose model was kept; None for several runs."""
    evaluation = runs[0].evaluation if len(runs) == 1 else None
    return evaluation.kept_step if evaluation else None
