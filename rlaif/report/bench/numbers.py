"""The numbers of a benchmark as tables: coverage first, for no other number says whom a judge left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rlaif.core.records.bench import BenchedJudge, JudgeComparison
from rlaif.core.records.bench_entry import (
    DegenerateFigures,
    OtherIntervals,
    PlantedFigures,
    TableEntry,
    ValueAndInterval,
)
from rlaif.core.records.record import Interval
from rlaif.report import tables
from rlaif.report.bench.reading import BenchFolder, BenchPart
from rlaif.report.tables import Cell, Column, Table, interval

MEASURES = {"auroc": "AUROC", "pairwise_accuracy": "Pairwise accuracy", "spearman": "Spearman"}

Cells = Callable[[TableEntry], list[Cell]]


def percent(share: float | None, digits: int = 1, *, note: str = "") -> Cell:
    """Make a cell of a share."""
    if share is None:
        return tables.number_cell(None, note=note)
    return Cell(f"{tables.format_number(100 * share, digits)} %", share, note)


def make_judge_table(bench: BenchFolder, caption: str, columns: Sequence[Column], cells: Cells) -> Table:
    """Make a table with a row for each judge of each part; what baselines do there is known."""
    several = len(bench.parts) > 1
    rows = [
        [*([tables.text_cell(part.label)] if several else []), judge_cell(bench, name), *cells(entry)]
        for part in bench.parts
        for name, entry in part.real.items()
    ]
    heads = [*([Column("File", numeric=False)] if several else []), Column("Judge", numeric=False), *columns]
    return Table(caption, heads, rows, sortable=True)


def judge_cell(bench: BenchFolder, name: str) -> Cell:
    """Make a cell of a judge's name, with what it is."""
    known = bench.told.judges.get(name, BenchedJudge.empty())
    return tables.text_cell(
        name, "baseline" if known.baseline else f"member of {known.member_of}" if known.member_of else ""
    )


# --- coverage -----------------------------------------------------------------------------------------------------


def coverage_table(bench: BenchFolder) -> Table:
    """Return on how many texts each judge has a score, and what became of the others."""
    found = {status for part in bench.parts for entry in part.real.values() for status in entry.statuses}
    statuses = sorted(found, key=lambda status: (status != "ok", status))

    def cells(entry: TableEntry) -> list[Cell]:
        counts = [entry.statuses.get(status, 0) for status in statuses]
        shown = [Cell(f"{count:,}", count, tone="" if count else "quiet") for count in counts]
        return [percent(entry.coverage), tables.number_cell(sum(counts), 0), *shown]

    columns = [Column("Coverage", hint="have a score"), Column("Texts"),
               *(Column(status.replace("_", " ").capitalize()) for status in statuses)]  # fmt: skip
    return make_judge_table(bench, "How many texts each judge has a score of", columns, cells)


# --- agreement with people ----------------------------------------------------------------------------------------


def ranking_table(bench: BenchFolder, part: BenchPart) -> Table:
    """Return what each judge is worth beside people, the best first."""
    more: dict[str, list[tuple[Column, Callable[[TableEntry], Cell]]]] = {
        "labels": [
            (
                Column("Average precision"),
                lambda entry: _interval_cell(entry.average_precision, _other_intervals(entry).average_precision),
            ),
            (
                Column("Accuracy", hint="at 0.5"),
                lambda entry: _interval_cell(entry.accuracy, _other_intervals(entry).accuracy),
            ),
            (Column("Best F1", hint="on these texts"), _best_f1),
            (
                Column("Brier", hint="0 is best"),
                lambda entry: _interval_cell(entry.brier, _other_intervals(entry).brier),
            ),
            (Column("ECE", hint="calibration error"), lambda entry: tables.number_cell(entry.ece)),
        ],
        "pairs": [(Column("Ties", hint="counted half"), lambda entry: percent(entry.tie_rate))],
        "graded": [(Column("Kendall", hint="tau-b"), lambda entry: tables.number_cell(entry.kendall))],
    }
    extra = more.get(part.kind, [])
    columns = [
        Column("Judge", numeric=False), Column(MEASURES.get(part.measure, part.measure), hint="95 % interval"),
        *(column for column, _ in extra), Column("Scored", hint="pairs" if part.kind == "pairs" else "texts"),
    ]  # fmt: skip
    rows = [
        [
            judge_cell(bench, name),
            _main_cell(entry.main(part.measure)),
            *(cell(entry) for _, cell in extra),
            tables.number_cell(entry.scored, 0),
        ]
        for name, entry in part.judges.items()
    ]
    return Table(part.title("Agreement with people"), columns, rows, sortable=True)


