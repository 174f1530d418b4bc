"""What README.md and CONTRIBUTING.md show is run: files are written, commands executed, output compared."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import tiny
from tests.conftest import ROOT
from tests.server import Server

README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(text) if found == language]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nobody: None, server: Server) -> Path:
    """A newcomer's folder: the files that the README shows, and small models under the shipped cards' names."""
    for body in blocks(README, "yaml") + blocks(README, "python") + blocks(CONTRIBUTING, "python"):
        if name := re.match(r"# (\S+\.(?:yaml|py))", body):
            path = tmp_path / name[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(body)
    model = tiny.classifier(tmp_path / "model")
    shown = (tmp_path / "judges/toxicity.yaml").read_text()
    assert shown == (ROOT / "judges/toxicity.yaml").read_text().split("\n", 2)[2].join(["# judges/toxicity.yaml\n", ""])
    # The hub's model is out of reach here: one of the same architecture takes its place.
    (tmp_path / "judges/toxicity.yaml").write_text(re.sub(r"model: .*", f"model: {model}", shown))
    # So do servers of others: one on this machine speaks for all of them.
    for path in (ROOT / "judges").glob("*_*.yaml"):
        if (keys := yaml.safe_load(path.read_text()))["adapter"] in ("openai", "bedrock"):
            where = {"base_url": server.openai} if keys["adapter"] == "openai" else {"endpoint_url": server.url}
            shadow = {**keys, **where, "model": keys["model"] if keys["model"] != "auto" else "local"}
            (tmp_path / "judges" / path.name).write_text(yaml.safe_dump(shadow))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    row = {"prompt": "How are you?", "completion": "Fine, thank you."}
    (tmp_path / "dialogues.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "comments.csv").write_text("comment,author\nYou are kind.,a\nYou fool.,b\n")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = [
    line
    for body in blocks(README, "bash")
    for line in body.splitlines()
    if line.strip() and not line.startswith("make ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_runs(command, folder):
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    if "comments.csv | cut" in command:
        assert [json.loads(row)["completion"] for row in done.stdout.splitlines()] == ["You are kind.", "You fool."]


TRANSCRIPTS = [
    (command, output)
    for body in blocks(README, "console")
    for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", body, re.MULTILINE)
]


@pytest.mark.parametrize(("command", "output"), TRANSCRIPTS)
def test_every_transcript_of_the_readme_is_what_a_terminal_shows(command, output, folder):
    shown = "\n".join(line.rstrip() for line in on_a_terminal(command).splitlines())
    assert output.rstrip() in shown, shown


def on_a_terminal(command: str) -> str:
    reader, terminal = pty.openpty()
    env = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(["bash", "-c", command], stdout=terminal, stderr=subprocess.PIPE, env=env) as process:
        os.close(terminal)
        chunks = []
        while chunk := read(reader):
            chunks.append(chunk)
        assert process.wait(60) == 0, process.stderr.read()
    os.close(reader)
    return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(chunks).decode())


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that the terminal's other end is closed
        return b""


@pytest.mark.parametrize("body", blocks(README, "python"))
def test_every_python_block_of_the_readme_runs(body, folder, capsys):
    exec(compile(body, "README.md", "exec"), {})


def test_the_adapter_of_ten_lines_works(folder):
    (folder / "shout.yaml").write_text("adapter: ./shout.py:make\nmarks: 2\n")
    from rlaif import Sample, load_judge

    judge = load_judge("./shout.yaml")
    assert [j.score for j in judge([Sample("Hi!"), Sample("Hi!!")])] == [1.0, 0.0]
    assert (judge.name, judge.has_logit, judge.remote) == ("shout", False, False)


def test_the_readme_opens_with_the_two_commands():
    first = BLOCK.search(README)
    assert [line.split("#")[0].strip() for line in first[2].splitlines()] == ["make quickstart", "make test"]


def test_the_table_of_adapters_names_every_key():
    from dataclasses import fields

    from rlaif.adapters import BUILT_IN, find_adapter
    from rlaif.adapters import keys_of as keys_of_make

    section = README.partition("## Keys of a card")[2].partition("\n## ")[0]
    for name in BUILT_IN:
        for field in fields(keys_of_make(find_adapter(name, Path(), ""), "")):
            assert f"`{field.name}" in section, f"README says nothing of {name}'s key {field.name}"


def test_every_command_has_help_that_shows_how(main):
    from rlaif.cli import rlaif as group

    assert set(re.findall(r"`rlaif (\w+)", README)) <= set(group.commands)
    for name in group.commands:
        done = main(name, "--help")
        assert done.returncode == 0
        assert f"rlaif {name}" in done.stdout
