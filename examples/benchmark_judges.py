"""
Rank judges by how well they agree with people's labels, before one of them trains a model.

    python benchmark_judges.py comments.jsonl lexicon toxicity toxicity_general --bad toxic

The baselines `constant`, `random` and `length` are always ranked too: a judge should beat them.
"""

from __future__ import annotations

import argparse

import rlaif


def main(arguments: list[str] | None = None) -> None:
    """Print the ranking with 95 % intervals, and how sure it is that the best is better."""
    parser = argparse.ArgumentParser(description="Rank judges by how well they agree with people's labels.")
    parser.add_argument("data", help="a file or hub id with the columns `completion` and `label`")
    parser.add_argument("judges", nargs="+", help="names or paths of cards")
    parser.add_argument("--bad", default="toxic", help="the label of bad texts")
    parser.add_argument("--output", help="a folder for all numbers; `rlaif report FOLDER` writes its page")
    options = parser.parse_args(arguments)

    measured = rlaif.bench(options.judges, options.data, bad=options.bad, output=options.output)
    table = measured["pooled"]
    for name in table["ranking"]:
        auroc = table["judges"][name]["auroc"]
        interval = "" if auroc["ci95"] is None else "({:.3f} to {:.3f})".format(*auroc["ci95"])
        print(f"{name:20} AUROC {auroc['value']:.3f} {interval}")
    print(*table["answer"], sep="\n")


if __name__ == "__main__":
    main()
