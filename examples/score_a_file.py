"""
Score the comments of a file, and print the worst of them and what the judge could not judge.

    python score_a_file.py comments.jsonl --judge toxicity --worst 3
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import rlaif


def main(arguments: list[str] | None = None) -> None:
    """Read the file, judge it in one batch, and print."""
    parser = argparse.ArgumentParser(description="Score the comments of a file.")
    parser.add_argument("file", type=Path, help="JSON lines with a key `completion`")
    parser.add_argument("--judge", default="lexicon", help="a card's name, or its path")
    parser.add_argument("--worst", type=int, default=3, help="comments to print")
    options = parser.parse_args(arguments)

    rows = [json.loads(line) for line in options.file.read_text().splitlines()]
    judgements = rlaif.score(rows, judge=options.judge)

    # An abstention has a status and no score: count it, and never put a number in its place.
    print("statuses:", dict(Counter(judgement.status for judgement in judgements)))
    scored = [
        (judgement.score, row) for row, judgement in zip(rows, judgements, strict=True) if judgement.score is not None
    ]
    for score, row in sorted(scored, key=lambda pair: pair[0])[: options.worst]:
        print(f"{score:.3f}  {row['completion']}")


if __name__ == "__main__":
    main()
