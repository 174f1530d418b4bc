"""`rlaif.evaluate`: compares two models, or measures a finished run with another judge."""

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
    Compare two models on the same prompts, or measure a finished run with another judge.

    `rlaif.evaluate(before="google/flan-t5-base", after="runs/run/model", data="prompts.jsonl", judges="toxicity")`
    `rlaif.evaluate("runs/run", judges=["toxicity_general"])`

    Args:
        run: folder of a finished run whose samples are measured, instead of `before` and `after`.
        judges: one or several judges: card names, paths, cards as mappings, or judges.
        before: the model before: hub id or folder of a model or a LoRA adapter, `openai:MODEL@URL`, or completions, as
            a `.jsonl` with `prompt` and `completion` or as such rows.
        after: the model after, in the same forms.
        data: the prompts: a file, a hub id, or rows. Not needed for saved completions.
        output: folder for samples.jsonl, samples.csv, evaluation.json and report.html, which are overwritten.
        columns: new names of columns, as in `{"prompt": "question"}`.
        split: split of a hub data set.
        limit: largest number of rows to read.
        template: template of prompts/policy/ for the prompts.
        max_prompt_tokens: longer prompts are truncated on the left.
        completions_per_prompt: number of completions per prompt; by default 1, or as many as were saved. Use 25 for
            the figures of RealToxicityPrompts.
        seed: sampling seed, the same for both sides.
        seeds: number of seeds. Each samples its own completions, and changes are also given as mean and spread.
        batch_size: number of completions generated at once.
        reference: a third model that measures perplexity too, beside the model before.
        api_key_env: name of the environment variable with an endpoint's API key.
        margins: equivalence margins, below which a change counts as none: `score`, `perplexity`, `distinct`, `length`.
        budget_usd: largest cost of remote judges and endpoints, in USD.
        budget_calls: largest number of calls to remote judges and endpoints.
        fresh: do not read the verdict store, only write to it.
        generation: keys of the section `generation` of a run file: max_new_tokens, min_new_tokens, temperature, top_p.

    Returns:
        The content of evaluation.json. `EvaluationRecord.from_json` turns it into an object.

    Raises:
        InputError: a name, the data or a judge is invalid. Raised before any completion is generated.
        RlaifError: a judge stayed down, the budget is spent, or memory or disk ran out.

    """
    session = Session(Budget(budget_usd, budget_calls), fresh)
    loaded = [judge_of(judge, session) for judge in to_list(judges)]
    request = EvaluationRequest(
        run=run, before=before, after=after, data=data, columns=columns or {}, split=split, limit=limit,
        template=template, max_prompt_tokens=max_prompt_tokens, generation=generation, seed=seed, seeds=seeds,
        completions_per_prompt=completions_per_prompt, batch_size=batch_size, reference=reference,
        api_key_env=api_key_env, margins=check_margins(margins or {}), fresh=fresh,
    )  # fmt: skip
    record = run_evaluation(PreparedEvaluation(request, loaded, session), None if output is None else Path(output))
    return record.to_json()


def run_evaluation(prepared: PreparedEvaluation, output: Path | None) -> EvaluationRecord:
    """
    Run a prepared evaluation, and write its results and its report to a folder, if one is given.

    Returns:
        The content of evaluation.json.

    """
    if output is None:
        return prepared.measure()
    make_folder(output, "-o")
    record = prepared.measure()
    write(output, prepared.rows, record, prepared.session.budget)
    report.write([output])
    return record
