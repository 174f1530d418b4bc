"""The command `rlaif`: a table of contents. What a command does stands in `rlaif/commands/`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import rlaif as package

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
    sources = "jsonl, csv, parquet, txt, a hub id, or - for standard input. Columns: completion (or text), prompt."
    for option in (
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read no more than N rows."),
        click.option("--split", metavar="NAME", help="Of a hub data set. Default: train, or the only one."),
        click.option(
            "--column", "columns", multiple=True, metavar="NEW=OLD", help="Rename a column: completion=tweet."
        ),
        click.option("--data", metavar="FILE", help=sources),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package.__version__, prog_name="rlaif", message="%(prog)s %(version)s")
def rlaif() -> None:
    """
    Point AI judges at text, and models at judges.

    A judge is a card: `rlaif judges` lists them. A score is in [0, 1], 1 = best; a judge that cannot tell
    abstains, and an abstention never becomes a number.

    Exit status: 0 done, 1 failed, 2 the input is wrong, 130 interrupted. RLAIF_DEBUG=1 shows tracebacks.
    """


@rlaif.command()
@click.argument("run", metavar="RUN.yaml")
@_set_option("a key of the run file (ppo.steps=20)")
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint of the output folder.")
@click.option("--output", metavar="DIR", help="Folder of the run. Default: runs/NAME of the run file.")
def train(run: str, sets: tuple[str, ...], resume: bool, output: str | None) -> None:
    """
    Fine-tune a causal or seq2seq model by PPO against a judge.

    The folder of the run gets run.yaml, metrics.jsonl, checkpoints/ and model/, and spending.jsonl where the judge is
    remote. Ctrl-C writes a checkpoint, and so does what ends a run: a judge that stays down, a budget that is spent.

    \b
    rlaif train run.yaml
    rlaif train run.yaml --resume
    rlaif train run.yaml --set ppo.steps=20 --output runs/short
    rlaif train run.yaml --set judge=toxicity_claude --set budget.usd=5 --output runs/claude
    torchrun --nproc_per_node 2 -m rlaif train run.yaml             (CPUs)
    accelerate launch --num_processes 2 -m rlaif train run.yaml     (GPUs)
    """
    from rlaif.commands.train import run as run_train

    run_train(run, sets, resume, output)


@rlaif.command()
@_judge_option(required=True)
@click.option("-t", "--text", "texts", multiple=True, metavar="TEXT", help="A text to score. May be repeated.")
@_data_options
@click.option("-o", "--output", metavar="OUT.jsonl", help="Write a line per text and judge; overwrites.")
@_set_option("a key of a card (toxicity.device=cpu)")
@click.option("--budget-usd", type=click.FloatRange(min=0), metavar="USD", help="Spend no more on remote judges.")
@click.option("--budget-calls", type=click.IntRange(min=0), metavar="N", help="Make no more calls to remote judges.")
@click.option("--fresh", is_flag=True, help="Ask again what is in the verdict store; write it all the same.")
@click.option("--dry-run", is_flag=True, help="Check everything, print calls, tokens and USD at most, and stop.")
def score(**options: Any) -> None:
    """
    Score texts by one judge or several.

    Prints a table on a terminal and JSON lines into a pipe; a summary goes to standard error.

    \b
    rlaif score -j toxicity --text "You are kind."
    rlaif score -j toxicity -j ./mine.yaml --data comments.csv --column completion=body -o scores.jsonl
    """
    from rlaif.commands.score import run

    run(**options)


@rlaif.command()
@click.argument("name", required=False)
def judges(name: str | None) -> None:
    """
    List the cards and whether each is ready, or print the card NAME.

    \b
    rlaif judges
    rlaif judges toxicity > judges/mine.yaml
    """
    from rlaif.commands.judges import list_cards, print_card

    print_card(name) if name else list_cards()


@rlaif.command()
@click.argument("run", required=False, type=click.Path(path_type=Path), metavar="[RUN.yaml]")
@_judge_option(required=False)
@_set_option("a key of the run file (ppo.steps=20), or without one of a card (toxicity.device=cpu)")
def check(run: Path | None, **options: Any) -> int:
    """
    Check a run file and judges: every key, then one probe of each judge.

    \b
    rlaif check -j toxicity -j ./mine.yaml
    rlaif check run.yaml
    """
    from rlaif.commands.check import run as run_check

    return run_check(run, **options)


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
    Write a run file for `rlaif train`, with every key, its default and what it means. No recipe is shipped yet.

    \b
    rlaif init
    rlaif init -o detox.yaml
    """
    from rlaif.commands.init import run

    run(recipe, output)
