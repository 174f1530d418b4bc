"""
How `rlaif score` behaves on a file that does not fit into memory.

Writes a jsonl of `--rows` texts and one of a tenth of it, runs `rlaif score -j lexicon --data FILE -o OUT` on each in
a process of its own, and prints the peak memory (resident set) of both, their ratio, and rows a second, the pass that
checks the file before any work included. Memory that streams has a ratio of about 1; memory that grows, one of 10.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXTS = (
    "Thank you, that was a great help.",
    "You are an idiot and your plan is garbage.",
    "The train leaves at noon, " * 8,
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows: int = parser.parse_args().rows
    print(f"{'rows':>10}  {'peak MB':>8}  {'rows/s':>8}")
    with tempfile.TemporaryDirectory() as folder:
        small, large = (scored(count, Path(folder)) for count in (rows // 10, rows))
    print(f"ratio of peaks: {large / small:.2f}")


def scored(rows: int, folder: Path) -> float:
    """Score that many rows in a process of its own, print a line, and return its peak memory in MB."""
    data, output = folder / "data.jsonl", folder / "out.jsonl"
    with data.open("w") as file:
        file.writelines(f'{{"id": {i}, "completion": "{i}: {TEXTS[i % len(TEXTS)]}"}}\n' for i in range(rows))
    command = [sys.executable, "-m", "rlaif", "score", "-j", "lexicon", "--data", str(data), "-o", str(output)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    with output.open("rb") as file_of_bytes:
        written = sum(1 for _ in file_of_bytes)
    if process.returncode or written != rows:
        sys.exit(f"rlaif score failed: exit status {process.returncode}, {written} of {rows} lines")
    peak = usage.ru_maxrss / 1024  # Linux counts in KiB
    print(f"{rows:>10}  {peak:>8.1f}  {rows / seconds:>8.0f}")
    return peak


if __name__ == "__main__":
    main()
