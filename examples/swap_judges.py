"""
Read the same texts by several judges: to swap one for another is to name another card.

    python swap_judges.py lexicon toxicity toxicity_claude
    python swap_judges.py lexicon '{adapter: length, midpoint: 5}'

A local classifier, Claude on Bedrock, an OpenAI-compatible server, a panel and a card written in place are all named
alike. So are they in a run file (`judge: toxicity_claude`) and on the command line (`--set judge=toxicity_claude`).
"""

from __future__ import annotations

import argparse

import rlaif

TEXTS = ["You are kind.", "You are a clown and a fool.", "Good morning.", ""]


def main(arguments: list[str] | None = None) -> None:
    """Print a row for each text, with the score of each judge or the reason why it has none."""
    parser = argparse.ArgumentParser(description="Read the same texts by several judges.")
    parser.add_argument("judges", nargs="+", help="names or paths of cards, or cards in braces")
    options = parser.parse_args(arguments)

    judges = [rlaif.load_judge(card) for card in options.judges]
    columns = [rlaif.score(TEXTS, judge) for judge in judges]
    print(f"{'text':30}", *(f"{judge.name:>18}" for judge in judges))
    for text, *row in zip(TEXTS, *columns, strict=True):
        cells = [judgement.status if judgement.score is None else f"{judgement.score:.3f}" for judgement in row]
        print(f"{text!r:30}", *(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
