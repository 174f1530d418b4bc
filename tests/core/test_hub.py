"""The model hub, spoken to over loopback: what it refuses, what it serves, and what the cache holds afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rlaif.core.errors import InputError
from rlaif.core.system.hub import explain_hub_error, is_cached, refuse_unreachable
from tests.conftest import one_line

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFUSALS = {  # repository: status and code, as the hub sends them
    "meta/gated": (403, "GatedRepo"),
    "meta/gated-anonymous": (401, "GatedRepo"),
    "nobody/unknown": (401, "RepoNotFound"),
    "somebody/private": (404, "RepoNotFound"),
}


@dataclass
class Hub:
    """A server that knows some refusals, and one repository of real files."""

    folder: Path
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Hub:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for OWNER/NAME/resolve/REVISION/FILE; 404 for all else."""
        self.asked.append(path)
        for repository, (status, code) in REFUSALS.items():
            if f"{repository}/" in f"{path}/":
                return status, {"X-Error-Code": code, "X-Error-Message": f"{repository}: {code}"}, b""
        if "tiny/other" in path:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        _, _, rest = path.partition("/tiny/judge/resolve/")
        revision, _, name = rest.partition("/")
        if revision not in ("main", COMMIT) or not (self.folder / name).is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        body = (self.folder / name).read_bytes()
        return 200, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}, body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = hub.answer(self.path.partition("?")[0])
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None: ...

        return Handler


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny RoBERTa classifier, random but for its seed."""
    from tests import tiny

    return tiny.classifier(tmp_path_factory.mktemp("tiny-judge"))


@pytest.fixture(scope="module")
def hub(model: Path) -> Iterator[Hub]:
    with Hub(model) as running:
        yield running


@dataclass
class User:
    """Somebody with a hub cache of their own and, where `url` is given, a network."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "judges").mkdir(parents=True, exist_ok=True)

    def card(self, name: str, model: str, **more: str) -> None:
        lines = {"adapter": "classifier", "model": model, "measures": "toxicity", "bad": "hate", **more}
        text = "".join(f"{key}: {value}\n" for key, value in lines.items())
        (self.folder / "judges" / f"{name}.yaml").write_text(text)

    def start(self, *arguments: str, url: str = "") -> subprocess.Popen[str]:
        env = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("HF_", "TRANSFORMERS_OFFLINE")) and "PROXY" not in k.upper()
        }
        env |= {"HF_HOME": str(self.folder / "hf"), "HF_HUB_OFFLINE": "0" if url else "1"}
        env |= {"HF_ENDPOINT": url} if url else {}
        return subprocess.Popen(
            [sys.executable, "-m", "rlaif", *arguments], cwd=self.folder, env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
        return finished(self.start(*arguments, url=url))


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> subprocess.Popen[str]:
    """A command that meets a closed port. The hub's client knocks for 25 s, so it starts before the other tests."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        closed = listener.getsockname()[1]
    user = User(tmp_path_factory.mktemp("unreachable"))
    user.card("thing", "tiny/judge")
    return user.start("score", "-j", "thing", "--text", "you are kind", url=f"http://127.0.0.1:{closed}")


SCORE = ("score", "-j", "thing", "--text", "you are kind")


@pytest.mark.parametrize(
    ("repository", "says"),
    [
        ("meta/gated", ["is gated", "accept its terms at http://127.0.0.1", "/meta/gated", "log in", "hf auth login"]),
        ("meta/gated-anonymous", ["is gated", "accept its terms at", "HF_TOKEN"]),
        ("nobody/unknown", ["no model nobody/unknown", "private", "correct the name, or log in"]),
        ("somebody/private", ["no model somebody/private", "private", "log in"]),
        ("tiny/other@v9", ["tiny/other", "no such revision", "`revision`"]),
    ],
)
def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(
    user: User, hub: Hub, repository: str, says: list[str]
) -> None:
    model, _, revision = repository.partition("@")
    user.card("thing", model, **({"revision": revision} if revision else {}))
    start = time.monotonic()
    done = user.run(*SCORE, url=hub.url)
    assert done.returncode == 2
    assert time.monotonic() - start < 60, "it tried again and again"
    assert one_line(done).startswith("rlaif: judge thing: ")
    for words in says:
        assert words in done.stderr


@pytest.mark.parametrize(
    ("repository", "says"),
    [
        ("nobody/unknown", "the hub has no dataset nobody/unknown"),
        ("meta/gated", "/datasets/meta/gated, then log in"),
    ],
)
def test_a_data_set_that_the_hub_refuses_is_one_line(user: User, hub: Hub, repository: str, says: str) -> None:
    done = user.run("score", "-j", "length", "--data", repository, url=hub.url)
    assert done.returncode == 2
    assert says in one_line(done)


def test_a_model_is_downloaded_once_and_then_scores_without_a_network(user: User, model: Path) -> None:
    user.card("thing", "tiny/judge")
    assert "tiny/judge is not downloaded yet" in user.run("judges").stdout
    with Hub(model) as hub:
        online = user.run(*SCORE, url=hub.url)
    assert online.returncode == 0, online.stderr
    assert any(path.endswith("/model.safetensors") for path in hub.asked)

    offline = user.run(*SCORE)
    assert offline.returncode == 0, offline.stderr
    first, second = (json.loads(done.stdout) for done in (online, offline))
    assert 0 < first["score"] < 1
    assert second["score"] == first["score"]
    ready = next(line for line in user.run("judges").stdout.splitlines() if line.startswith("thing "))
    assert ready.split() == ["thing", "classifier", "toxicity", "yes"]


def test_a_pinned_revision_is_the_one_that_is_asked_for(user: User, hub: Hub) -> None:
    user.card("thing", "tiny/judge", revision=COMMIT)
    del hub.asked[:]
    done = user.run(*SCORE, url=hub.url)
    assert done.returncode == 0, done.stderr
    assert f"/tiny/judge/resolve/{COMMIT}/model.safetensors" in hub.asked
    assert not any("/resolve/main/" in path for path in hub.asked)


def test_without_a_network_a_model_that_was_never_downloaded_is_refused_at_once(user: User) -> None:
    user.card("thing", "tiny/judge")
    done = user.run(*SCORE)
    assert done.returncode == 2
    assert "tiny/judge is not in the local cache and the hub cannot be reached" in one_line(done)


def test_a_hub_that_refuses_connections_cannot_be_reached(unreachable: subprocess.Popen[str]) -> None:
    done = finished(unreachable)
    assert done.returncode == 2
    assert "the hub cannot be reached" in one_line(done)
    assert "name a local one" in done.stderr


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache; the snapshot folder of tiny/judge in it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--tiny--judge"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})


@pytest.mark.parametrize(
    ("files", "ready"),
    [
        ({}, False),
        ({"config.json"}, False),
        ({"model.safetensors"}, False),
        ({"config.json", "model.safetensors"}, True),
        ({"config.json", "pytorch_model.bin"}, True),
        ({"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"}, False),
        ({"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
          "model-00002-of-00002.safetensors"}, True),
    ],
)  # fmt: skip
def test_a_model_is_ready_when_its_weights_are_there_to_the_last_shard(
    cache: Path, files: set[str], ready: bool
) -> None:
    for name in files:
        (cache / name).write_text(INDEX if name.endswith("index.json") else "{}")
    assert is_cached("tiny/judge", None) is ready
    assert is_cached("tiny/judge", COMMIT) is ready
    assert is_cached("tiny/judge", "another-revision") is False


def test_a_sign_of_life_is_asked_of_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(InputError, match=r"judge x: tiny/judge .* the hub cannot be reached"):
        refuse_unreachable("judge x: tiny/judge")
    assert time.monotonic() - start < 5
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    refuse_unreachable("judge x: tiny/judge")


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path) -> None:
    error = explain_hub_error(OSError("no file named config.json\nmore"), str(tmp_path), "judge x")
    assert str(error) == f"judge x: the model in {tmp_path} cannot be loaded: no file named config.json"
