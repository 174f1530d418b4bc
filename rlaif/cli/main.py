"""The command `rlaif`: options and help texts. Each command is implemented in the file of its name."""

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
        help="Judge card: a name (toxicity), a path (./mine.yaml) or inline ('{adapter: length}'). May be repeated.",
    )  # fmt: skip


def _set_option(target: str) -> Options:
    return click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help=f"Override {target} for this command. May be repeated.",
    )


def _data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    sources = (
        "jsonl, json, csv, tsv, parquet or txt file, save_to_disk folder, hub id, or - for standard input. "
        "Columns: completion (or text), prompt."
    )
    command = click.option("--data", metavar="FILE", help=sources)(command)
    return _source_options(command)


def _source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read at most N rows."),
        click.option("--split", metavar="NAME", help="Split of a hub data set. Default: train, or the only one."),
        click.option(
            "--column",
            "columns",
            multiple=True,
            metavar="NEW=OLD",
            help="Rename a column, as in completion=tweet. May be repeated.",
        ),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="rlaif", message="%(prog)s %(version)s")
def rlaif() -> None:
    """
    Score text with AI judges, and fine-tune language models against them.

    A judge is described by a card; `rlaif judges` lists the cards. A score is in [0, 1], and 1 is best. A judge that
    cannot decide abstains, and an abstention is never counted as a number.

    Exit status: 0 success, 1 failure, 2 invalid input, 130 interrupted. RLAIF_DEBUG=1 shows tracebacks.
    """