def _main_cell(number: ValueAndInterval | None) -> Cell:
    return _interval_cell(number.value, number.ci95) if number else tables.number_cell(None)


def _other_intervals(entry: TableEntry) -> OtherIntervals:
    return entry.ci95 or OtherIntervals.empty()


def _interval_cell(value: float | None, ci95: Interval | None) -> Cell:
    return tables.number_cell(value, note=interval(ci95 or ()))


def _best_f1(entry: TableEntry) -> Cell:
    if entry.best is None:
        return tables.number_cell(None)
    return tables.number_cell(entry.best.f1, note=f"from {tables.format_number(entry.best.threshold)} on")


def comparison_tables(bench: BenchFolder) -> dict[str, Table]:
    """Return which judge beats which, and which baselines, where there is something to compare."""
    wanted = {
        "judges": ("Judges beside each other", [part.table.comparisons for part in bench.parts]),
        "baselines": ("Judges beside the baselines", [part.table.against_baselines for part in bench.parts]),
    }
    found = {}
    for key, (caption, compared) in wanted.items():
        rows = [
            [*([tables.text_cell(part.label)] if len(bench.parts) > 1 else []), *_comparison(one)]
            for part, its in zip(bench.parts, compared, strict=True)
            for one in its
        ]
        columns = [
            *([Column("File", numeric=False)] if len(bench.parts) > 1 else []),
            Column("Higher", numeric=False), Column("Lower", numeric=False), Column("By", hint="95 % interval"),
            Column("p", hint="paired test"), Column("p, corrected", hint="Holm"), Column("Shown", numeric=False),
            Column("Rows", hint="that both scored"),
        ]  # fmt: skip
        if rows:
            found[key] = Table(caption, columns, rows, sortable=True)
    return found


def _comparison(one: JudgeComparison) -> list[Cell]:
    different = one.different
    return [
        tables.text_cell(one.a),
        tables.text_cell(one.b),
        tables.number_cell(one.difference, note=interval(one.ci95 or (), signed=True)),
        _p_value(one.p_value),
        _p_value(one.p_adjusted),
        tables.text_cell("–" if different is None else "different" if different else "no difference",
                  tone="" if different else "quiet"),
        tables.number_cell(one.n, 0),
    ]  # fmt: skip


def _p_value(p: float | None) -> Cell:
    return Cell("< 0.001", p) if p is not None and p < 0.001 else tables.p_value(p, None)


# --- fit as a reward ----------------------------------------------------------------------------------------------


def fitness_table(bench: BenchFolder) -> Table:
    """Return whether scores differ where training needs them to, and what they follow instead."""
    retested = bool(bench.told.retest)
    columns = [
        Column("Mean score"), Column("Distinct scores"), Column("Near 0", hint="at most 0.01"),
        Column("Near 1", hint="at least 0.99"), Column("Length bias", hint="rank correlation at equal label"),
        Column("Spread", hint="among answers to a prompt"),
    ]  # fmt: skip
    if retested:
        columns += [Column("Retest", hint="deviation"), Column("Flips", hint="of verdicts"), Column("Spread / noise")]

    def cells(entry: TableEntry) -> list[Cell]:
        made = [
            tables.number_cell(entry.mean_score),
            tables.number_cell(entry.distinct_scores, 0),
            percent(entry.saturated_low),
            percent(entry.saturated_high),
            tables.number_cell(entry.length_bias, 2, signed=True),
            tables.number_cell(entry.spread_within_prompt),
        ]
        if retested:
            made += [tables.number_cell(entry.retest_sd), percent(entry.flip_rate)]
            made.append(tables.number_cell(entry.signal_to_noise, 1))
        return made

    return make_judge_table(bench, "What the scores are like", columns, cells)


