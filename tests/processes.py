"""
Python processes that tests start: `python -m rlaif`, or a script.

A process is forked from one that has imported torch and transformers, which takes seconds, and is a process like any
other: it has its own pid, folder, environment and standard files, and is interrupted and killed. What libraries read
of the environment when they are imported has to be the same in both; where it is not, an interpreter is started. Tests
of what an import costs or brings start an interpreter themselves.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from multiprocessing import connection, forkserver, reduction
from pathlib import Path
from typing import IO, Any
from unittest import mock

ROOT = Path(__file__).parent.parent

READ_BY_IMPORTS = (
    "ATEN_", "CUDA_", "DATASETS_", "HF_", "HOME", "HUGGING", "LANG", "LC_", "LD_", "MKL_", "MPL", "NUMEXPR_", "OMP_",
    "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH_", "TRANSFORMERS_", "TRL_", "USE_", "XDG_",
)  # fmt: skip
"""How the variables begin that Python and its libraries read when they start."""

SET_BY_RLAIF = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Those that `rlaif` sets where they are missing, before it imports anything."""

_environment: dict[str, str] = {}
"""Of the process that others are forked from."""

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.runs_imports"])


def keep_environment() -> None:
    """Let processes be forked from one that has the environment of this moment."""
    _environment.update(os.environ)


def start(
    arguments: Sequence[str],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    text: bool = False,
    start_new_session: bool = False,
) -> Process | subprocess.Popen[Any]:
    """Start Python with `-m MODULE` or `-c SCRIPT` and arguments; the rest is as for `subprocess.Popen`."""
    env = dict(os.environ if env is None else env)
    if _read_by_imports(env) == _read_by_imports(_environment):
        return Process(list(arguments), str(cwd or Path.cwd()), env, (stdin, stdout, stderr), text, start_new_session)
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, text=text,
        start_new_session=start_new_session,
    )  # fmt: skip


def run(
    arguments: Sequence[str], *, input: Any = None, timeout: float | None = None, **keys: Any
) -> subprocess.CompletedProcess[Any]:
    """Start Python, wait for its end, and return what it wrote, as `subprocess.run` does with `capture_output`."""
    keys = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keys}
    if input is not None:
        keys["stdin"] = subprocess.PIPE
    process = start(arguments, **keys)
    try:
        out, err = process.communicate(input, timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(list(arguments), process.wait(), out, err)


def _read_by_imports(env: Mapping[str, str]) -> dict[str, str]:
    env = {**SET_BY_RLAIF, **env}
    return {name: env[name] for name in env if name.startswith(READ_BY_IMPORTS) and name != "PYTHONPATH"}


@functools.cache
def _start_server() -> None:
    """Start the process that others are forked from: in ROOT it finds what it shall import."""
    with mock.patch.dict(os.environ, {**SET_BY_RLAIF, **_environment}, clear=True), contextlib.chdir(ROOT):
        forkserver.ensure_running()


class Process:
    """A forked process, with what tests use of `subprocess.Popen`."""

    def __init__(
        self, arguments: list[str], cwd: str, env: dict[str, str], files: Sequence[Any], text: bool, session: bool
    ) -> None:
        self.args, self._polling = arguments, threading.Lock()
        with contextlib.ExitStack() as theirs:
            ends = [_open_ends(number, file, text, theirs) for number, file in enumerate(files)]
            self.stdin, self.stdout, self.stderr = (ours for ours, _ in ends)
            inherited = [_Inherited(ends[1][1] if end == subprocess.STDOUT else end) for _, end in ends]
            _start_server()
            self._process = _processes.Process(target=_become, args=(arguments, cwd, env, inherited, session))
            self._process.start()
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negative signal that killed it; None while it runs."""
        with self._polling:  # threads must not ask at once
            return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not connection.wait([self._process.sentinel], timeout) and self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        status = self.returncode
        assert status is not None
        return status

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write all the input, read all the output, wait for the end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found: dict[Any, Any] = {}
        readers = [
            threading.Thread(target=lambda file=file: found.update({file: file.read()}), daemon=True)
            for file in (self.stdout, self.stderr)
            if file and not file.closed
        ]
        for reader in readers:
            reader.start()
        if self.stdin:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                if input:
                    self.stdin.write(input)
        for reader in readers:
            reader.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return found.get(self.stdout), found.get(self.stderr)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.stdin, self.stdout, self.stderr):
            if file:
                file.close()
        self.wait()


def _open_ends(number: int, file: Any, text: bool, theirs: contextlib.ExitStack) -> tuple[IO[Any] | None, int]:
    """Return our end of a standard file, if it is a pipe, and the descriptor of the other end."""
    if file == subprocess.PIPE:
        read, write = os.pipe()
        ours, other = (write, read) if number == 0 else (read, write)
        theirs.callback(os.close, other)
        return os.fdopen(ours, ("w" if number == 0 else "r") + ("" if text else "b")), other
    if file == subprocess.DEVNULL:
        return None, theirs.enter_context(Path(os.devnull).open("r+b", buffering=0)).fileno()
    if file is None:
        return None, number
    return None, file if isinstance(file, int) else file.fileno()


class _Inherited:
    """A descriptor on its way to a process that is forked elsewhere, where it arrives as a number."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (reduction.DupFd(self.descriptor),)


def _arrive(sent: Any) -> int:
    descriptor: int = sent.detach()
    return descriptor


def _become(arguments: list[str], cwd: str, env: Mapping[str, str], files: Sequence[int], session: bool) -> None:
    """Do as an interpreter does that is started with these arguments."""
    if session:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in set(files):
        os.close(file)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    option, program, *rest = arguments
    own = (sys.prefix, sys.base_prefix, str(ROOT))
    added = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [cwd if option == "-m" else "", *added, *(path for path in sys.path if path.startswith(own))]
    if option == "-m":
        sys.argv = [program, *rest]
        sys.modules.pop(f"{program}.__main__", None)
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [option, *rest]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), sys.modules["__main__"].__dict__)
