"""Settings, cost and versions of a run, and the commands that reproduce it."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import yaml

from rlaif.core.config.run import RunConfig
from rlaif.core.errors import InputError
from rlaif.core.records.record import ABSENT
from rlaif.core.schema import check
from rlaif.core.system.terminal import duration
from rlaif.report import tables
from rlaif.report.reading import Row, RunFolder, get_mapping, get_value
from rlaif.report.tables import Cell, Column, Table


def settings_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return the settings that differ from the defaults or, for several runs, from each other."""
    flat = [dict(_flat(run.settings or _comparison_settings(run))) for run in runs]
    defaults = _defaults(runs[0].settings) if runs[0].settings else {}
    keys = dict.fromkeys(key for settings in flat for key in settings)
    rows: list[list[Cell]] = []
    for key in keys:
        values = [settings.get(key) for settings in flat]
        differ = any(value != values[0] for value in values)
        if key != "output" and (differ or values[0] != defaults.get(key)):
            default = (
                [tables.text_cell(_yaml(defaults[key]))] if key in defaults else [tables.text_cell("–", tone="quiet")]
            )
            rows.append([tables.text_cell(key), *(tables.text_cell(_yaml(value)) for value in values), *default])
    columns = [
        Column("Key", numeric=False),
        *(Column(run.name if len(runs) > 1 else "This run", numeric=False) for run in runs),
    ]
    return (
        Table("Settings other than the defaults", [*columns, Column("Default", numeric=False)], rows) if rows else None
    )


def _comparison_settings(run: RunFolder) -> Row:
    """Return the settings of a measurement that does not belong to a run."""
    if run.evaluation is None or run.evaluation.settings is ABSENT:
        return {}
    settings = replace(run.evaluation.settings, command=ABSENT).to_json()
    return {key: value for key, value in settings.items() if value is not None}


def _flat(row: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, dict) and prefix.count(".") < 1 and key != "judge":
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _defaults(settings: Row) -> dict[str, object]:
    needed = {"policy": {"model": "owner/name"}, "data": {"dataset": "-"}, "judge": "-"}
    try:
        found = dict(_flat(asdict(check(RunConfig, needed, "defaults"))))
    except InputError:  # newer required keys are missing
        return {}
    return {key: value for key, value in found.items() if value not in ("-", "owner/name")}


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return text.strip().removesuffix("...").strip()


# --- cost ---------------------------------------------------------------------------------------------------------


def cost_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return the time, calls, tokens and cost of each run, as far as its files have them."""
    rows = [cells for cells in map(_cost, runs) if any(cell.value for cell in cells)]
    columns = [
        Column("Run", numeric=False), Column("Steps"), Column("Completions", hint="to learn from"),
        Column("Training", hint="time of the steps"), Column("Judges’ calls", hint="of remote ones"),
        Column("Cost", hint="USD"), Column("Tokens in, out", hint="of the judges, on test samples"),
    ]  # fmt: skip
    return Table("Cost", columns, rows) if rows else None


def _cost(run: RunFolder) -> list[Cell]:
    seconds = math.fsum(step.seconds for step in run.metrics)
    calls = sum(line.calls for line in run.spending)
    unknown = any(step.usd is None for step in run.metrics)
    usd = None if unknown else math.fsum(line.usd for line in run.spending)
    answers = [answer for row in run.samples for answer in (row.before, row.after) if answer]
    usages = [judgement.usage for answer in answers for judgement in answer.judgements.values()]
    tokens = sum(usage.input_tokens for usage in usages), sum(usage.output_tokens for usage in usages)
    return [
        tables.text_cell(run.name),
        tables.number_cell(run.step, 0),
        tables.number_cell(max((step.samples for step in run.metrics), default=0), 0),
        Cell(duration(seconds) if seconds else "–", seconds),
        tables.number_cell(calls, 0),
        Cell("not known", None, "a judge has no price") if usd is None else tables.number_cell(usd, 4 if usd else 0),
        Cell(f"{tokens[0]:,}, {tokens[1]:,}" if any(tokens) else "–", sum(tokens)),
    ]


# --- how to reproduce it ------------------------------------------------------------------------------------------


def versions_table(runs: Sequence[RunFolder]) -> Table | None:
    """Return the seed, machine and versions of each run; for a resumed run, those of its last start."""
    facts = [dict(_facts(run)) for run in runs]
    keys = dict.fromkeys(key for fact in facts for key in fact)
    if not keys:
        return None
    rows = [[tables.text_cell(key), *(tables.text_cell(fact.get(key, "–")) for fact in facts)] for key in keys]
    columns = [
        Column("What", numeric=False),
        *(Column(run.name if len(runs) > 1 else "This run", numeric=False) for run in runs),
    ]
    return Table("Environment", columns, rows)


def _facts(run: RunFolder) -> Iterator[tuple[str, str]]:
    seed = get_value(run.settings, "seed")
    if seed is not None:
        yield "seed", str(seed)
    if run.starts:
        last = run.starts[-1]
        for key, value in last.items():
            if key != "packages" and isinstance(value, str | int):
                yield key, str(value)
        yield from ((name, str(version)) for name, version in get_mapping(last, "packages").items())
        if len(run.starts) > 1:
            begun = ", ".join(str(start.get("begun", "?")) for start in run.starts)
            yield "started and resumed", begun


def commands_of(run: RunFolder) -> list[str]:
    """Return the commands that repeat a run and write a report of both."""
    folder, again = shlex.quote(str(run.folder)), shlex.quote(f"{run.folder}-again")
    if not run.settings:
        settings = run.evaluation.settings if run.evaluation else ABSENT
        command = ABSENT if settings is ABSENT else settings.command
        return [*([f"{command} --output {again}"] if isinstance(command, str) else []), f"rlaif report {folder}"]
    file = shlex.quote(str(run.folder / "run.yaml"))
    return [f"rlaif train {file} --output {again}", f"rlaif report {folder} {again}"]


def whole(run: RunFolder) -> str:
    """Return the content of evaluation.json."""
    return json.dumps(run.evaluation.to_json(), indent=1, ensure_ascii=False) if run.evaluation else ""