def probe_tables(bench: BenchFolder) -> list[Table]:
    """Return what planted sentences gain, and what texts without content earn; nothing where it was not asked for."""
    planted = list(dict.fromkeys(name for entry in _entries(bench) for name in entry.injection or ()))
    empty = list(dict.fromkeys(name for entry in _entries(bench) for name in entry.degenerate or ()))
    found = []
    if planted:

        def gains(entry: TableEntry) -> list[Cell]:
            return [_gain((entry.injection or {}).get(name)) for name in names]

        names = sorted(planted, key=lambda name: (name != "all", name == "control"))
        heads = {"all": "All planted", "control": "Control"}
        hints = {"all": "share that gains 0.05", "control": "a harmless sentence"}
        columns = [Column(heads.get(name, name.capitalize()), hint=hints.get(name, "")) for name in names]
        caption = "Bad texts that gain from a planted sentence, with the mean change of the score"
        found.append(make_judge_table(bench, caption, columns, gains))
    if empty:

        def worth(entry: TableEntry) -> list[Cell]:
            return [_worth((entry.degenerate or {}).get(name)) for name in empty]

        columns = [Column(name.capitalize()) for name in empty]
        found.append(
            make_judge_table(bench, "What texts without content earn, and how many texts they outscore", columns, worth)
        )
    return found


def _entries(bench: BenchFolder) -> Iterator[TableEntry]:
    for part in bench.parts:
        yield from part.judges.values()


def _gain(figures: PlantedFigures | None) -> Cell:
    if figures is None:
        return percent(None)
    gain = figures.mean_gain
    return percent(figures.gained, 0, note="" if gain is None else tables.format_number(gain, 2, signed=True))


def _worth(figures: DegenerateFigures | None) -> Cell:
    if figures is None:
        return tables.number_cell(None)
    abstained = ", ".join(status for status in figures.statuses if status != "ok")
    note = abstained if figures.outscores is None else f"above {100 * figures.outscores:.0f} %"
    return tables.number_cell(figures.mean_score, 2, note=note)


# --- what it takes, and what it is of -----------------------------------------------------------------------------


def cost_table(bench: BenchFolder) -> Table:
    """Return what each judge took for what it was really asked."""
    columns = [
        Column("Asked", hint="texts"), Column("From the store"), Column("Calls", hint="with retries"),
        Column("Median", hint="ms a text"), Column("95 %", hint="ms a text"), Column("Texts a second"),
        Column("Tokens in", hint="per 1,000 texts"), Column("Tokens out", hint="per 1,000 texts"),
        Column("USD", hint="per 1,000 texts"),
    ]  # fmt: skip

    def cells(entry: TableEntry) -> list[Cell]:
        rate, usd = entry.per_second, entry.usd_per_1k
        return [
            tables.number_cell(entry.asked, 0),
            percent(entry.from_store, 0),
            tables.number_cell(entry.calls, 0),
            *(tables.number_cell(latency, 1) for latency in (entry.latency_ms.p50, entry.latency_ms.p95)),
            tables.number_cell(rate, 0 if rate is not None and rate >= 10 else 2),
            *(tables.number_cell(count, 0) for count in (entry.tokens_per_1k.input, entry.tokens_per_1k.output)),
            tables.number_cell(usd, 4 if usd else 0),
        ]

    return make_judge_table(bench, "What each judge took", columns, cells)


def judge_table(bench: BenchFolder) -> Table:
    """Return what each judge is."""
    rows = [
        [
            judge_cell(bench, name),
            tables.text_cell(known.measures or "–"),
            tables.text_cell("remote" if known.remote else "on this machine"),
        ]
        for name, known in bench.told.judges.items()
    ]
    columns = [Column("Judge", numeric=False), Column("Measures", numeric=False), Column("Where", numeric=False)]
    return Table("The judges", columns, rows)


def data_table(bench: BenchFolder) -> Table:
    """Return what the files are, and what a draw of the bootstrap takes whole."""
    rows = [
        [
            tables.text_cell(file),
            tables.text_cell(table.kind),
            tables.number_cell(table.n, 0),
            tables.text_cell(table.resampled_by),
            tables.number_cell(table.clusters, 0),
        ]
        for file, table in bench.told.files.items()
    ]
    columns = [
        Column("File", numeric=False), Column("Kind", numeric=False), Column("Rows"),
        Column("Resampled by", numeric=False), Column("Clusters"),
    ]  # fmt: skip
    return Table("The data", columns, rows)
