"""Signals that the parent ignores: the product goes on ignoring them, and what a test starts does not inherit them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlaif.core.system.signals import Interruption
from tests.conftest import ROOT
from tests.events import At

IGNORED = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD]

IGNORING = f"""
import os, signal, sys
for number in {[int(number) for number in IGNORED]}:
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Becomes the Python process of its arguments, with the signals ignored."""

SHOWING = """
import signal
print(sorted(int(number) for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN))
"""

OF_PYTHON = f"{sorted(map(int, (signal.SIGPIPE, signal.SIGXFSZ)))}\n"
"""What a Python process ignores by itself."""


# --- children of tests --------------------------------------------------------------------------------------------


def test_a_process_that_a_test_starts_ignores_no_signal():
    done = subprocess.run([sys.executable, "-c", SHOWING], capture_output=True)
    assert done.stdout.decode() == OF_PYTHON


def test_a_run_that_a_test_starts_ignores_no_signal(tmp_path):
    from tests.runs import Run

    assert Run(tmp_path, [], {}, SHOWING).ended().stderr == OF_PYTHON


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_a_process_ignores_none_where_pytest_itself_is_started_ignoring_them(workers):
    test = f"{__file__}::{test_a_process_that_a_test_starts_ignores_no_signal.__name__}"
    command = [sys.executable, "-c", IGNORING, "-m", "pytest", "-p", "no:cacheprovider", *workers, test]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# --- the product --------------------------------------------------------------------------------------------------


@pytest.fixture
def sigint_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_work_that_is_started_ignoring_sigint_goes_on_ignoring_it_and_hears_sigterm(sigint_ignored):
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert not interruption.wished
        signal.raise_signal(signal.SIGTERM)
        assert interruption.wished
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_training_that_is_started_ignoring_sigint_goes_on_and_sigterm_writes_a_checkpoint(tmp_path: Path):
    from tests.runs import at, place

    made = place(tmp_path)
    # As a Python process finds it that such a parent started.
    meddle = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    meddle += at(At("forward", since=At("append", "environment.jsonl")), "interrupt")
    meddle += at(At("forward", since=At("append", "metrics.jsonl", 2, "after")), "terminate")
    done = made.train("--output", "out", meddle=meddle)
    assert done.returncode == 130, done.stderr
    assert "step 2 is kept in out/checkpoints; --resume goes on from it" in done.stderr.splitlines()[-1]
