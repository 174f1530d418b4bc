"""What tests share: the small real models and data where they lie, tiny models from config, the command."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.server import Server

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# Models of a test are tiny: a second thread costs more than it saves, and on a busy machine a hundred times more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ("tests.browser",)

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it; a terminal of a test has a width of its own
processes.keep_environment()

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def default_signals_for_children() -> Iterator[None]:
    """
    Let the processes that tests start handle signals by default, also where this one was started ignoring them.

    A background job of a script ignores SIGINT, one under `nohup` SIGHUP, and an ignored signal stays ignored in a
    child. A handler does not outlive `exec`. So a handler that does nothing goes on ignoring the signal here, while a
    child starts with the default. Python ignores SIGPIPE and SIGXFSZ itself, and `subprocess` resets them.
    """
    ignored = [
        number
        for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}
        if signal.getsignal(number) == signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and small real models; tests that want them skip where they are absent."""
    if not (SHARED / "models").is_dir():
        pytest.skip("needs ../shared: real data and small real models")
    return SHARED


@pytest.fixture
def rlaif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in a process of its own, run in an empty folder that is also the working directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str | bytes = "", env: dict[str, str] | None = None, timeout: float = 120):
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, "-m", "rlaif", *arguments],
            input=data,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            timeout=timeout,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """The command in this process, for many short runs; as `rlaif`, without standard input."""
    from rlaif.__main__ import main as run_main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfdbinary.readouterr()
        status = run_main(list(arguments))
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return subprocess.CompletedProcess(arguments, status, out.decode(), err.decode())

    return run


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For remote judges: a store of its own, AWS credentials of nobody's, backoff in hundredths of a second."""
    import tenacity

    from tests.remote import environment

    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    slow = tenacity.wait_random_exponential
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: slow(multiplier=0.01, max=0.05))


@pytest.fixture
def server() -> Iterator[Server]:
    """A remote endpoint on this machine: honest until told otherwise."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the folder of a tiny generation model, as `tiny.policy` does, but each only once: leave it as it is."""
    from tests import tiny

    made: dict[str, Path] = {}

    def folder(architecture: str, **keys: Any) -> Path:
        key = f"{architecture} {sorted(keys.items())}"
        if key not in made:
            made[key] = tiny.policy(tmp_path_factory.mktemp(architecture), architecture, **keys)
        return made[key]

    return folder


@pytest.fixture(scope="session")
def sft_adapter(policy_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the folder of a LoRA adapter of a tiny generation model, trained before, so that it is not zero."""
    from tests.policies import LORA, policy_of

    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp(f"{architecture}-adapter")
            policy = policy_of(policy_folder(architecture), lora=LORA, lively=True)
            policy.model.save_pretrained(made[architecture])
        return made[architecture]

    return folder


@pytest.fixture
def optimizer_steps() -> Iterator[Callable[..., None]]:
    """
    Calls a function with the optimizer at each step that it makes of a trainer's weights, by hooks of torch.

    What is called sees the gradients and rates that really act, wherever the trainer keeps its optimizer.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    handles = []

    def watch(trainer: Any, look: Callable[[Any], object], *, after: bool = False) -> None:
        mine = {id(parameter) for parameter in trainer.policy.parameters()}

        def hook(optimizer: Any, *_: Any) -> None:
            if any(id(parameter) in mine for group in optimizer.param_groups for parameter in group["params"]):
                look(optimizer)

        register = register_optimizer_step_post_hook if after else register_optimizer_step_pre_hook
        handles.append(register(hook))

    yield watch
    for handle in handles:
        handle.remove()


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections to SQLite files that are opened, so that a test can watch one, or make it fail as a disk does."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def recorded(*args: Any, **keys: Any) -> sqlite3.Connection:
        opened.append(connect(*args, **keys))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", recorded)
    return opened


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a refused command: exactly one line, no traceback."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("rlaif: ")
    assert "Traceback" not in done.stderr
    return lines[0]
