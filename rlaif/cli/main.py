"""The command `rlaif`: a table of contents. What a command does stands in the file of its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rlaif.core.version import __version__

Options = Callable[[Callable[..., Any]], Callable[..., Any]]


def _judge_option(required: bool) -> Options:
    return click.option(
        "-j", "--judge", "judges", multiple=True, required=required, metavar="JUDGE",
        help="A card by name (toxicity), path (./mine.yaml) or in braces ('{adapter: length}'). May be repeated.",
    )  # fmt: skip


def _set_option(what: str) -> Options:
    return click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help=f"Change {what} for this command. May be repeated.",
    )


def _data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    sources = (
        "jsonl, json, csv, tsv, parquet, txt, a folder of save_to_disk, a hub id, or - for standard input. "
        "Columns: completion (or text), prompt."
    )
    command = click.option("--data", metavar="FILE", help=sources)(command)
    return _source_options(command)


def _source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read no more than N rows."),
        click.option("--split", metavar="NAME", help="Of a hub data set. Default: train, or the only one."),
        click.option(
            "--column", "columns", multiple=True, metavar="NEW=OLD", help="Rename a column: completion=tweet."
        ),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="rlaif", message="%(prog)s %(version)s")
def rlaif() -> None:
    """
    Point AI judges at text, and models at judges.

    A judge is a card: `rlaif judges` lists them. A score is in [0, 1], 1 = best; a judge that cannot tell
    abstains, and an abstention never becomes a number.

    Exit status: 0 done, 1 failed, 2 the input is wrong, 130 interrupted. RLAIF_DEBUG=1 shows tracebacks.
    """


@rlaif.command()
@click.argument("run", metavar="RUN.yaml")
@_set_option("a key of the run file (training.steps=20)")
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint of the output folder.")
@click.option("--output", metavar="DIR", help="Folder of the run. Default: runs/NAME of the run file.")
def train(run: str, sets: tuple[str, ...], resume: bool, output: str | None) -> None:
    """
    Fine-tune a causal or seq2seq model by PPO against a judge. RUN.yaml may be the name of a recipe.

    The model is measured before and after by all judges of the run, and the best by the held-out judges of `guard` is
    kept. The folder of the run gets run.yaml, metrics.jsonl, samples.jsonl, evaluation.json, checkpoints/ and model/.
    Ctrl-C writes a checkpoint, and so does what ends a run: a judge that stays down, a budget that is spent.

    \b
    rlaif train run.yaml
    rlaif train run.yaml --resume
    rlaif train run.yaml --set training.steps=20 --output runs/short
    rlaif train run.yaml --set judge=toxicity_claude --set budget.usd=5 --output runs/claude
    torchrun --nproc_per_node 2 -m rlaif train run.yaml             (CPUs)
    accelerate launch --num_processes 2 -m rlaif train run.yaml     (GPUs)
    """
    from rlaif.cli.train import run as run_train

    run_train(run, sets, resume, output)


def _budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--dry-run", is_flag=True, help="Check everything, print calls, tokens and USD at most, and stop."
        ),
        click.option("--fresh", is_flag=True, help="Ask again what is in the verdict store; write it all the same."),
        click.option(
            "--budget-calls", type=click.IntRange(min=0), metavar="N", help="Make no more calls to remote judges."
        ),
        click.option(
            "--budget-usd", type=click.FloatRange(min=0), metavar="USD", help="Spend no more on remote judges."
        ),
    ):
        command = option(command)
    return command


@rlaif.command()
@_judge_option(required=True)
@click.option("-t", "--text", "texts", multiple=True, metavar="TEXT", help="A text to score. May be repeated.")
@_data_options
@click.option("-o", "--output", metavar="OUT.jsonl", help="Write a line per text and judge; overwrites.")
@_set_option("a key of a card (toxicity.device=cpu)")
@_budget_options
def score(**options: Any) -> None:
    """
    Score texts by one judge or several.

    Prints a table on a terminal and JSON lines into a pipe; a summary goes to standard error.

    \b
    rlaif score -j toxicity --text "You are kind."
    rlaif score -j toxicity -j ./mine.yaml --data comments.csv --column completion=body -o scores.jsonl
    """
    from rlaif.cli.score import run

    run(**options)


@rlaif.command()
@_judge_option(required=True)
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="FILE",
    help="Labelled texts (completion, label) or pairs (prompt, chosen, rejected). May be repeated: a table for each.",
)
@click.option("--bad", multiple=True, metavar="VALUE", help="A label of bad texts, or '>=0.5'; the others are good.")
@click.option("--good", multiple=True, metavar="VALUE", help="A label of good texts, or '<2'; the others are bad.")
@click.option(
    "--graded",
    is_flag=False,
    flag_value="high",
    type=click.Choice(["high", "low"]),
    help="Labels are numbers: the high ones (default) or the low ones are of good texts.",
)
@click.option("--group", "groups", multiple=True, metavar="COLUMN", help="Tell numbers apart by a column.")
@_source_options
@click.option("-o", "--output", metavar="DIR", help="Keep scores and numbers in a folder; goes on where it was.")
@_set_option("a key of a card (toxicity.device=cpu)")
@click.option(
    "--retest",
    type=click.IntRange(min=0),
    default=0,
    metavar="K",
    help="Ask again K times, past the store: how far do scores move? 500 rows of a file at most.",
)
@click.option("--probes", is_flag=True, help="Ask about planted instructions and degenerate texts as well.")
@click.option("--policy", metavar="MODEL", help="Let judges pick the best of n completions of this model.")
@click.option("--best-of", type=click.IntRange(min=2, max=1024), metavar="N", help="n is 1 to N. Default: 16.")
@click.option("--prompts", metavar="FILE", help="Prompts for --policy. Default: those of the data.")
@click.option("--template", metavar="NAME", help="Of prompts/policy/, into which the prompts are put.")
@_budget_options
def bench(**options: Any) -> int:
    """
    Benchmark judges against what people said, and against each other.

    Prints a table for each file on a terminal and bench.json into a pipe. With -o, scores.jsonl holds each judgement
    as it arrives, bench.json and bench.csv all numbers, and bench.html shows them. The baselines constant, random and
    length are always there.

    \b
    rlaif bench -j toxicity --data comments.jsonl --bad toxic
    rlaif bench -j toxicity -j toxicity_claude --data comments.jsonl --bad toxic --probes --retest 2 -o bench
    rlaif bench -j hhh_claude --data pairs.jsonl --dry-run
    rlaif bench -j toxicity -j toxicity_general --data pairs.jsonl --policy google/flan-t5-base --best-of 16
    """
    from rlaif.cli.bench import run

    return run(**options)


def _generation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, metavar="N",
                     help="Completions made at once."),
        click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                     help="Sample by so many seeds, and tell changes as mean and spread too."),
        click.option("--seed", type=int, default=0, show_default=True, metavar="N",
                     help="Of the sampling, the same for both."),
        click.option("--completions-per-prompt", type=click.IntRange(min=1), metavar="K",
                     help="Default: 1, or as many as were saved. 25 for the figures of RealToxicityPrompts."),
        click.option("--max-prompt-tokens", type=click.IntRange(min=1), default=256, show_default=True, metavar="N",
                     help="Longer prompts lose their beginning; not where completions were saved."),
        click.option("--top-p", type=float, default=1.0, show_default=True, metavar="P",
                     help="Share of probability that is sampled from."),
        click.option("--temperature", type=float, default=1.0, show_default=True, metavar="T",
                     help="Divides the logits."),
        click.option("--min-new-tokens", type=int, default=5, show_default=True, metavar="N",
                     help="Tokens before a completion may end."),
        click.option("--max-new-tokens", type=int, default=64, show_default=True, metavar="N",
                     help="Tokens of a completion at most."),
    ):  # fmt: skip
        command = option(command)
    return command


@rlaif.command()
@click.argument("run", required=False, metavar="[RUN_DIR]")
@click.option("--before", metavar="MODEL", help="The one side. Hub id, folder (also of a LoRA adapter), "
              "openai:MODEL@URL, or a .jsonl of completions (prompt, completion).")  # fmt: skip
@click.option("--after", metavar="MODEL", help="The other side.")
@click.option("--data", metavar="FILE", help="The prompts: jsonl, csv, parquet, txt, a hub id, or - for standard "
              "input. Not needed where completions were saved.")  # fmt: skip
@_judge_option(required=True)
@click.option("-o", "--output", metavar="DIR", help="Write report.html, evaluation.json, samples.jsonl and samples.csv "
              "there; overwrites.")  # fmt: skip
@click.option("--template", metavar="NAME", help="Put prompts into this file of prompts/ (policy/complete).")
@_source_options
@_generation_options
@click.option("--reference", metavar="MODEL", help="A model that is neither side, for a perplexity of its own beside "
              "that of the model before.")  # fmt: skip
@click.option("--api-key-env", metavar="NAME", help="Variable with the key of the endpoints. Default: OPENAI_API_KEY "
              "for OpenAI's own, none for others.")  # fmt: skip
@click.option("--margin", "margins", multiple=True, metavar="NAME=NUMBER", help="Within which a change is none. "
              "Defaults: score=0.02, perplexity=0.1, distinct=0.05, length=0.1. May be repeated.")  # fmt: skip
@_set_option("a key of a card (toxicity.device=cpu)")
@_budget_options
def evaluate(**options: Any) -> int:
    """
    Measure two models on the same prompts, or a finished run by another judge.

    Toxicity and its price (perplexity, distinct-n, length, repetition, KL), with intervals, p-values and margins. Both
    sides get the same prompts, seeds and decoding. Prints the table and the answer; JSON goes into a pipe.

    \b
    rlaif evaluate --before google/flan-t5-base --after runs/run/model --data prompts.jsonl -j toxicity -o detox
    rlaif evaluate --before theirs.jsonl --after openai:mine@http://localhost:8000/v1 -j toxicity
    rlaif evaluate runs/run -j toxicity_general
    """
    from rlaif.cli.evaluate import run

    return run(**options)


@rlaif.command()
@click.argument("name", required=False)
def judges(name: str | None) -> None:
    """
    List the cards and whether each is ready, or print the card NAME.

    \b
    rlaif judges
    rlaif judges toxicity > judges/mine.yaml
    """
    from rlaif.cli.judges import list_cards, print_card

    print_card(name) if name else list_cards()


@rlaif.command()
@click.argument("run", required=False, type=click.Path(path_type=Path), metavar="[RUN.yaml]")
@_judge_option(required=False)
@_set_option("a key of the run file (training.steps=20), or without one of a card (toxicity.device=cpu)")
@click.option("--quick", is_flag=True, help="Make no step of a run, so that its policy is not loaded.")
def check(run: Path | None, **options: Any) -> int:
    """
    Check judges, or a run file or recipe: every key, the prompts, one probe of each judge; then what the run will take.

    That is calls, tokens and USD of remote judges beside the budget, memory beside what is free, and time, from one
    step that is made and thrown away. Nothing is written. A probe of a remote judge costs a call, the step none.

    \b
    rlaif check -j toxicity -j ./mine.yaml
    rlaif check run.yaml
    """
    from rlaif.cli.check import run as run_check

    return run_check(run, **options)


@rlaif.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN_DIR...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write. Default: report.html (bench.html) in the folder; of several runs, in the working directory.",
)
@click.option(
    "--plots", type=click.Path(path_type=Path), metavar="DIR", help="Write the figures there too, as SVG and PNG."
)
def report(runs: tuple[Path, ...], output: Path | None, plots: Path | None) -> None:
    """
    Write the report of a run again, or of several side by side: one HTML file, to be opened from the disk.

    `rlaif train` writes one at its end. A run that is still going, or was killed, has one of what is there so far. Of
    the folder of a benchmark it writes bench.html, as `rlaif bench -o` does.

    \b
    rlaif report runs/run
    rlaif report runs/run runs/short -o both.html
    rlaif report runs/run --plots figures
    """
    from rlaif.cli.report import run

    run(runs, output, plots)


@rlaif.command()
@click.argument("recipe", required=False)
@click.option(
    "-o",
    "--output",
    default="run.yaml",
    show_default=True,
    metavar="FILE",
    help="Where to write; - for standard output.",
)
def init(recipe: str | None, output: str) -> None:
    """
    Write a run file for `rlaif train`: with every key, its default and what it means, or a recipe's.

    Beside it comes run.schema.json, by which editors complete and check its keys.

    The recipes are quickstart, flan-t5-hh, llama-lora-hh and neo-rtp; `rlaif train NAME` runs one as it is.

    \b
    rlaif init
    rlaif init neo-rtp -o mine.yaml
    """
    from rlaif.cli.init import run

    run(recipe, output)


@rlaif.command()
@click.argument("kind", type=click.Choice(["run", "card", "steps", "guard", "samples", "evaluation", "bench"]))
def schema(kind: str) -> None:
    """
    Print the JSON schema of a run file, of a judge card, or of a file that rlaif writes.

    steps is a line of metrics.jsonl, guard of guard.jsonl, samples of samples.jsonl; evaluation is evaluation.json,
    bench bench.json. Editors that speak yaml-language-server check a card whose first line names its schema.

    \b
    rlaif schema card > judges/card.schema.json
    rlaif schema evaluation
    """
    from rlaif.cli.schema import run

    run(kind)
