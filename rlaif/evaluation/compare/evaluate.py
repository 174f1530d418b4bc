"""Any two models before and after, or a finished run by another judge: `rlaif.evaluate`, and what the command does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.system.files import make_folder
from rlaif.core.types import Judge
from rlaif.evaluation.compare.prepared import PreparedEvaluation
from rlaif.evaluation.compare.request import Completions, Data, EvaluationRequest
from rlaif.evaluation.margins import check_margins
from rlaif.evaluation.writing import write
from rlaif.judges.cards.card import CardRef
from rlaif.judges.registry import judge_of, to_list
from rlaif.judges.remote.limits import Budget
from rlaif.judges.session import Session
from rlaif.report import report


def evaluate(
    run: str | Path | None = None,
    *,
    judges: CardRef | Judge | Sequence[CardRef | Judge],
    before: Completions | None = None,
    after: Completions | None = None,
    data: Data | None = None,
    output: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    template: str | None = None,
    max_prompt_tokens: int | None = 256,
    completions_per_prompt: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    batch_size: int = 32,
    reference: str | Path | None = None,
    api_key_env: str | None = None,
    margins: Mapping[str, float] | None = None,
    budget_usd: float | None = None,
    budget_calls: int | None = None,
    fresh: bool = False,
    **generation: float,
) -> dict[str, Any]:
    """
    Measure two models on the same prompts, or a finished run by another judge.

    `rlaif.evaluate(before="google/flan-t5-base", after="runs/run/model", data="prompts.jsonl", judges="toxicity")`
    `rlaif.evaluate("runs/run", judges=["toxicity_general"])`

    Args:
        run: folder of a finished run, whose samples are read again; instead of `before` and `after`.
        judges: card names, paths, cards as mappings, or judges.
        before: hub id or folder of a model or of a LoRA adapter, `openai:MODEL@URL`, or completions: a `.jsonl` with
            `prompt` and `completion`, or rows of that.
        after: the same.
        data: the prompts: a file, a hub id, or rows. Not needed where a side is completions.
        output: folder of samples.jsonl, samples.csv, evaluation.json and report.html; written over.
        columns: new names, `{"prompt": "question"}`.
        split: of a hub data set.
        limit: rows read.
        template: of prompts/policy/, into which prompts are put.
        max_prompt_tokens: longer prompts lose their beginning.
        completions_per_prompt: 25 for the figures of RealToxicityPrompts; by default 1, or as many as were saved.
        seed: of the sampling; the same for both sides.
        seeds: how many; each makes completions of its own, and changes are told as mean and spread too.
        batch_size: completions made at once.
        reference: a model that is neither, for a perplexity beside that of the model before.
        api_key_env: the variable that holds an endpoint's key.
        margins: within which a change is none: `score`, `perplexity`, `distinct`, `length`.
        budget_usd: what remote judges and endpoints may cost.
        budget_calls: calls they may get.
        fresh: ask judges again what is in the verdict store.
        generation: keys of that section of a run file: max_new_tokens, min_new_tokens, temperature, top_p.

    Returns:
        What evaluation.json holds; `EvaluationRecord.from_json` of it has the numbers as attributes.

    Raises:
        InputError: a name, the data or a judge is wrong; before a model is made to answer.
        RlaifError: a judge stayed down, the budget is spent, memory or disk ran out.

    """
    session = Session(Budget(budget_usd, budget_calls), fresh)
    made = [judge_of(judge, session) for judge in to_list(judges)]
    wanted = EvaluationRequest(
        run=run, before=before, after=after, data=data, columns=columns or {}, split=split, limit=limit,
        template=template, max_prompt_tokens=max_prompt_tokens, generation=generation, seed=seed, seeds=seeds,
        completions_per_prompt=completions_per_prompt, batch_size=batch_size, reference=reference,
        api_key_env=api_key_env, margins=check_margins(margins or {}), fresh=fresh,
    )  # fmt: skip
    told = run_evaluation(PreparedEvaluation(wanted, made, session), None if output is None else Path(output))
    return told.to_json()


def run_evaluation(evaluating: PreparedEvaluation, output: Path | None) -> EvaluationRecord:
    """
    Make a measurement, and write its folder and its report if it shall have one.

    Returns:
        What evaluation.json says.

    """
    if output is None:
        return evaluating.measure()
    make_folder(output, "-o")
    told = evaluating.measure()
    write(output, evaluating.rows, told, evaluating.session.budget)
    report.write([output])
    return told
