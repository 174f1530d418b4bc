"""
What `rlaif bench` takes: over the classifier alone, of two remote judges at once, and for statistics alone.

- classifier: scoring and statistics of `--texts` labelled texts by one classifier and the three baselines, against the
  same judge called on the same texts; loading is in neither.
- remote: two judges of a loopback server that answers in 200 ms, 32 calls at once each; calls a second of both, of the
  2 x 32 / 0.2 s that are possible.
- statistics: tables of 20,000 texts and 6 judges, 2,000 draws.
- memory: peak of a whole benchmark of `--rows` texts by a classifier (0: leave out).

    python performance/bench.py [--texts 20000] [--calls 1600] [--rows 0] [--only PART]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
MODEL = SHARED / "models/toxicity-roberta"
CARD = {"adapter": "classifier", "model": str(MODEL), "bad": "hate", "name": "roberta", "device": "cpu"}
DELAY, AT_ONCE = 0.2, 32


def labelled(count: int) -> list[dict[str, str]]:
    """Real sentences with their labels, each made different by a number."""
    rows = [json.loads(line) for line in (SHARED / "data/paradetox_labels.jsonl").open()]
    return [
        {"completion": f"{rows[i % len(rows)]['completion']} {i // len(rows)}", "label": rows[i % len(rows)]["label"]}
        for i in range(count)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--calls", type=int, default=1_600, help="of each remote judge")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["classifier", "remote", "statistics", "memory"])
    options = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "classifier": lambda: over_the_classifier(options.texts, options.rounds),
        "remote": lambda: two_remote_judges(options.calls),
        "statistics": lambda: statistics(options.texts),
        "memory": lambda: memory(options.rows),
    }
    for name, part in parts.items():
        if options.only in (None, name) and (name != "memory" or options.rows):
            part()


def over_the_classifier(count: int, rounds: int) -> None:
    """Compare a benchmark with its judge alone; they take turns, and the fastest of each counts."""
    from rlaif import Sample, load_judge
    from rlaif.benchmark.bench import Options, sources_of
    from rlaif.benchmark.benchmark import Benchmark
    from rlaif.data.labelled import examine
    from rlaif.data.meaning import Meaning

    rows = labelled(count)
    judge = load_judge(CARD)
    samples = [Sample(row["completion"]) for row in rows]
    tables = examine(sources_of(rows, {}, None, None, frozenset()), Meaning(bad=frozenset({"toxic"})))
    judge(samples[:500])
    alone, whole = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        judge(samples)
        alone.append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder:
            benchmark = Benchmark([judge], tables, None, Options())
            start = time.perf_counter()
            benchmark.ask(Path(folder) / "bench")
            asked = time.perf_counter() - start
            benchmark.write_numbers(Path(folder) / "bench")
            whole.append((time.perf_counter() - start, asked))
    total, asked = min(whole)
    print(
        f"{count} texts: classifier alone {min(alone):.1f} s, benchmark {total:.1f} s (asked {asked:.1f} s, told "
        f"{total - asked:.1f} s): {total / min(alone):.2f} x"
    )


def two_remote_judges(calls: int) -> None:
    """Ask two judges of one slow server, each at its own bound."""
    home = Path(tempfile.mkdtemp())
    os.environ |= {"RLAIF_HOME": str(home), "OPENAI_API_KEY": "nobody"}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.server", "0", "--delay", str(DELAY)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        url = f"{server.stdout.readline().strip()}/v1"
        cards = [
            {"adapter": "openai", "base_url": url, "model": name, "name": name, "prompt": "judge/toxicity",
             "concurrency": AT_ONCE}
            for name in ("first", "second")
        ]  # fmt: skip
        from rlaif import bench

        rows = labelled(calls)
        bench(cards, rows[:64], bad="toxic", draws=10)  # what an endpoint understands is negotiated once
        start = time.perf_counter()
        made = bench(cards, labelled(calls + 64)[64:], bad="toxic", draws=10)
        seconds = time.perf_counter() - start
    finally:
        server.terminate()
        server.wait()
    entries = made["files"]["the data"]["judges"]
    possible = AT_ONCE / DELAY
    for name in ("first", "second"):
        rate = entries[name]["per_second"]
        print(f"remote {name}: {rate:.0f} calls a second while asked, {100 * rate / possible:.0f} % of {possible:.0f}")
    both = 2 * calls / seconds
    print(f"both together, from start to end: {both:.0f} a second, {100 * both / (2 * possible):.0f} % of the bound")


def statistics(count: int) -> None:
    """Compute the table of six judges whose scores are all different, and of one with five values."""
    import numpy as np

    from rlaif.benchmark.disagreement import agreement
    from rlaif.benchmark.tables import table
    from tests.benching import texts_of

    rng = np.random.default_rng(0)
    good = rng.random(count) < 0.5
    scores = {f"judge {i}": np.clip(rng.normal(0.4 + 0.05 * i * good, 0.2), 0, 1) for i in range(6)}
    scores["judge 5"] = np.round(scores["judge 5"] * 4) / 4
    texts = texts_of("labels", good.astype(float).tolist(), {name: s.tolist() for name, s in scores.items()})
    start, busy = time.perf_counter(), time.process_time()
    table(texts, list(scores), [], times=2000, seed=0)
    agreement(texts, list(scores))
    print(
        f"statistics of {count} texts and 6 judges, 2,000 draws: {time.perf_counter() - start:.1f} s "
        f"({time.process_time() - busy:.1f} s of CPU)"
    )


def memory(rows: int) -> None:
    """Run the command on that many texts in a process of its own, and print its peak memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "data.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in labelled(rows))
        command = [sys.executable, "-m", "rlaif", "bench", "-j", json.dumps(CARD), "--data", "data.jsonl"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--bad", "toxic", "-o", "out"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"rlaif bench failed: exit status {process.returncode}")
        print(f"{rows} texts: {usage.ru_maxrss / 1024:.0f} MB at the peak, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