@rlaif.command()
@click.argument("run", metavar="RUN.yaml")
@_set_option("a key of the run file (training.steps=20)")
@click.option("--resume", is_flag=True, help="Resume from the newest complete checkpoint in the output folder.")
@click.option("--output", metavar="DIR", help="Output folder of the run. Default: runs/NAME of the run file.")
def train(run: str, sets: tuple[str, ...], resume: bool, output: str | None) -> None:
    """
    Fine-tune a causal or seq2seq model with PPO against a judge. RUN.yaml may be the name of a recipe.

    All judges of the run score the model before and after training. The model that the held-out judges of `guard`
    rate best is kept. The output folder gets run.yaml, metrics.jsonl, samples.jsonl, evaluation.json, checkpoints/ and
    model/. Ctrl-C writes a checkpoint, and so does a run that ends early: a judge stays down, or the budget is spent.

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
            "--dry-run", is_flag=True, help="Check the input, print an upper bound of calls, tokens and USD, and stop."
        ),
        click.option("--fresh", is_flag=True, help="Do not read the verdict store, only write to it."),
        click.option(
            "--budget-calls", type=click.IntRange(min=0), metavar="N", help="Make at most N calls to remote judges."
        ),
        click.option(
            "--budget-usd", type=click.FloatRange(min=0), metavar="USD", help="Spend at most USD on remote judges."
        ),
    ):
        command = option(command)
    return command


@rlaif.command()
@_judge_option(required=True)
@click.option("-t", "--text", "texts", multiple=True, metavar="TEXT", help="A text to score. May be repeated.")
@_data_options
@click.option(
    "-o", "--output", metavar="OUT.jsonl", help="Write one line per text and judge to this file; overwrites it."
)
@_set_option("a key of a card (toxicity.device=cpu)")
@_budget_options
def score(**options: Any) -> None:
    """
    Score texts with one or more judges.

    Prints a table on a terminal and JSON lines into a pipe. A summary goes to standard error.

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
    help="Labelled texts (completion, label) or pairs (prompt, chosen, rejected). May be repeated: one table per file.",
)
@click.option("--bad", multiple=True, metavar="VALUE", help="Label of bad texts, or '>=0.5'; all others are good.")
@click.option("--good", multiple=True, metavar="VALUE", help="Label of good texts, or '<2'; all others are bad.")
@click.option(
    "--graded",
    is_flag=False,
    flag_value="high",
    type=click.Choice(["high", "low"]),
    help="Labels are grades. Say whether good texts have high ones (default) or low ones.",
)
@click.option("--group", "groups", multiple=True, metavar="COLUMN", help="Also report numbers per value of a column.")
@_source_options
@click.option("-o", "--output", metavar="DIR", help="Save scores and numbers in this folder, and resume from it.")
@_set_option("a key of a card (toxicity.device=cpu)")
@click.option(
    "--retest",
    type=click.IntRange(min=0),
    default=0,
    metavar="K",
    help="Ask K more times without the store, to measure how far scores move. At most 500 rows of a file.",
)
@click.option("--probes", is_flag=True, help="Also score texts with planted instructions, and degenerate texts.")
@click.option("--policy", metavar="MODEL", help="Let the judges pick the best of n completions of this model.")
@click.option("--best-of", type=click.IntRange(min=2, max=1024), metavar="N", help="Largest n. Default: 16.")
@click.option("--prompts", metavar="FILE", help="Prompts for --policy. Default: the prompts of the data.")
@click.option("--template", metavar="NAME", help="Template of prompts/policy/ for the prompts.")
@_budget_options
def bench(**options: Any) -> int:
    """
    Benchmark judges against human labels, and against each other.

    Prints one table per file on a terminal, and bench.json into a pipe. With -o, each judgement is saved to
    scores.jsonl as it arrives; bench.json and bench.csv hold all numbers, and bench.html shows them. The baselines
    constant, random and length are always included.

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
                     help="Completions generated at once."),
        click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                     help="Sample with N seeds, and also report the mean and spread of changes over seeds."),
        click.option("--seed", type=int, default=0, show_default=True, metavar="N",
                     help="First sampling seed, the same for both sides."),
        click.option("--completions-per-prompt", type=click.IntRange(min=1), metavar="K",
                     help="Default: 1, or as many as were saved. 25 for the figures of RealToxicityPrompts."),
        click.option("--max-prompt-tokens", type=click.IntRange(min=1), default=256, show_default=True, metavar="N",
                     help="Cut longer prompts at their start. Not used for saved completions."),
        click.option("--top-p", type=float, default=1.0, show_default=True, metavar="P",
                     help="Nucleus sampling: probability mass to sample from."),
        click.option("--temperature", type=float, default=1.0, show_default=True, metavar="T",
                     help="Sampling temperature."),
        click.option("--min-new-tokens", type=int, default=5, show_default=True, metavar="N",
                     help="Minimum length of a completion, in tokens."),
        click.option("--max-new-tokens", type=int, default=64, show_default=True, metavar="N",
                     help="Maximum length of a completion, in tokens."),
    ):  # fmt: skip
        command = option(command)
    return command


@rlaif.command()
@click.argument("run", required=False, metavar="[RUN_DIR]")
@click.option("--before", metavar="MODEL", help="Model before: a hub id, a folder (also of a LoRA adapter), "
              "openai:MODEL@URL, or a .jsonl file of completions (prompt, completion).")  # fmt: skip
@click.option("--after", metavar="MODEL", help="Model after, in the same forms.")
@click.option("--data", metavar="FILE", help="Prompts: a jsonl, csv, parquet or txt file, a hub id, or - for standard "
              "input. Not needed for saved completions.")  # fmt: skip
@_judge_option(required=True)
@click.option("-o", "--output", metavar="DIR", help="Write report.html, evaluation.json, samples.jsonl and samples.csv "
              "to this folder; overwrites them.")  # fmt: skip
@click.option("--template", metavar="NAME", help="Template of prompts/ for the prompts, as in policy/complete.")
@_source_options
@_generation_options
@click.option("--reference", metavar="MODEL", help="A third model that measures perplexity too, beside the model "
              "before.")  # fmt: skip
@click.option("--api-key-env", metavar="NAME", help="Environment variable with the API key of the endpoints. Default: "
              "OPENAI_API_KEY for OpenAI, none for others.")  # fmt: skip
@click.option("--margin", "margins", multiple=True, metavar="NAME=NUMBER", help="A smaller change counts as none. "
              "Defaults: score=0.02, perplexity=0.1, distinct=0.05, length=0.1. May be repeated.")  # fmt: skip
@_set_option("a key of a card (toxicity.device=cpu)")
@_budget_options
def evaluate(**options: Any) -> int:
    """
    Compare two models on the same prompts, or measure a finished run with another judge.

    Reports the judges' scores and the side effects (perplexity, distinct-n, length, repetition, KL), with intervals,
    p-values and margins. Both sides get the same prompts, seeds and decoding. Prints a table and a conclusion on a
    terminal, and JSON into a pipe.

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
    List the judge cards and whether each is ready to use, or print the card NAME.

    \b
    rlaif judges
    rlaif judges toxicity > judges/mine.yaml
    """
    from rlaif.cli.judges import list_cards, print_card

    print_card(name) if name else list_cards()


@rlaif.command()
@click.argument("run", required=False, type=click.Path(path_type=Path), metavar="[RUN.yaml]")
@_judge_option(required=False)
@_set_option("a key of the run file (training.steps=20), or of a card if there is none (toxicity.device=cpu)")
@click.option("--quick", is_flag=True, help="Do not time a training step, so that the policy is not loaded.")
def check(run: Path | None, **options: Any) -> int:
    """
    Check judges, or a run file or recipe, and forecast what the run will take.

    Checks every key and the prompts, and asks each judge about one text. Then prints the calls, tokens and USD of
    remote judges against the budget, the memory against what is free, and the time, measured on one step that is
    thrown away. Nothing is written. Probing a remote judge costs one call; the step costs none.

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
    help="Output file. Default: report.html (bench.html) in the folder; in the working directory for several runs.",
)
@click.option(
    "--plots",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write the figures to this folder, SVG and PNG.",
)
def report(runs: tuple[Path, ...], output: Path | None, plots: Path | None) -> None:
    """
    Write the report of a run, or of several runs side by side, as one HTML file that needs no server.

    `rlaif train` writes one at its end. For a run that is still going or was killed, the report shows what there is so
    far. For the folder of a benchmark this writes bench.html, as `rlaif bench -o` does.

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
    help="Output file; - for standard output.",
)
def init(recipe: str | None, output: str) -> None:
    """
    Write a run file for `rlaif train`: every key with its default and meaning, or a copy of a recipe.

    Also writes run.schema.json beside it, which editors use to complete and check keys.

    The recipes are quickstart, flan-t5-hh, llama-lora-hh and neo-rtp. `rlaif train NAME` runs one as it is.

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

    steps describes a line of metrics.jsonl, guard of guard.jsonl, samples of samples.jsonl; evaluation describes
    evaluation.json, bench describes bench.json. Editors with yaml-language-server check a card whose first line names
    its schema.

    \b
    rlaif schema card > judges/card.schema.json
    rlaif schema evaluation
    """
    from rlaif.cli.schema import run

    run(kind)
