"""
The quickstart's parts: made once, whole or not at all, and named in a run file like any model.

The models are of the same kinds and made by the same code as the real ones, in a second instead of a minute.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch

from rlaif.core.config.run import RunConfig, read_run
from rlaif.core.errors import InputError, RlaifError
from rlaif.core.schema import check
from rlaif.core.types import Sample
from rlaif.data.prompts import load_parts
from rlaif.judges.quickstart import quickstart
from rlaif.judges.quickstart.cache import TITLES, is_whole, make_parts
from rlaif.judges.quickstart.corpus import comments
from rlaif.judges.quickstart.plan import PLAN, Plan, Size
from rlaif.judges.registry import load_judge
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.loading import load
from rlaif.policy.model import Policy
from tests import processes
from tests.conftest import ROOT

ALL = list(TITLES)
RECIPE = ROOT / "recipes" / "quickstart.yaml"
SMALL = Size(
    comments=80, half=None, seed=1, batches=3, batch_size=8, learning_rate=1e-3,
    vocabulary=300, hidden=16, layers=1, heads=2,
)  # fmt: skip
TINY = Plan(
    policy=SMALL, judge=replace(SMALL, half="first"), held_out=replace(SMALL, half="second", seed=2),
    prompts=60, prompts_seed=4,
)  # fmt: skip
SLOW = replace(TINY, policy=replace(SMALL, batches=400))
"""Whose policy takes long enough to be met while it is made."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `RLAIF_HOME`."""
    monkeypatch.setenv("RLAIF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which all parts are, for tests that only read it."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLAIF_HOME", str(home))
        make_parts(ALL, str, TINY)
        yield home


def config_of(**keys: Any) -> RunConfig:
    return check(RunConfig, {"policy": {"model": "a/b"}, "data": {"dataset": "c/d"}, "judge": "toxicity", **keys}, "x")


def unfinished(home: Path) -> list[Path]:
    return list(home.glob("quickstart/*/.making-*"))


def written(home: Path) -> dict[str, int]:
    """When each file of the parts was written."""
    return {str(path): path.stat().st_mtime_ns for path in home.glob("quickstart/*/*/*")}


# --- a process of its own -----------------------------------------------------------------------------------------

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.judges.test_quickstart import ALL, SLOW, TINY
from rlaif.core.errors import RlaifError
{before}
from rlaif.judges.quickstart.cache import make_parts
try:
    make_parts(ALL, lambda line: print(line, flush=True), {plan})
except (RlaifError, KeyboardInterrupt) as error:
    print(type(error).__name__, error)
    sys.exit(3)
"""


def started(home: Path, plan: str = "TINY", before: str = "", **env: str) -> Any:
    script = SCRIPT.format(root=str(ROOT), before=before, plan=plan)
    return processes.start(
        ["-c", script], env={**os.environ, "RLAIF_HOME": str(home), **env}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: Any) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 3), err
    return out


def at_its_policy(home: Path, process: Any) -> None:
    """Wait until a process makes its policy, with the other parts behind it."""
    deadline = time.monotonic() + 120
    while not list(home.glob("quickstart/*/.making-policy-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


# --- made once ----------------------------------------------------------------------------------------------------


def test_parts_are_made_on_first_use_and_only_then(home):
    said: list[str] = []
    folders = make_parts(ALL, said.append, TINY)
    assert said[0].startswith("first use: making prompts, the training judge, the held-out judge and the policy")
    assert str(home / "quickstart" / TINY.key) in said[0]
    assert len(said) == 5
    assert all(is_whole(folder) for folder in folders.values())
    before, said[:] = written(home), []
    (home / "quickstart" / TINY.key / ".lock").unlink()
    assert make_parts(ALL, said.append, TINY) == folders
    assert (said, written(home)) == ([], before)
    assert not (home / "quickstart" / TINY.key / ".lock").exists(), "a home that is only read need not be writable"


def test_only_what_is_asked_for_is_made(home):
    assert make_parts(["judge"], str, TINY)["judge"].is_dir()
    assert [path.name for path in (home / "quickstart" / TINY.key).iterdir() if path.is_dir()] == ["judge"]


def test_another_plan_has_another_place():
    assert len({TINY.key, SLOW.key, PLAN.key}) == 3


def test_the_judges_of_the_real_plan_are_made_independently():
    one, other = PLAN.judge, PLAN.held_out
    assert {one.half, other.half} == {"first", "second"}
    assert one.seed != other.seed
    assert (one.hidden, one.vocabulary) != (other.hidden, other.vocabulary)


def test_the_policy_completes_prompts_and_the_judges_know_their_labels_by_name(made):
    folders = make_parts(ALL, str, TINY)
    policy = Policy(load(str(folders["policy"]), dtype="float32"))
    assert policy.tokenizer("You")["input_ids"][0] == policy.tokenizer.bos_token_id
    ids = policy.tokenizer(["I heard that", "You"])["input_ids"]
    assert len(policy.generate(ids, Sampling(5)).response_BR) == 2
    for name in ("judge", "held_out"):
        card = {"adapter": "classifier", "name": name, "model": str(folders[name]), "bad": "toxic"}
        (judgement,) = load_judge(card)([Sample("You are a fool.")])
        assert judgement.status == "ok"


def test_a_judge_learns_that_rude_comments_are_the_toxic_ones(home):
    """A few comments by heart."""
    size = replace(SMALL, comments=16, batches=150, batch_size=16, learning_rate=1e-2)
    folder = make_parts(["judge"], str, replace(TINY, judge=size))["judge"]
    judge = load_judge({"adapter": "classifier", "name": "x", "model": str(folder), "bad": "toxic"})
    known = comments(size.comments, size.seed)
    scores = {True: [], False: []}
    for comment, verdict in zip(known, judge([Sample(comment.completion) for comment in known]), strict=True):
        scores[comment.is_rude].append(verdict.score)
    assert mean(scores[True]) + 0.3 < mean(scores[False])


def test_making_models_leaves_the_random_numbers_and_threads_of_others_alone(home):
    torch.manual_seed(3)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(3)
    make_parts(["judge", "policy"], str, TINY)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


# --- whole or not at all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone", "unsealed", "a file"])
def test_a_broken_part_is_made_again_and_the_others_are_left_alone(home, harm):
    small = ["prompts", "judge"]
    folder = make_parts(small, str, TINY)["judge"]
    before = written(home)
    weights = folder / "model.safetensors"
    if harm == "flipped":
        data = bytearray(weights.read_bytes())
        data[-5] ^= 1
        weights.write_bytes(data)
    elif harm == "cut":
        os.truncate(weights, 100)
    elif harm == "gone":
        (folder / "tokenizer.json").unlink()
    elif harm == "unsealed":
        (folder / "whole.json").write_text("{}")
    else:
        folder.rename(home / "elsewhere")
        folder.write_text("I am a file")
    said: list[str] = []
    assert is_whole(make_parts(small, said.append, TINY)["judge"])
    assert said[0].startswith("first use: making the training judge of")
    assert not unfinished(home)
    after = written(home)
    assert {path for path in before if before[path] == after[path]} == {p for p in before if "/prompts/" in p}


def test_a_process_that_is_killed_leaves_what_it_had_finished_and_nothing_that_passes_for_whole(home):
    process = started(home, "SLOW")
    at_its_policy(home, process)
    process.kill()
    process.communicate()
    assert unfinished(home)
    folder = home / "quickstart" / SLOW.key
    assert [is_whole(folder / name) for name in ALL] == [True, True, True, False]
    assert not (folder / "policy").exists()
    before = written(home)
    said: list[str] = []
    make_parts(ALL, said.append, SLOW)
    assert said[0].startswith("first use: making the policy of")
    assert before.items() <= written(home).items()
    assert not unfinished(home)


def test_interrupted_it_says_what_is_kept(home):
    process = started(home, "SLOW")
    at_its_policy(home, process)
    process.send_signal(signal.SIGINT)
    last = ended(process).splitlines()[-1]
    assert last == (
        "KeyboardInterrupt prompts, the training judge and the held-out judge kept in "
        f"{home / 'quickstart' / SLOW.key}; the same command goes on"
    )
    assert not unfinished(home)


def test_of_two_processes_at_once_one_makes_and_the_other_waits_for_it(home):
    outputs = [ended(process) for process in [started(home, "SLOW"), started(home, "SLOW")]]
    assert sum(output.count("made the policy") for output in outputs) == 1
    assert all(is_whole(home / "quickstart" / SLOW.key / name) for name in ALL)
    assert not unfinished(home)


def test_without_locks_the_first_of_two_wins_and_the_other_one_takes_it(home, monkeypatch):
    """As on Windows, which has no fcntl. The other one ends while this one still writes."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    write = Path.write_text

    def late(path: Path, *arguments: Any, **keys: Any) -> int:
        count = write(path, *arguments, **keys)
        if path.name == "whole.json" and not (there := home / "quickstart" / TINY.key / "prompts").exists():
            shutil.copytree(path.parent, there)
        return count

    monkeypatch.setattr(Path, "write_text", late)
    assert is_whole(make_parts(["prompts"], str, TINY)["prompts"])
    assert not unfinished(home)


# --- bad days -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["home", "folder"])
def test_a_home_that_cannot_be_written_is_one_clear_line(home, what):
    if what == "home":
        home.write_text("I am a file")
    else:
        home.mkdir()
        (home / "quickstart").write_text("I am a file")
    with pytest.raises(InputError, match=r"RLAIF_HOME: .* name a folder that can be written") as refused:
        make_parts(ALL, str, TINY)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("limit", "left"), [(1_000, "nothing was made yet"), (15_000, "prompts kept in")])
