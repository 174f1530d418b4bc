"""The answer of a run: in words, and as tables with intervals; only what evaluation.json says, and all that it says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlaif.report import tables
from rlaif.report.reading import Row, RunFolder, get_list, get_mapping, get_number, get_value
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
    "kl_nats_per_sequence": "KL from the reference, nats a completion",
}
"""What keys of evaluation.json are called; one that is not here is called by its key."""

KL = "kl_nats_per_sequence"

APART = (
    "judges", "answer", "steps", "kept_step", "seed", "seeds", "changes", "margins", "unknown", "notes", "settings",
    "missing",
)  # fmt: skip
"""Keys of evaluation.json that stand elsewhere than in the table of prices."""


def judge_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return what each judge found, both numbers where it measures harm, held-out judges first; None where none did."""
    found = [
        (run, name, judge)
        for name in judges_of(runs)
        for run in runs
        if (judge := get_mapping(run.told, "judges", name))
    ]
    if not found:
        return None
    harm = any("toxicity" in get_mapping(judge, "before") for *_, judge in found)
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
    trained = "" if any(get_mapping(run.told, "settings") for run in runs) else " training"
    return Table(f"What each judge found, before and after{trained}", columns, rows, sortable=True)


def _judge_row(run: RunFolder | None, name: str, judge: Row, harm: bool) -> list[Cell]:
    change = get_mapping(judge, "change")
    difference = get_number(change, "score_mean")
    tone: Tone = (
        "" if not get_value(change, "significant") or not difference else "better" if difference > 0 else "worse"
    )
    role = {"held_out": "held out", "training": "learned from"}.get(str(get_value(judge, "role")), "")
    about = ", ".join(
        filter(
            None, (role, "chose the model" if judge.get("used_for_selection") else "", str(judge.get("measures") or ""))
        )
    )
    cells = [tables.text_cell(name, about), *([tables.text_cell(run.name)] if run else [])]
    cells += [_mean(judge, side) for side in ("before", "after")]
    note = tables.interval(get_list(change, "ci95"), signed=True) or str(get_value(change, "note") or "")
    cells += [
        tables.number_cell(difference, signed=True, note=note, tone=tone),
        tables.p_value(get_number(change, "p_value"), get_number(change, "p_resolution")),
    ]
    if harm:
        cells += [
            tables.number_cell(
                get_number(judge, side, "toxicity", "mean"), note=_rate(get_number(judge, side, "toxicity", "rate"))
            )
            for side in ("before", "after")
        ]
        cells.append(tables.number_cell(get_number(change, "toxicity_mean_pct"), 1, signed=True))
    cells += [
        tables.number_cell(get_number(change, "effect_size"), 2, signed=True),
        tables.number_cell(get_number(judge, "n"), 0),
    ]
    return [*cells, _abstention_cell(judge)]


def _mean(judge: Row, side: str) -> Cell:
    std = get_number(judge, side, "score", "std")
    return tables.number_cell(
        get_number(judge, side, "score", "mean"), note="" if std is None else f"± {format_number(std)}"
    )


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.0f} % toxic"


def _abstention_cell(judge: Row) -> Cell:
    sides = [get_mapping(judge, side, "abstained") for side in ("before", "after")]
    counts = [sum(int(get_number(side, status) or 0) for status in side) for side in sides]
    why = ", ".join(sorted({status for side in sides for status in side}))
    return Cell(f"{counts[0]}, {counts[1]}", sum(counts), why, "quiet" if not sum(counts) else "")


def price_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return what the model became beside its scores: fluency, variety, length, and whatever else was measured."""
    found = [{key: rest for key, *rest in _prices(run.told)} for run in runs]
    rows = []
    for key, (run, prices) in itertools.product(dict.fromkeys(itertools.chain(*found)), zip(runs, found, strict=True)):
        before, after, note = prices.get(key, (None, None, ""))
        ratio = after / before if before and after is not None else None
        cells = [tables.text_cell(name_of(key)), *([tables.text_cell(run.name)] if len(runs) > 1 else [])]
        cells += [tables.number_cell(before), tables.number_cell(after), tables.number_cell(ratio, 2, note=note)]
        rows.append(cells)
    columns = [Column("Measure", numeric=False), *([Column("Run", numeric=False)] if len(runs) > 1 else [])]
    columns += [Column("Before"), Column("After"), Column("Times before")]
    return Table("What it did to the model otherwise", columns, rows, sortable=len(runs) > 1) if rows else None


def _prices(told: Row) -> Iterator[tuple[str, float | None, float | None, str]]:
    """Yield key, before, after and what is said of their ratio, for each figure that stands beside the judges'."""
    for key, value in told.items():
        if key in APART:
            continue
        if (number := get_number(told, key)) is not None:
            yield key, 0.0 if key == KL else None, number, ""  # before training it is the reference itself
        elif isinstance(value, Mapping) and {"before", "after"} <= value.keys():
            if not isinstance(value["before"], Mapping) and not isinstance(value["after"], Mapping):
                yield key, get_number(value, "before"), get_number(value, "after"), _ratio_interval(told, key)
                continue
            before, after = (dict(leaves(get_mapping(value, side))) for side in ("before", "after"))
            for name in dict.fromkeys([*before, *after]):
                yield name, before.get(name), after.get(name), _ratio_interval(told, name)


