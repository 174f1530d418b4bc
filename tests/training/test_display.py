"""What people see of a run: lines where there is no terminal, a live line with all that matters where there is one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import fields

import pytest

from rlaif.core.records.steps import Step
from rlaif.training.loop.display import View, describe_step
from tests.conftest import ROOT

SCRIPT = """
import sys, time
from rlaif.training.loop.display import View
from tests.training.test_display import show
with View(3) as view:
    view.first("reward of the first batch: 1 +- 2", "a warning")
    for step in (1, 2, 3):
        show(view, step, {name!r}, 0.0123 * step)
        time.sleep(0.05)
    view.say("said {name}")
"""

HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]x[/bold] [/nope]\r\u202e\n"


def show(view, step, name="toxicity", spent=0.0, **more):
    """Show a step as trainers do."""
    one = {"abstained": 3, "statuses": {}, "seconds": None, "from_store": 0}
    judges = {name: {"score_mean": 0.25 * step, **one}, "other": {"score_mean": None, **one, "abstained": 0}}
    metrics = {
        **dict.fromkeys(field.name for field in fields(Step)), "step": step, "samples": 8 * step, "reward_mean": 1.5,
        "judges": judges, "kl": 0.125, "length_tokens": 17.25, "kl_coef": 0.1, "learning_rate": 1e-5,
        "optimizer_steps": 1, "skipped_updates": 0, "seconds": 2.0, "alarms": [], **more,
    }  # fmt: skip
    metrics = {key: value for key, value in metrics.items() if key not in ("guard", "calls", "further")}
    record = Step.from_json(metrics)
    view.step(record.step, record.samples, record.seconds, describe_step(record, spent))


def on_a_terminal(columns, name="toxicity"):
    """What a terminal of so many columns is sent, without what steers it; and the raw bytes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    env.pop("COLUMNS", None)
    script = SCRIPT.replace("{name!r}", repr(name)).replace('"said {name}"', repr(f"said {name}"))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=theirs, stdout=subprocess.DEVNULL, env=env)
    os.close(theirs)
    sent = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # what Linux says when the other end is closed
            break
        if not part:
            break
        sent += part
    os.close(ours)
    assert process.wait(timeout=30) == 0, sent
    raw = sent.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw), raw


@pytest.mark.parametrize("columns", [200, 80, 60])
def test_a_terminal_shows_each_step_whole_whatever_its_width(columns):
    text, _ = on_a_terminal(columns)
    words = " ".join(re.sub(r"[━╸╺]", " ", text).split())
    for step, left, spent in ((1, "4 s", "0.0123"), (2, "2 s", "0.0246"), (3, "0 s", "0.0369")):
        said = (
            f"step {step}/3 reward 1.500 toxicity {0.25 * step:.3f} other – KL 0.12 length 17.2 3 abstained "
            f"{spent} USD 4.0 samples/s {left} left"
        )
        assert said in words
    assert (
        words.index("reward of the first batch: 1 +- 2") < words.index("warning: a warning") < words.index("step 1/3")
    )
    assert all(len(line) <= columns for line in text.replace("\r", "\n").split("\n"))


def test_a_hostile_name_of_a_judge_cannot_steer_a_terminal():
    text, raw = on_a_terminal(200, HOSTILE)
    assert "\\x1b[31mred" in text
    assert "[bold]x[/bold] [/nope]" in text
    assert "\x1b[31m" not in raw
    assert "\x1b]" not in raw
    assert "\u202e" not in raw


def test_without_a_terminal_the_first_and_the_last_step_are_plain_lines(capsys):
    with View(30) as view:
        for step in range(1, 31):
            show(view, step)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "step 1/30 reward 1.500 toxicity 0.250 other – KL 0.12 length 17.2 3 abstained 4.0 samples/s 58 s left",
        "step 30/30 reward 1.500 toxicity 7.500 other – KL 0.12 length 17.2 3 abstained 4.0 samples/s 0 s left",
    ]


def test_without_a_terminal_a_line_comes_every_ten_seconds(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("rlaif.training.loop.display.time.monotonic", lambda: now[0])
    with View(30) as view:
        for step in range(1, 11):
            show(view, step)
            now[0] += 4.0
    steps = re.findall(r"step (\d+)/30", capsys.readouterr().err)
    assert steps == ["1", "4", "7", "10"]


def test_a_hostile_name_is_harmless_in_plain_lines_too(capsys):
    with View(1) as view:
        show(view, 1, HOSTILE)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


def test_a_process_that_does_not_speak_says_nothing(capsys):
    with View(1, speaks=False) as view:
        view.first("spread", "warning")
        show(view, 1)
        view.say("hello")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "said"), [(4.0, "4 min 00 s"), (100.0, "1 h 40 min"), (0.001, "0 s")])
def test_the_time_left_follows_the_pace(capsys, seconds, said):
    with View(61) as view:
        show(view, 1, seconds=seconds)
    assert f"{said} left" in capsys.readouterr().err


def test_numbers_that_are_missing_are_dashes(capsys):
    with View(1) as view:
        silent = {"score_mean": None, "abstained": 8, "statuses": {"declined": 8}, "seconds": None, "from_store": 0}
        show(view, 1, reward_mean=None, judges={"j": silent})
    assert "reward – j – KL" in capsys.readouterr().err
