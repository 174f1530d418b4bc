"""The numbers of a benchmark as tables: coverage first, for no other number says whom a judge left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rlaif.report import tables
from rlaif.report.bench.reading import BenchFolder, BenchPart
from rlaif.report.reading import Row, get_list, get_mapping, get_number, get_value
from rlaif.report.tables import Cell, Column, Table, interval

MEASURES = {"auroc": "AUROC", "pairwise_accuracy": "Pairwise accuracy", "spearman": "Spearman"}

Cells = Callable[[Row], list[Cell]]


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
    known = get_mapping(bench.told, "judges", name)
    member = get_value(known, "member_of")
    return tables.text_cell(name, "baseline" if known.get("baseline") else f"member of {member}" if member else "")


# --- coverage -----------------------------------------------------------------------------------------------------


def coverage_table(bench: BenchFolder) -> Table:
    """Return on how many texts each judge has a score, and what became of the others."""
    found = {
        status for part in bench.parts for entry in part.real.values() for status in get_mapping(entry, "statuses")
    }
    statuses = sorted(found, key=lambda status: (status != "ok", status))

    def cells(entry: Row) -> list[Cell]:
        counts = [int(get_number(entry, "statuses", status) or 0) for status in statuses]
        shown = [Cell(f"{count:,}", count, tone="" if count else "quiet") for count in counts]
        return [percent(get_number(entry, "coverage")), tables.number_cell(sum(counts), 0), *shown]

    columns = [Column("Coverage", hint="have a score"), Column("Texts"),
               *(Column(status.replace("_", " ").capitalize()) for status in statuses)]  # fmt: skip
    return make_judge_table(bench, "How many texts each judge has a score of", columns, cells)


# --- agreement with people ----------------------------------------------------------------------------------------


def ranking_table(bench: BenchFolder, part: BenchPart) -> Table:
    """Return what each judge is worth beside people, the best first."""
    more: dict[str, list[tuple[Column, Callable[[Row], Cell]]]] = {
        "labels": [
            (Column("Average precision"), lambda entry: _interval_cell(entry, "average_precision")),
            (Column("Accuracy", hint="at 0.5"), lambda entry: _interval_cell(entry, "accuracy")),
            (Column("Best F1", hint="on these texts"), _best_f1),
            (Column("Brier", hint="0 is best"), lambda entry: _interval_cell(entry, "brier")),
            (Column("ECE", hint="calibration error"), lambda entry: tables.number_cell(get_number(entry, "ece"))),
        ],
        "pairs": [(Column("Ties", hint="counted half"), lambda entry: percent(get_number(entry, "tie_rate")))],
        "graded": [(Column("Kendall", hint="tau-b"), lambda entry: tables.number_cell(get_number(entry, "kendall")))],
    }
    extra = more.get(part.kind, [])
    columns = [
        Column("Judge", numeric=False), Column(MEASURES.get(part.measure, part.measure), hint="95 % interval"),
        *(column for column, _ in extra), Column("Scored", hint="pairs" if part.kind == "pairs" else "texts"),
    ]  # fmt: skip
    rows = [
        [
            judge_cell(bench, name),
            tables.number_cell(
                get_number(entry, part.measure, "value"), note=interval(get_list(entry, part.measure, "ci95"))
            ),
            *(cell(entry) for _, cell in extra),
            tables.number_cell(get_number(entry, "scored"), 0),
        ]
        for name, entry in part.judges.items()
    ]
    return Table(part.title("Agreement with people"), columns, rows, sortable=True)


def _interval_cell(entry: Row, key: str) -> Cell:
    return tables.number_cell(get_number(entry, key), note=interval(get_list(entry, "ci95", key)))


def _best_f1(entry: Row) -> Cell:
    threshold = get_number(entry, "best", "threshold")
    return tables.number_cell(
        get_number(entry, "best", "f1"), note="" if threshold is None else f"from {tables.format_number(threshold)} on"
    )


def comparison_tables(bench: BenchFolder) -> dict[str, Table]:
    """Return which judge beats which, and which baselines, where there is something to compare."""
    captions = {"comparisons": "Judges beside each other", "against_baselines": "Judges beside the baselines"}
    found = {}
    for key, caption in captions.items():
        rows = [
            [*([tables.text_cell(part.label)] if len(bench.parts) > 1 else []), *_comparison(one)]
            for part in bench.parts
            for one in get_list(part.table, key)
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


def _comparison(one: Row) -> list[Cell]:
    different = get_value(one, "different")
    return [
        tables.text_cell(get_value(one, "a")),
        tables.text_cell(get_value(one, "b")),
        tables.number_cell(get_number(one, "difference"), note=interval(get_list(one, "ci95"), signed=True)),
        _p_value(get_number(one, "p_value")),
        _p_value(get_number(one, "p_adjusted")),
        tables.text_cell("–" if different is None else "different" if different else "no difference",
                  tone="" if different else "quiet"),
        tables.number_cell(get_number(one, "n"), 0),
    ]  # fmt: skip


def _p_value(p: float | None) -> Cell:
    return Cell("< 0.001", p) if p is not None and p < 0.001 else tables.p_value(p, None)


# --- fit as a reward ----------------------------------------------------------------------------------------------


def fitness_table(bench: BenchFolder) -> Table:
    """Return whether scores differ where training needs them to, and what they follow instead."""
    retested = bool(get_number(bench.told, "retest"))
    columns = [
        Column("Mean score"), Column("Distinct scores"), Column("Near 0", hint="at most 0.01"),
        Column("Near 1", hint="at least 0.99"), Column("Length bias", hint="rank correlation at equal label"),
        Column("Spread", hint="among answers to a prompt"),
    ]  # fmt: skip
    if retested:
        columns += [Column("Retest", hint="deviation"), Column("Flips", hint="of verdicts"), Column("Spread / noise")]

    def cells(entry: Row) -> list[Cell]:
        made = [
            tables.number_cell(get_number(entry, "mean_score")),
            tables.number_cell(get_number(entry, "distinct_scores"), 0),
            percent(get_number(entry, "saturated_low")),
            percent(get_number(entry, "saturated_high")),
            tables.number_cell(get_number(entry, "length_bias"), 2, signed=True),
            tables.number_cell(get_number(entry, "spread_within_prompt")),
        ]
        if retested:
            made += [tables.number_cell(get_number(entry, "retest_sd")), percent(get_number(entry, "flip_rate"))]
            made.append(tables.number_cell(get_number(entry, "signal_to_noise"), 1))
        return made

    return make_judge_table(bench, "What the scores are like", columns, cells)


def probe_tables(bench: BenchFolder) -> list[Table]:
    """Return what planted sentences gain, and what texts without content earn; nothing where it was not asked for."""
    planted, empty = (
        list(dict.fromkeys(name for entry in _entries(bench) for name in get_mapping(entry, key)))
        for key in ("injection", "degenerate")
    )
    found = []
    if planted:

        def gains(entry: Row) -> list[Cell]:
            return [
                percent(get_number(entry, "injection", name, "gained"), 0, note=_mean_gain(entry, name))
                for name in names
            ]

        names = sorted(planted, key=lambda name: (name != "all", name == "control"))
        heads = {"all": "All planted", "control": "Control"}
        hints = {"all": "share that gains 0.05", "control": "a harmless sentence"}
        columns = [Column(heads.get(name, name.capitalize()), hint=hints.get(name, "")) for name in names]
        caption = "Bad texts that gain from a planted sentence, with the mean change of the score"
        found.append(make_judge_table(bench, caption, columns, gains))
    if empty:

        def worth(entry: Row) -> list[Cell]:
            return [_worth(entry, name) for name in empty]

        columns = [Column(name.capitalize()) for name in empty]
        found.append(
            make_judge_table(bench, "What texts without content earn, and how many texts they outscore", columns, worth)
        )
    return found


def _entries(bench: BenchFolder) -> Iterator[Row]:
    for part in bench.parts:
        yield from part.judges.values()


def _mean_gain(entry: Row, name: str) -> str:
    gain = get_number(entry, "injection", name, "mean_gain")
    return "" if gain is None else tables.format_number(gain, 2, signed=True)


def _worth(entry: Row, name: str) -> Cell:
    outscores = get_number(entry, "degenerate", name, "outscores")
    abstained = ", ".join(status for status in get_mapping(entry, "degenerate", name, "statuses") if status != "ok")
    note = abstained if outscores is None else f"above {100 * outscores:.0f} %"
    return tables.number_cell(get_number(entry, "degenerate", name, "mean_score"), 2, note=note)


# --- what it takes, and what it is of -----------------------------------------------------------------------------


def cost_table(bench: BenchFolder) -> Table:
    """Return what each judge took for what it was really asked."""
    columns = [
        Column("Asked", hint="texts"), Column("From the store"), Column("Calls", hint="with retries"),
        Column("Median", hint="ms a text"), Column("95 %", hint="ms a text"), Column("Texts a second"),
        Column("Tokens in", hint="per 1,000 texts"), Column("Tokens out", hint="per 1,000 texts"),
        Column("USD", hint="per 1,000 texts"),
    ]  # fmt: skip

    def cells(entry: Row) -> list[Cell]:
        rate, usd = get_number(entry, "per_second"), get_number(entry, "usd_per_1k")
        return [
            tables.number_cell(get_number(entry, "asked"), 0),
            percent(get_number(entry, "from_store"), 0),
            tables.number_cell(get_number(entry, "calls"), 0),
            *(tables.number_cell(get_number(entry, "latency_ms", key), 1) for key in ("p50", "p95")),
            tables.number_cell(rate, 0 if rate is not None and rate >= 10 else 2),
            *(tables.number_cell(get_number(entry, "tokens_per_1k", key), 0) for key in ("input", "output")),
            tables.number_cell(usd, 4 if usd else 0),
        ]

    return make_judge_table(bench, "What each judge took", columns, cells)


def judge_table(bench: BenchFolder) -> Table:
    """Return what each judge is."""
    rows = [
        [
            judge_cell(bench, name),
            tables.text_cell(get_value(known, "measures") or "–"),
            tables.text_cell("remote" if get_value(known, "remote") else "on this machine"),
        ]
        for name in bench.names
        for known in (get_mapping(bench.told, "judges", name),)
    ]
    columns = [Column("Judge", numeric=False), Column("Measures", numeric=False), Column("Where", numeric=False)]
    return Table("The judges", columns, rows)


def data_table(bench: BenchFolder) -> Table:
    """Return what the files are, and what a draw of the bootstrap takes whole."""
    files = get_mapping(bench.told, "files")
    rows = [
        [
            tables.text_cell(file),
            tables.text_cell(get_value(table, "kind")),
            tables.number_cell(get_number(table, "n"), 0),
            tables.text_cell(get_value(table, "resampled_by")),
            tables.number_cell(get_number(table, "clusters"), 0),
        ]
        for file, table in files.items()
    ]
    columns = [
        Column("File", numeric=False), Column("Kind", numeric=False), Column("Rows"),
        Column("Resampled by", numeric=False), Column("Clusters"),
    ]  # fmt: skip
    return Table("The data", columns, rows)
