"""
A remote judge of 1 s latency beside the generation: an evaluation against the longer of generating and judging.

A loopback server in a process of its own answers after 1 s; the judge asks 16 at once. Two Llamas of
performance/shapes.py answer the same prompts with 64 tokens. Generating is timed with a judge that takes no time,
judging on the completions as they were saved, changed by a word so that none is in the verdict store.

    python -m performance.evaluate [--prompts 128] [--delay 1]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from performance import shapes
from performance.remote import serving

CONCURRENCY = 16


def main() -> None:
    """Time the three, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--delay", type=float, default=1.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(given.delay) as url:
        os.environ.update(RLAIF_HOME=f"{name}/home", OPENAI_API_KEY="nobody's", HF_HUB_OFFLINE="1")
        folder = Path(name)
        made(folder)
        far = {
            "adapter": "openai", "name": "slow", "model": "tiny-judge", "base_url": f"{url}/v1",
            "prompt": "judge/toxicity", "price": {"input": 0, "output": 0}, "concurrency": CONCURRENCY,
        }  # fmt: skip
        models = {
            "before": folder / "before", "after": folder / "after",
            "data": [{"prompt": shapes.text_of(ids)} for ids in shapes.prompts(given.prompts)],
        }  # fmt: skip
        timed(models, {"adapter": "length"})  # what loads once: libraries, and the pages of the models
        generating, rows = timed(models, {"adapter": "length"})
        saved = {
            side: [{"prompt": row["prompt"], "completion": f"{row[side]['completion']} again"} for row in rows]
            for side in ("before", "after")
        }
        judging, _ = timed(saved, far)
        both, rows = timed(models, far)
    assert all(row[side]["judgements"]["slow"]["status"] == "ok" for row in rows for side in ("before", "after"))
    assert not any(row["after"]["judgements"]["slow"]["usage"]["from_store"] for row in rows)
    print(
        f"{2 * given.prompts} completions: generating {generating:.2f} s, judging {judging:.2f} s, "
        f"both {both:.2f} s = {both / max(generating, judging):.3f} x max(generating, judging)"
    )


def made(folder: Path) -> None:
    """Write two models that differ a little."""
    import torch

    model = shapes.make_model("llama")
    for name in ("before", "after"):
        model.save_pretrained(folder / name)
        shapes.make_tokenizer().save_pretrained(folder / name)
        with torch.no_grad():
            model.model.embed_tokens.weight.mul_(1.05)


def timed(sides: Mapping[str, Any], card: Mapping[str, Any]) -> tuple[float, Sequence[Mapping[str, Any]]]:
    """Return the seconds of answering and judging, and the rows; what is computed from them is not counted."""
    from rlaif import load_judge
    from rlaif.evaluation.compare.prepared_comparison import PreparedComparison
    from rlaif.evaluation.compare.request import EvaluationRequest
    from rlaif.evaluation.compare.run import run_comparison
    from rlaif.judges.session import Session

    session = Session()
    judge = load_judge(dict(card), session=session)
    generation = {"max_new_tokens": shapes.NEW_TOKENS, "min_new_tokens": shapes.NEW_TOKENS}
    prepared = PreparedComparison(EvaluationRequest(**sides, generation=generation), [judge], session)
    start = time.perf_counter()
    rows = run_comparison(prepared.comparison, [judge], prepared.how, {})
    return time.perf_counter() - start, [row.to_json() for row in rows]


if __name__ == "__main__":
    main()
