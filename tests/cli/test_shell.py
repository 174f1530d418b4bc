"""What people do in a shell with the command: redirect, complete a path, print in a function, stop it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlaif.core.config.run import read_run
from rlaif.judges.cards.card import find_card
from tests.conftest import one_line
from tests.remote import card_of


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Run a line of bash in an empty folder, with `rlaif` on the path."""
    monkeypatch.chdir(tmp_path)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return lambda line: subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=env)


def test_the_run_file_can_be_redirected_to_its_own_name(shell):
    assert shell("rlaif init > run.yaml").returncode == 0
    assert read_run(Path("run.yaml")).training.steps == 200
    again = shell("rlaif init")
    assert again.returncode == 2
    assert "exists already" in one_line(again)


def test_a_recipe_that_is_not_there_is_refused(main):
    done = main("init", "nothing-like-this")
    assert done.returncode == 2
    assert "no recipe 'nothing-like-this'" in one_line(done)


def test_a_shipped_card_can_be_copied_to_its_own_name(shell):
    assert shell("mkdir judges; rlaif judges lexicon > judges/lexicon.yaml").returncode == 0
    assert Path("judges/lexicon.yaml").read_text().startswith("# Counts")
    assert find_card("lexicon").path == Path("judges/lexicon.yaml").resolve()


def test_a_path_as_a_shell_completes_it_is_found(main, tmp_path):
    Path("cards").mkdir()
    Path("cards/mine.yaml").write_text("adapter: constant\nvalue: 0.25\n")
    assert json.loads(main("score", "-j", "cards/mine", "--text", "a").stdout)["score"] == 0.25


@pytest.mark.parametrize("command", ["score", "judges", "check", "init"])
def test_examples_in_the_help_stand_on_lines_of_their_own(main, command):
    shown = main(command, "--help").stdout
    assert "\\b" not in shown
    examples = [line for line in shown.splitlines() if line.startswith("  rlaif ")]
    assert len(examples) == 2
    assert all(line.count("rlaif ") == 1 for line in examples)


def test_what_a_function_prints_is_no_row(main, tmp_path):
    Path("f.py").write_text("print('imported')\ndef f(completions):\n    print('called')\n    return [1.0]\n")
    done = main("score", "-j", "{adapter: python, function: './f.py:f'}", "--text", "a")
    assert [json.loads(line)["score"] for line in done.stdout.splitlines()] == [1.0]
    assert "imported" in done.stderr
    assert "called" in done.stderr


def test_two_judges_of_one_name_are_not_checked(main):
    done = main("check", "-j", "{adapter: constant, name: a}", "-j", "{adapter: random, name: a}")
    assert done.returncode == 2
    assert "two judges are named 'a'" in one_line(done)


def test_a_run_file_may_name_one_judge_twice_but_not_two_of_one_name(main, tmp_path, policy_folder):
    Path("prompts.txt").write_text("".join(f"Why {i}?\n" for i in range(40)))
    run = f"policy: {{model: {policy_folder('llama')}}}\ndata: {{dataset: prompts.txt}}\njudge: length\n"
    run += "guard: {judges: [%s]}\n"
    Path("same.yaml").write_text(run % "length")
    Path("other.yaml").write_text(run % "{adapter: constant, name: length}")
    assert main("check", "same.yaml", "--quick").returncode == 0
    assert "two judges are named 'length'" in one_line(main("check", "other.yaml"))


def test_a_name_cannot_steer_the_terminal(main):
    done = main("check", "-j", '{adapter: constant, name: "a\\e[31mb"}')
    assert "\x1b" not in done.stdout
    assert "a\\x1b[31mb" in done.stdout


def test_ctrl_c_does_not_wait_for_a_member_of_a_panel(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\ndef f(completions):\n    open('begun', 'w').close()\n    time.sleep(60)\n"
    )
    card = "{adapter: panel, judges: [lexicon, {adapter: python, function: './slow.py:f'}]}"
    with subprocess.Popen([sys.executable, "-m", "rlaif", "check", "-j", card], cwd=tmp_path) as process:
        until = time.monotonic() + 30
        while not (tmp_path / "begun").exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_a_function_cannot_end_a_training_by_exiting(tmp_path, monkeypatch):
    from rlaif import JudgeBug, as_reward_func

    monkeypatch.chdir(tmp_path)
    Path("f.py").write_text("import sys\ndef f(completions): sys.exit(0)\n")
    with pytest.raises(JudgeBug, match=r"f\.py:2"):
        as_reward_func({"adapter": "python", "function": "./f.py:f"})(prompts=["p"], completions=["c"])


@pytest.mark.parametrize("judge", [["lexicon"], None, 3])
def test_what_is_no_judge_is_refused(judge):
    import rlaif

    for use in (lambda: rlaif.score(["a"], judge=judge), lambda: rlaif.as_reward_func(judge)):
        with pytest.raises(rlaif.InputError, match="a judge is named by"):
            use()


def test_a_wrong_key_does_not_wait_for_a_call_that_hangs(server, nobody, tmp_path):
    server.behaviour = lambda request: "hang" if "slow" in request.judged else "wrong_key"
    card = json.dumps(card_of(server, name="x"))
    arguments = ["score", "-j", card, "--text", "slow", "--text", "other"]
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "rlaif", *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "refuses the key" in one_line(done)
    assert time.monotonic() - start < 8  # the card's timeout is 10 s


def test_a_check_of_a_remote_judge_says_what_it_costs(server, nobody, main):
    card = json.dumps(card_of(server, name="x", price={"input": 1, "output": 10}))
    done = main("check", "-j", card)
    assert done.returncode == 0
    columns, values = (re.split(r"  +", line.strip()) for line in done.stdout.splitlines())
    usage = main("score", "-j", card, "--text", "The weather is fine today.").stdout
    assert json.loads(usage)["usage"]["from_store"]  # the probe was paid, and is kept
    assert 0 < float(dict(zip(columns, values, strict=True))["USD per 1,000"]) < 100
    assert main("check", "-j", card).returncode == 0
    assert len(server.calls) == 2  # each check asks anew
