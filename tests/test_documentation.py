"""What README.md, docs/ and CONTRIBUTING.md show is run: files are written, commands executed, output compared."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from rlaif.core.config.run import RunConfig, read_run
from rlaif.core.config.sections import PPOSection, TrainingSection
from tests import tiny
from tests.conftest import ROOT
from tests.server import Server
from tests.shell import Commands

README = (ROOT / "README.md").read_text()
PPO = (ROOT / "docs" / "ppo.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = "\n".join([README, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(text) if found == language]


@pytest.fixture(scope="module")
def commands() -> Iterator[Path]:
    """The folder in which a shell finds `rlaif`."""
    with Commands() as folder:
        yield folder


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nobody: None, server: Server, policy_folder, commands: Path
) -> Path:
    """A newcomer's folder: the files that the pages show, and small models under the names that they mention."""
    for body in blocks(PAGES, "yaml") + blocks(PAGES, "python") + blocks(CONTRIBUTING, "python"):
        if name := re.match(r"# (\S+\.(?:yaml|py))", body):
            path = tmp_path / name[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(body)
    model = tiny.classifier(tmp_path / "model")
    shown = (tmp_path / "judges/toxicity.yaml").read_text()
    assert shown == (ROOT / "judges/toxicity.yaml").read_text().split("\n", 2)[2].join(["# judges/toxicity.yaml\n", ""])
    # The hub's model is out of reach here: one of the same architecture takes its place.
    (tmp_path / "judges/toxicity.yaml").write_text(re.sub(r"model: .*", f"model: {model}", shown))
    # with other weights, or it would be the same judge
    general = tiny.classifier(tmp_path / "general", labels=("neutral", "toxic"), initializer_range=0.21)
    shown = (ROOT / "judges/toxicity_general.yaml").read_text()
    (tmp_path / "judges/toxicity_general.yaml").write_text(re.sub(r"model: .*", f"model: {general}", shown))
    # So do servers of others: one on this machine speaks for all of them.
    for path in (ROOT / "judges").glob("*_*.yaml"):
        if (keys := yaml.safe_load(path.read_text()))["adapter"] in ("openai", "bedrock"):
            where = {"base_url": server.openai} if keys["adapter"] == "openai" else {"endpoint_url": server.url}
            shadow = {**keys, **where, "model": keys["model"] if keys["model"] != "auto" else "local"}
            (tmp_path / "judges" / path.name).write_text(yaml.safe_dump(shadow))
    stand_in_for_the_hub(tmp_path, policy_folder("flan_t5"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    row = {"prompt": "How are you?", "completion": "Fine, thank you."}
    (tmp_path / "dialogues.jsonl").write_text(json.dumps(row) + "\n")
    labelled = [
        {"completion": text, "label": label, "topic": "a"}
        for text, label in (
            ("You are kind.", "fine"),
            ("You fool.", "toxic"),
            ("Good day.", "fine"),
            ("You idiot.", "toxic"),
        )
    ]
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    pair = {"prompt": "How are you?", "chosen": "Fine, thank you.", "rejected": "Go away."}
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": row["prompt"]}) + "\n")
    for name in ("theirs", "ours"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    (tmp_path / "comments.csv").write_text("comment,author\nYou are kind.,a\nYou fool.,b\n")
    monkeypatch.setenv("PATH", f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stand_in_for_the_hub(folder: Path, policy: Path) -> None:
    """Put a tiny policy and a few dialogues where the run file looks for the hub's, and make the run short."""
    keys = yaml.safe_load((folder / "run.yaml").read_text())
    model, data = folder / keys["policy"]["model"], folder / keys["data"]["dataset"] / keys["data"]["data_dir"]
    model.parent.mkdir(parents=True)
    model.symlink_to(policy)
    data.mkdir(parents=True)
    asked = [f"\n\nHuman: What is {i} and {i}?\n\nAssistant:" for i in range(20)]
    rows = [{"chosen": f"{text} Twice {i}.", "rejected": f"{text} Who knows?"} for i, text in enumerate(asked)]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = read_run(folder / "run.yaml")
    assert (run.training.steps, run.training.batch_size) == (200, 64), (
        "the run that is shown is not the one that is tested"
    )
    short = {"training": {**keys["training"], "steps": 2, "batch_size": 4, "mini_batch_size": 2}}
    (folder / "run.yaml").write_text(yaml.safe_dump({**keys, **short, "generation": {"max_new_tokens": 8}}))


def prepare(text: str) -> None:
    """Make the run that a command resumes, or whose model is loaded."""
    from rlaif.__main__ import main

    if "rlaif report" in text and "runs/short" in text:
        assert main(["train", "run.yaml", "--set", "training.steps=1", "--output", "runs/short"]) == 0
    measures_run = "rlaif evaluate" in text and "runs/run" in text
    if "--resume" in text or '"runs/run' in text or "rlaif report" in text or measures_run:
        assert main(["train", "run.yaml", "--set", "training.steps=1"]) == 0


COMMANDS = [
    line
    for body in blocks(PAGES, "bash")
    for line in body.splitlines()
    if line.strip() and not line.startswith("make ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_pages_runs(command, folder):
    prepare(command)
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    if "comments.csv | cut" in command:
        assert [json.loads(row)["completion"] for row in done.stdout.splitlines()] == ["You are kind.", "You fool."]
    if "rlaif train" in command:
        output = folder / (re.search(r"--output (\S+)", command) or ["", "runs/run"])[1]
        shown = re.search(r"\n    runs/run/\n((?:      .*\n)+)", README)[1]
        for name in re.findall(r"(?:^|\s{2,})([a-z]+(?:\.\w+|/))", shown):
            assert (output / name).exists() == (name != "spending.jsonl" or "claude" in command), name


TRANSCRIPTS = [
    (command, output)
    for body in blocks(PAGES, "console")
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


@pytest.mark.parametrize("body", blocks(PAGES, "python"))
def test_every_python_block_of_the_pages_runs(body, folder, capsys):
    prepare(body)
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
    from rlaif.judges.registry import BUILT_IN, find_adapter
    from rlaif.judges.registry import keys_of as keys_of_make

    section = README.partition("## Keys of a card")[2].partition("\n## ")[0]
    for name in BUILT_IN:
        for field in fields(keys_of_make(find_adapter(name, Path(), ""), "")):
            assert f"`{field.name}" in section, f"README says nothing of {name}'s key {field.name}"


def rows_of(page: str, section: str) -> list[str]:
    """The first cell of each row of a section's table."""
    return re.findall(r"^\| (`.*?) \|", page.partition(f"\n## {section}\n")[2].partition("\n## ")[0], re.MULTILINE)


@pytest.mark.parametrize(("section", "kind"), [("training", TrainingSection), ("ppo", PPOSection)])
def test_the_tables_of_training_and_of_ppo_have_every_key_with_its_default(section, kind):
    rows = [yaml.safe_load(row.strip("`")) for row in rows_of(PPO, f"Keys of `{section}`")]
    assert rows == [{field.name: field.default} for field in fields(kind)]


def test_the_table_of_metrics_has_every_key_that_a_run_writes(folder, main, monkeypatch):
    monkeypatch.chdir(folder)
    done = main("train", "run.yaml", "--set", "training.steps=1")
    assert done.returncode == 0, done.stderr
    line = json.loads((folder / "runs/run/metrics.jsonl").read_text())
    judges = line.pop("judges")
    told = {*line, *(f"judges.NAME.{key}" for judge in judges.values() for key in judge)}
    rows = [name for row in rows_of(PPO, "Keys of metrics.jsonl") for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(rows) == sorted(told)


def test_every_key_that_a_page_names_with_its_section_is_one_of_the_run_file():
    sections = get_type_hints(RunConfig)
    named = set(re.findall(r"`(\w+)\.(\w+)", PAGES))
    for section, key in named:
        if is_dataclass(kind := sections.get(section)) and key not in ("json", "jsonl"):  # files
            assert key in {field.name for field in fields(kind)}, f"{section}.{key}"


def test_the_file_tree_names_every_room():
    tree = README.partition("## Where things are")[2].partition("\n## ")[0]
    rooms = [path.parent.relative_to(ROOT / "rlaif").as_posix() for path in (ROOT / "rlaif").glob("*/__init__.py")]
    assert rooms
    others = ("judges", "prompts", "recipes", "tests", "performance", "docs", "examples")
    for room in (*rooms, *others):
        assert f" {room}/ " in tree, room


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_that_a_page_names_is_there(page):
    folders = "rlaif|judges|prompts|tests|docs|examples|performance"
    paths = re.findall(rf"`((?:{folders})/[\w./]+)`", (ROOT / page).read_text())
    named = [path for path in paths if "NAME" not in path]
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


LINKED = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "examples", "judges", "prompts")
    for path in (ROOT / folder).glob("*.md")
)


@pytest.mark.parametrize("page", LINKED)
def test_every_link_to_a_file_leads_to_one(page):
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        if "://" not in link:
            path, _, heading = link.partition("#")
            target = (ROOT / page).parent / path if path else ROOT / page
            assert target.exists(), link
            assert not heading or heading in anchors(target.read_text()), link


def anchors(text: str) -> list[str]:
    """The names by which a code host, and the site, link to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings]


def test_every_command_has_help_that_shows_how(main):
    from rlaif.cli.main import rlaif as group

    assert set(re.findall(r"`rlaif (\w+)", PAGES)) <= set(group.commands)
    for name in group.commands:
        done = main(name, "--help")
        assert done.returncode == 0
        assert f"rlaif {name}" in done.stdout