def test_a_full_disk_is_one_clear_line_that_says_what_is_kept(home, limit, left):
    """The limit on the size of files is the system's own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(RlaifError) as failed:
            make_parts(["prompts", "judge"], str, TINY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    message = str(failed.value)
    assert failed.value.exit_status == 1
    assert message.startswith(f"{home / 'quickstart' / TINY.key}: ")
    assert "\n" not in message
    for words in ("cannot be written: ", left, "free space", "RLAIF_HOME", "begin again"):
        assert words in message
    assert not unfinished(home)
    make_parts(["prompts", "judge"], str, TINY)  # goes on once there is room


def test_nothing_is_downloaded(home):
    """Every connection fails, and the hub's client does not know that it is offline."""
    blocked = """
import socket
def refuse(*arguments, **keys):
    print("ASKED", arguments)
    raise OSError("no network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
"""
    use = """
folders = {name: str(folder) for name, folder in make_parts(ALL, str, TINY).items()}
from rlaif import load_judge
from rlaif.policy.loading import load
from rlaif.core.types import Sample
load(folders["policy"])
for name in ("judge", "held_out"):
    load_judge({"adapter": "classifier", "name": name, "model": folders[name], "bad": "toxic"})([Sample("You fool.")])
print("used")
"""
    before = f"{blocked}\nfrom rlaif.judges.quickstart.cache import make_parts\n{use}"
    process = started(home, "TINY", before, HF_HUB_OFFLINE="0")
    out = ended(process)
    assert "used" in out
    assert "ASKED" not in out