def _ratio_interval(told: Row, key: str) -> str:
    """Return the interval of a ratio, and whether all of it is within the margin."""
    change = get_mapping(told, "changes", key)
    parts = [tables.interval(get_list(change, "ci95"), 2)]
    margin = get_number(change, "margin")
    if margin is not None and get_value(change, "within_margin") is True:
        parts.append(f"within the margin of {100 * margin:.0f} %")
    return ", ".join(filter(None, parts))


def leaves(row: Row, prefix: str = "") -> Iterator[tuple[str, float | None]]:
    """Yield the numbers of nested mappings by their paths."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}, ")
        elif value is None or get_number(row, key) is not None:
            yield f"{prefix}{key}", get_number(row, key)


def name_of(key: str) -> str:
    """Return what a key is called."""
    words = NAMES.get(key, key.replace("_", " "))
    return words[:1].upper() + words[1:]


# --- several seeds ------------------------------------------------------------------------------------------------


def seeds_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return the changes of runs that differ in their seeds only, as mean and spread; None where there are no such."""
    measured = [run for run in runs if run.told]
    if len(measured) == 1 and (seeds := get_mapping(measured[0].told, "seeds")):
        return _seeds_of_one(seeds)
    if len(measured) < 2 or any(_but_seed(run) != _but_seed(measured[0]) for run in measured):
        return None
    rows = []
    for name in get_mapping(measured[0].told, "judges"):
        spread = seed_spread([get_number(run.told, "judges", name, "change", "score_mean") for run in measured])
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


def _seeds_of_one(seeds: Row) -> Table:
    """Return the changes of a comparison whose sides were sampled by several seeds."""
    rows = []
    for name in get_mapping(seeds, "judges"):
        spread = get_mapping(seeds, "judges", name, "score_mean")
        note = tables.interval(get_list(spread, "ci95"), signed=True)
        mean = tables.number_cell(get_number(spread, "mean"), signed=True, note=note)
        rows.append(
            [
                tables.text_cell(name),
                mean,
                tables.number_cell(get_number(spread, "std")),
                tables.number_cell(get_number(seeds, "n"), 0),
            ]
        )
    return Table("The same models sampled by other seeds", SEEDS, rows)


def _but_seed(run: RunFolder) -> dict[str, Any]:
    return {key: value for key, value in run.settings.items() if key not in ("seed", "output")} or {"of": run.name}


# --- in words -----------------------------------------------------------------------------------------------------


def state_of(run: RunFolder) -> tuple[str, str]:
    """Return whether a run is `finished`, `unmeasured` or `further` than its numbers, and that in words."""
    of = f" of {run.steps}" if run.steps else ""
    written = f" It last wrote on {run.written:%Y-%m-%d at %H:%M:%S} UTC." if run.written else ""
    if not run.told:
        if not run.metrics and not run.steps:
            return "unmeasured", f"There are no numbers of a measurement here.{written}"
        how = f"Step {run.step}{of} is done." if run.step else "No step is done."
        return "unmeasured", f"Not finished: this run is still going, or it was ended. {how}{written}"
    measured = get_number(run.told, "steps")
    if measured is not None and run.step > measured:
        return "further", (
            f"The numbers are of step {measured:.0f}; the run has gone on to step {run.step}{of} since, "
            f"and is still going or was ended.{written}"
        )
    kept = get_number(run.told, "kept_step")
    if measured is None:
        return "finished", ""
    early = f", not all {run.steps}" if run.steps and measured < run.steps else ""
    chosen = f" The model of step {kept:.0f} was kept." if kept is not None and kept != measured else ""
    return "finished", f"Finished after {measured:.0f} steps{early}.{chosen}"


def answer_of(run: RunFolder) -> list[str]:
    """Return the answer of a run, a statement each, the most important first."""
    answer = get_value(run.told, "answer")
    return [part[:1].upper() + part[1:] for part in answer.split("; ") if part] if isinstance(answer, str) else []


def limits_of(run: RunFolder) -> list[str]:
    """Return what was left out of a measurement, and what could not be measured, with the reasons."""
    unknown = [f"Not known: {name_of(key)}: {reason}" for key, reason in get_mapping(run.told, "unknown").items()]
    return [*map(str, get_list(run.told, "notes")), *unknown]


def lacks_evidence(run: RunFolder) -> bool:
    """Whether numbers are there, but all of them by judges that were learned from."""
    roles = [get_value(judge, "role") for judge in get_mapping(run.told, "judges").values()]
    return bool(roles) and "held_out" not in roles


def find_kept_step(runs: Sequence[RunFolder]) -> int | None:
    """Return the step whose model was kept, of a single run."""
    kept = get_number(runs[0].told, "kept_step") if len(runs) == 1 else None
    return None if kept is None else int(kept)
