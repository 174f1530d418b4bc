"""
CPU seconds until the user sees something: `import rlaif`, `rlaif --help`, and a score that needs no model.

User plus system time of a fresh process, medians over rounds; says whether torch was imported.

    python performance/startup.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import rlaif": ["-c", "import rlaif"],
    "rlaif --help": ["-m", "rlaif", "--help"],
    "rlaif score --help": ["-m", "rlaif", "score", "--help"],
    "rlaif judges": ["-m", "rlaif", "judges"],
    "rlaif score -j lexicon": ["-m", "rlaif", "score", "-j", "lexicon", "--text", "hello"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """Run a Python process and return its user plus system time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imports_torch(arguments: list[str]) -> bool:
    """Whether torch is among the modules when the process ends."""
    shown = subprocess.run([sys.executable, "-X", "importtime", *arguments], check=True, capture_output=True, text=True)
    return any(line.rpartition("|")[2].strip() == "torch" for line in shown.stderr.splitlines())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    for name, arguments in COMMANDS.items():
        cpu_seconds(arguments)  # the disk's cache
        median = statistics.median(cpu_seconds(arguments) for _ in range(rounds))
        print(f"{name:24} {median:6.3f} s of CPU, torch {'imported' if imports_torch(arguments) else 'not imported'}")


if __name__ == "__main__":
    main()