# --- in a run file ------------------------------------------------------------------------------------------------


def test_a_run_file_that_names_no_part_is_left_as_it_is(home):
    config = config_of(guard={"judges": ["toxicity"]}, evaluation={"judges": [{"adapter": "constant"}]})
    assert quickstart.resolve(config, pytest.fail) is config
    assert not home.exists()


def test_the_recipe_names_its_parts_and_resolved_it_loads(made):
    resolved = quickstart.resolve(read_run(RECIPE), pytest.fail, TINY)
    folder = made / "quickstart" / TINY.key
    assert resolved.policy.model == str(folder / "policy")
    assert resolved.judge["model"] == str(folder / "judge")
    assert [card["model"] for card in resolved.guard.judges] == [str(folder / "held_out")]
    assert resolved.guard.judges == resolved.evaluation.judges
    assert "quickstart:" not in str(resolved)
    tokenizer = load(resolved.policy.model, dtype="float32").tokenizer
    parts = load_parts(resolved.data, tokenizer, guard_prompts=64, test_prompts=250)
    assert len(parts.train) + len(parts.guard) + len(parts.test) == TINY.prompts


def test_a_part_may_stand_inside_a_panel(made):
    card = {"adapter": "classifier", "model": "quickstart:judge", "bad": "toxic"}
    panel = {"adapter": "panel", "combine": "mean", "judges": [{"judge": card, "weight": 2}, {"judge": "length"}]}
    resolved = quickstart.resolve(config_of(judge=panel), pytest.fail, TINY)
    assert resolved.judge["judges"][0]["judge"]["model"] == str(made / "quickstart" / TINY.key / "judge")
    assert resolved.judge["judges"][1] == {"judge": "length"}
    assert card["model"] == "quickstart:judge"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"policy": {"model": "quickstart:polcy"}}, "policy.model: quickstart:polcy is no part"),
        ({"data": {"dataset": "quickstart:judge"}}, "data.dataset: quickstart:judge is no part"),
        (
            {"guard": {"judges": [{"adapter": "classifier", "model": "quickstart:policy"}]}},
            "guard.judges.0.model: quickstart:policy is no part of the quickstart that goes here; "
            "name quickstart:judge or quickstart:held_out",
        ),
    ],
)
def test_a_part_that_there_is_not_is_refused_before_anything_is_made(home, keys, message):
    with pytest.raises(RlaifError) as refused:
        quickstart.resolve(config_of(**keys), pytest.fail)
    assert str(refused.value).startswith(message)
    assert not home.exists()


def test_naming_the_parts_loads_no_torch():
    code = "import sys; import rlaif.judges.quickstart.quickstart; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
