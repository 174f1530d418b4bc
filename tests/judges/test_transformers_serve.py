"""
Against a server of another project: `transformers serve` with a small real model.

It proves the wire and the statuses. The model completes comments and has never seen a question, so there are no
verdicts, and what it says must not become any.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from rlaif import Sample, load_judge
from rlaif.core.errors import InputError
from tests.remote import environment

TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
MISSING = [name for name in ("uvicorn", "fastapi") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"needs {' and '.join(MISSING)}: pip install 'transformers[serving]' to test against `transformers serve`",
)


@pytest.fixture(scope="module")
def endpoint(shared, tmp_path_factory):
    """The address of a served model, and the model's name there."""
    folder = tmp_path_factory.mktemp("served")
    model = folder / "comment-llama"
    shutil.copytree(shared / "models/comment-llama", model)
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": TEMPLATE}))
    (folder / "hub").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--port", str(port)],
            stdout=log,
            stderr=log,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "hub")},
        )
        try:
            deadline = time.monotonic() + 90
            while not _answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
                assert time.monotonic() < deadline, (folder / "log.txt").read_text()[-2000:]
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1", str(model)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def judge_of(endpoint, tmp_path, monkeypatch):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    url, model = endpoint

    def make(**keys):
        card = {"adapter": "openai", "base_url": url, "model": model, "prompt": "judge/toxicity", "concurrency": 2}
        return load_judge({**card, **keys})

    return make


def test_what_a_model_says_that_gives_no_verdict_is_no_number(judge_of):
    judgements = judge_of(max_tokens=64)([Sample("What a kind thing to say."), Sample("You are a fool.")])
    assert {judgement.score for judgement in judgements} == {None}
    assert {judgement.status for judgement in judgements} <= {"unparsable", "truncated"}
    for judgement in judgements:
        assert judgement.usage.input_tokens > 100
        assert judgement.usage.output_tokens > 0
        assert judgement.usage.attempts == 1


@pytest.mark.parametrize("form", ["schema", "json", "text"])
def test_an_answer_that_is_cut_is_truncated_in_every_format(judge_of, form):
    (judgement,) = judge_of(max_tokens=1, format=form)([Sample("A text of some words.")])
    assert judgement.status == "truncated"
    assert judgement.usage.output_tokens == 1


def test_an_endpoint_that_gives_no_log_probabilities_is_refused_for_expected(judge_of):
    with pytest.raises(InputError, match="gives no log-probabilities"):
        judge_of(score="expected")([Sample("A text of some words.")])


def test_a_model_that_the_server_does_not_have_gives_no_number(judge_of):
    """The server answers 400, not 404, in words that depend on whether it reaches the hub."""
    try:
        (judgement,) = judge_of(model="no-such/model")([Sample("A text of some words.")])
    except InputError as error:
        said = str(error)
    else:
        said = f"no-such/model: {judgement.reason}"
        assert (judgement.status, judgement.score) == ("unavailable", None)
    assert "no-such/model" in said
    assert "HTTP 400" in said


def test_a_server_that_lists_no_models_is_not_guessed_at(judge_of):
    with pytest.raises(InputError, match=r"model: auto: .* serves 0 models"):
        judge_of(model="auto")


def test_a_card_of_a_served_model_answers_when_it_is_reached_for(judge_of):
    assert judge_of()([]) == []
