"""Processes that tests start: forked ones are like those that an interpreter begins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests import processes

TOLD = """
import os, sys
print(os.getcwd(), sys.argv, os.environ.get("SOMETHING"), "PATH" in os.environ, sys.stdin.read())
print("é", file=sys.stderr)
sys.exit(3)
"""


def interpreter(arguments: list[str], **keys) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, **keys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", TOLD, "a", "--b"],
        ["-c", "import os, signal; print('said', flush=True); os.kill(os.getpid(), signal.SIGKILL)"],
        ["-c", "import sys; sys.exit('a reason')"],
        ["-m", "rlaif", "score", "-j", "length", "--data", "-", "--dry-run"],
        ["-m", "rlaif", "scor"],
    ],
    ids=["told", "killed", "reason", "rlaif", "wrong"],
)
def test_a_forked_process_reads_writes_and_ends_as_one_of_an_interpreter(arguments, tmp_path):
    given = {"input": "given\n", "text": True, "cwd": tmp_path, "env": {**os.environ, "SOMETHING": "1"}}
    ours, theirs = processes.run(arguments, **given), interpreter(arguments, **given)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_a_variable_that_is_missing_is_missing_there():
    env = {name: value for name, value in os.environ.items() if name != "PATH"}
    assert processes.run(["-c", "import os; print('PATH' in os.environ)"], text=True, env=env).stdout == "False\n"


def test_a_process_can_be_interrupted_and_waited_for():
    process = processes.start(["-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
    assert process.stdout.read(1) == b"1"
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    process.stdout.close()


def test_what_libraries_set_when_they_are_imported_lets_processes_be_forked_all_the_same():
    import datasets  # noqa: F401
    import sklearn  # noqa: F401
    import trl  # noqa: F401

    with processes.start(["-c", ""]) as process:
        assert isinstance(process, processes.Process)


@pytest.mark.parametrize(("name", "value"), [("HF_HOME", "/nowhere"), ("OMP_NUM_THREADS", "3"), ("LC_ALL", "C")])
def test_where_a_variable_differs_that_imports_read_an_interpreter_is_started(name, value):
    with processes.start(["-c", ""], env={**os.environ, name: value}) as process:
        assert isinstance(process, subprocess.Popen)
        assert process.args[0] == sys.executable
