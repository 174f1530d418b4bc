"""Checkpoints: there whole or not at all, exact to the bit, and never believed without a checksum."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import random
import re
import resource
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlaif.core.errors import RlaifError
from rlaif.core.system.files import cut_back, write_atomically
from rlaif.training.loop.checkpoint.checkpoint import TrainingState, newest, save
from tests.remote import ended, started


def state_of(step: int, size: int = 100) -> TrainingState:
    """A state that shows its step in every number."""
    policy = {"weight": torch.full((size,), float(step)), "count": torch.tensor(step)}
    return TrainingState(
        step, {"policy": policy, "optimizer": {"moment": torch.full((2, size), float(step))}}, {"seen": step}
    )


def is_of(state: TrainingState | None, step: int) -> bool:
    assert state is not None
    return (
        state.step == step
        and state.facts == {"seen": step}
        and {stem: set(tensors) for stem, tensors in state.tensors.items()}
        == {"policy": {"weight", "count"}, "optimizer": {"moment"}}
        and all(bool((tensor == step).all()) for tensors in state.tensors.values() for tensor in tensors.values())
    )


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is saved comes back ---------------------------------------------------------------------------------

BASE = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
TENSORS = {
    "float64": torch.tensor([0.1, -0.0], dtype=torch.float64),
    "float32": torch.tensor([math.nan, math.inf, 1e-45, -0.0]),
    "float16": torch.tensor([0.1, 65504], dtype=torch.float16),
    "bfloat16": torch.tensor([0.1, 3e38, 7], dtype=torch.bfloat16),
    "float8": torch.tensor([0.5, 448]).to(torch.float8_e4m3fn),
    "int64": torch.tensor([-(2**63), 2**63 - 1]),
    "int32": torch.tensor([[-1]], dtype=torch.int32),
    "int8": torch.tensor([-128], dtype=torch.int8),
    "uint8": torch.get_rng_state(),
    "bool": torch.tensor([True, False, True]),
    "no dimension": torch.tensor(0.1),
    "empty": torch.zeros(0, 3),
    "transposed": BASE.T,
    "every second": BASE[:, ::2],
    "expanded": torch.tensor([[1.5], [2.5]]).expand(2, 3),
    "part of the storage": BASE[1],
    "requires a gradient": BASE[2:].clone().requires_grad_(),
    'a "name" of é': torch.ones(1),
}


def test_every_kind_of_tensor_comes_back_bit_for_bit(tmp_path):
    place = save(tmp_path / "checkpoints", TrainingState(40, {"policy": TENSORS, "nothing": {}}, {}), keep=1)
    assert place == tmp_path / "checkpoints" / "step-000040"
    state, broken = newest(tmp_path / "checkpoints")
    assert broken == ()
    assert state is not None
    assert state.tensors["nothing"] == {}
    assert state.tensors["policy"].keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        back = state.tensors["policy"][name]
        assert (back.dtype, back.shape, back.device.type) == (tensor.dtype, tensor.shape, "cpu"), name
        assert bits(back) == bits(tensor.detach()), name


def test_the_files_are_those_of_the_safetensors_library(tmp_path):
    place = save(tmp_path, TrainingState(0, {"policy": TENSORS}, {}), keep=1)
    theirs = load_file(place / "policy.safetensors")
    assert theirs.keys() == TENSORS.keys()
    assert all(bits(theirs[name]) == bits(tensor.detach()) for name, tensor in TENSORS.items())


def test_tied_tensors_are_written_once_and_come_back_tied(tmp_path):
    weight = torch.randn(1000)
    tied = {"embed": weight, "head": weight, "view": weight.view(1000), "other": weight[:500], "copy": weight.clone()}
    place = save(tmp_path, TrainingState(1, {"policy": tied}, {}), keep=1)
    assert (place / "policy.safetensors").stat().st_size < 4 * 2500 + 1000
    state, _ = newest(tmp_path)
    assert state is not None
    back = state.tensors["policy"]
    assert {name: bits(tensor) for name, tensor in back.items()} == {name: bits(t) for name, t in tied.items()}
    assert back["head"].data_ptr() == back["embed"].data_ptr() != back["copy"].data_ptr()


def test_what_was_loaded_outlives_its_file(tmp_path):
    place = save(tmp_path, state_of(1, size=10_000), keep=1)
    state, _ = newest(tmp_path)
    for path in place.iterdir():
        path.write_bytes(b"")
    assert is_of(state, 1)


def test_facts_come_back_exactly(tmp_path):
    facts = {
        "kl_coef": 0.1 + 0.2,
        "smallest": 5e-324,
        "minus zero": -0.0,
        "large": 2**70,
        "text": 'é\ud800\n"',
        "nothing": None,
        "flags": [True, 1, 1.0],
        "": {"moments": {"mean": 1 / 3}},
    }
    save(tmp_path, TrainingState(3, {}, facts), keep=1)
    state, _ = newest(tmp_path)
    assert state is not None
    assert repr(state.facts) == repr(facts)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_fact_that_is_not_finite_is_refused_by_its_key(tmp_path, number):
    save(tmp_path, state_of(1), keep=2)
    before = content(tmp_path)
    with pytest.raises(RlaifError, match=rf"step-000002: the fact 'moments\.1\.mean' is {number}.*earlier .* kept"):
        save(tmp_path, TrainingState(2, {}, {"moments": [{}, {"mean": number}]}), keep=2)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "facts",
    [{"a": (1, 2)}, {"a": {1: 2}}, {"a": {1, 2}}, {"a": torch.tensor(1)}],
    ids=["tuple", "key", "set", "tensor"],
)
def test_facts_that_json_would_change_are_refused(tmp_path, facts):
    with pytest.raises(TypeError, match="a"):
        save(tmp_path / "new", TrainingState(2, {}, facts), keep=2)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "tensor", [torch.zeros(2, dtype=torch.complex64), torch.zeros(2).to_sparse()], ids=["complex", "sparse"]
)
def test_a_tensor_that_the_format_cannot_hold_is_refused_by_its_name_and_leaves_nothing_behind(tmp_path, tensor):
    with pytest.raises(TypeError, match=r"policy\.safetensors: 'odd'"):
        save(tmp_path, TrainingState(2, {"first": {"a": BASE}, "policy": {"odd": tensor}}, {}), keep=2)
    assert names(tmp_path) == []


@pytest.mark.parametrize("stem", ["a/b", "../a", ".a", ""])
def test_a_stem_that_is_no_name_of_a_file_is_refused(tmp_path, stem):
    with pytest.raises(ValueError, match="no name of a file"):
        save(tmp_path / "in", TrainingState(2, {stem: {}}, {}), keep=2)
    assert content(tmp_path) == {}


@pytest.mark.parametrize(("step", "keep"), [(1, 0), (-1, 1)])
def test_no_checkpoint_kept_and_steps_below_zero_are_refused(tmp_path, step, keep):
    with pytest.raises(ValueError, match="keep"):
        save(tmp_path, TrainingState(step, {}, {}), keep=keep)


def test_writing_copies_no_file_into_memory(tmp_path):
    """What is counted is what Python allocates; torch's own memory is that of one tensor at a time by construction."""
    state = TrainingState(1, {"policy": {f"{i}": torch.ones(500_000) for i in range(10)}}, {})
    tracemalloc.start()
    save(tmp_path, state, keep=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


# --- which one is the newest ----------------------------------------------------------------------------------


def test_without_a_folder_or_with_nothing_of_ours_in_it_there_is_no_state(tmp_path):
    assert newest(tmp_path / "missing") == (None, ())
    assert newest(tmp_path) == (None, ())
    for name in ("model", "step-1", "step-0000001", "step-00000a", "step-000001.old", ".step-000001.other"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-000003").write_text("a file")
    (tmp_path / "notes.txt").write_text("mine")
    assert newest(tmp_path) == (None, ())
    save(tmp_path, state_of(2), keep=1)
    assert is_of(newest(tmp_path)[0], 2)
    assert len(names(tmp_path)) == 9


def test_the_newest_is_the_highest_number_also_beyond_six_digits(tmp_path):
    for step in (999_999, 1_000_000, 20):
        save(tmp_path, state_of(step), keep=9)
    assert is_of(newest(tmp_path)[0], 1_000_000)
    assert names(tmp_path) == ["step-000020", "step-1000000", "step-999999"]


def test_the_newest_whole_ones_are_kept(tmp_path):
    for step in (20, 40, 60, 80):
        save(tmp_path, state_of(step), keep=2)
    assert names(tmp_path) == ["step-000060", "step-000080"]
    (tmp_path / "step-000080" / "policy.safetensors").unlink()
    save(tmp_path, state_of(100), keep=2)
    assert names(tmp_path) == ["step-000060", "step-000100"]


def test_after_a_resume_from_an_older_one_the_one_just_written_is_kept(tmp_path):
    for step in (20, 40):
        save(tmp_path, state_of(step), keep=2)
    flip(tmp_path / "step-000040" / "policy.safetensors")
    save(tmp_path, state_of(30), keep=1)
    assert names(tmp_path) == ["step-000030", "step-000040"]
    assert is_of(newest(tmp_path)[0], 30)


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, TrainingState(40, {"policy": {"old": BASE}, "gone": {}}, {}), keep=2)
    save(tmp_path, state_of(40), keep=2)
    assert names(tmp_path) == ["step-000040"]
    assert is_of(newest(tmp_path)[0], 40)


def test_a_folder_that_cannot_be_listed_is_an_error_and_no_new_beginning(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(RlaifError, match=r"checkpoints: cannot be read: Not a directory; move away"):
        newest(tmp_path / "checkpoints")


# --- damage ---------------------------------------------------------------------------------------------------


def flip(path: Path, at: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit(place: Path, old: str, new: str) -> None:
    path = place / "checkpoint.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a flipped bit": (lambda p: flip(p / "policy.safetensors"), r"policy\.safetensors: the checksum is not that"),
    "a flipped bit in the header": (lambda p: flip(p / "policy.safetensors", 12), r"policy\.safetensors: the checksum"),
    "a cut file": (lambda p: cut(p / "optimizer.safetensors"), r"optimizer\.safetensors is cut"),
    "an empty file": (lambda p: (p / "policy.safetensors").write_bytes(b""), r"policy\.safetensors is cut"),
    "a grown file": (lambda p: (p / "policy.safetensors").open("ab").write(b"x"), r"policy\.safetensors is too long"),
    "a missing file": (lambda p: (p / "policy.safetensors").unlink(), r"policy\.safetensors is missing"),
    "no manifest": (lambda p: (p / "checkpoint.json").unlink(), r"checkpoint\.json is missing"),
    "a cut manifest": (lambda p: cut(p / "checkpoint.json"), r"checkpoint\.json is not JSON"),
    "a manifest of zeros": (lambda p: (p / "checkpoint.json").write_bytes(bytes(99)), r"checkpoint\.json is not JSON"),
    "a manifest too deep": (lambda p: (p / "checkpoint.json").write_text("[" * 10**6), "checkpoint.json is not JSON"),
    "a manifest of a list": (lambda p: (p / "checkpoint.json").write_text("[]"), r"checkpoint\.json is not a mapping"),
    "a changed fact": (lambda p: edit(p, '"seen": 40', '"seen": 41'), "does not have its own checksum"),
    "another format": (lambda p: edit(p, '"format": 1', '"format": 2'), "has the format 2; this rlaif reads 1"),
    "a manifest that is a folder": (
        lambda p: ((p / "checkpoint.json").unlink(), (p / "checkpoint.json").mkdir()),
        r"checkpoint\.json cannot be read: Is a directory",
    ),
    "a file that is a folder": (
        lambda p: ((p / "policy.safetensors").unlink(), (p / "policy.safetensors").mkdir()),
        r"policy\.safetensors|cannot be read",
    ),
    "the name of another step": (
        lambda p: (shutil.rmtree(p), shutil.copytree(p.with_name("step-000020"), p)),
        r"checkpoint\.json is of step 20",
    ),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_one_is_passed_over_in_one_line_for_the_next_older_whole_one(tmp_path, how):
    for step in (20, 40):
        save(tmp_path, state_of(step), keep=2)
    damage, line = DAMAGE[how]
    damage(tmp_path / "step-000040")
    before = content(tmp_path)
    state, (said,) = newest(tmp_path)
    assert is_of(state, 20)
    assert str(tmp_path / "step-000040") in said
    assert "\n" not in said
    assert content(tmp_path) == before
    assert re.search(line, said)


def test_any_flipped_bit_is_seen(tmp_path):
    save(tmp_path, state_of(20), keep=2)
    place = save(tmp_path, state_of(40), keep=2)
    draw = random.Random(0)
    for path in sorted(place.iterdir()):
        whole = path.read_bytes()
        for _ in range(40):
            at, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            state, broken = newest(tmp_path)
            # A blank of the manifest may become another blank: then it says the same.
            assert is_of(state, 20 if broken else 40)
            assert broken or (path.suffix == ".json" and whole[at : at + 1].isspace())
        path.write_bytes(whole)
    assert is_of(newest(tmp_path)[0], 40)


def test_each_of_several_broken_ones_is_named_and_without_a_whole_one_there_is_no_state(tmp_path):
    for step in (20, 40, 60):
        flip(save(tmp_path, state_of(step), keep=9) / "policy.safetensors")
    state, broken = newest(tmp_path)
    assert state is None
    assert [line.split(":")[0][-6:] for line in broken] == ["000060", "000040", "000020"]


def test_a_broken_one_is_replaced_when_the_run_comes_to_its_step_again(tmp_path):
    for step in (20, 40):
        save(tmp_path, state_of(step), keep=2)
    flip(tmp_path / "step-000040" / "policy.safetensors")
    save(tmp_path, state_of(40), keep=2)
    state, broken = newest(tmp_path)
    assert is_of(state, 40)
    assert broken == ()
    assert names(tmp_path) == ["step-000020", "step-000040"]


# --- a disk that will not have it -----------------------------------------------------------------------------


@contextlib.contextmanager
def files_no_longer_than(limit: int) -> Iterator[None]:
    """The system's own limit, which Python sees as `File too large`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB in memory, where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def refused(folder: Path, state: TrainingState, why: str) -> None:
    """The save fails in one line of this reason, and all is as it was."""
    before = content(folder) if folder.is_dir() else {}
    with pytest.raises(RlaifError) as error:
        save(folder, state, keep=1)
    message = str(error.value)
    assert "\n" not in message
    assert f"checkpoint {folder / f'step-{state.step:06d}'}: cannot be written: {why}" in message
    assert "the earlier checkpoints are kept" in message
    assert message.endswith("then go on with `--resume`")
    assert error.value.exit_status == 1
    if folder.is_dir():
        assert content(folder) == before
        assert not [name for name in names(folder) if name.startswith(".")]


@pytest.mark.parametrize("limit", [0, 100, 5_000, 39_000])
def test_a_file_that_the_system_will_not_have_is_one_clear_line_and_the_earlier_ones_are_untouched(tmp_path, limit):
    save(tmp_path, state_of(20), keep=1)
    with files_no_longer_than(limit):
        refused(tmp_path, state_of(40, size=10_000), "File too large; the earlier checkpoints are kept: free space")
        refused(tmp_path, state_of(20, size=10_000), "File too large")  # nor is the same step lost
    assert is_of(newest(tmp_path)[0], 20)
    save(tmp_path, state_of(40), keep=1)
    assert names(tmp_path) == ["step-000040"]


@pytest.mark.parametrize("room", [0, 4_096, 40_960, 90_000])
def test_a_full_disk_is_one_clear_line_and_after_freeing_space_the_run_goes_on(small_disk, room):
    folder = small_disk / "checkpoints"
    save(folder, state_of(20, size=1_000), keep=1)
    with (small_disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(small_disk / "filler", max(0, (small_disk / "filler").stat().st_size - room))
    refused(folder, state_of(40, size=10_000), "No space left on device; the earlier checkpoints are kept: free space")
    (small_disk / "filler").unlink()
    assert is_of(newest(folder)[0], 20)
    save(folder, state_of(40, size=10_000), keep=1)
    assert is_of(newest(folder)[0], 40)


def test_a_read_only_disk_is_one_clear_line_and_still_read(small_disk):
    save(small_disk, state_of(20), keep=1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused(small_disk, state_of(40), "Read-only file system; the earlier checkpoints are kept: make it readable and")
    assert is_of(newest(small_disk)[0], 20)


def test_a_folder_without_the_right_to_write_is_one_clear_line(tmp_path):
    save(tmp_path, state_of(20), keep=1)
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("needs a user who may not write everywhere")
        refused(tmp_path, state_of(40), "Permission denied; the earlier checkpoints are kept: make it readable and")
    finally:
        tmp_path.chmod(0o755)


def test_a_file_where_the_folder_should_be_is_one_clear_line(tmp_path):
    (tmp_path / "checkpoints").write_text("mine")
    refused(tmp_path / "checkpoints", state_of(20), "File exists")
    refused(tmp_path / "checkpoints" / "deeper", state_of(20), "Not a directory")
    assert (tmp_path / "checkpoints").read_text() == "mine"


def test_a_file_where_the_checkpoint_should_be_is_one_clear_line(tmp_path):
    (tmp_path / "step-000020").write_text("mine")
    refused(tmp_path, state_of(20), "Not a directory")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_what_fails_only_when_it_is_seen_to_the_disk_has_not_been_written(tmp_path, monkeypatch, number):
    save(tmp_path, state_of(20), keep=1)

    def fails(file: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        refused(tmp_path, state_of(40), os.strerror(number))
    assert is_of(newest(tmp_path)[0], 20)


def test_an_interrupted_save_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(file: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, state_of(40), keep=1)
    assert names(tmp_path) == []


def test_an_old_one_that_cannot_be_removed_is_a_warning(tmp_path, monkeypatch, caplog):
    def fails(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    save(tmp_path, state_of(20), keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", fails)
        save(tmp_path, state_of(40), keep=1)
    assert "step-000020.removed cannot be removed: Permission denied" in caplog.text
    assert is_of(newest(tmp_path)[0], 40)
    save(tmp_path, state_of(60), keep=1)
    assert names(tmp_path) == ["step-000060"]


# --- a process that is killed ---------------------------------------------------------------------------------


def test_what_killed_processes_left_behind_is_removed_and_what_was_set_aside_comes_back(tmp_path):
    save(tmp_path, state_of(20), keep=1)
    for name in (".step-000040.writing", ".step-000060.writing", ".step-000010.removed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.safetensors").write_bytes(b"half")
    (tmp_path / ".other.writing").mkdir()
    (tmp_path / "step-000020").rename(tmp_path / ".step-000020.replaced")
    state, broken = newest(tmp_path)
    assert is_of(state, 20)
    assert broken == ()
    save(tmp_path, state_of(40), keep=2)
    assert names(tmp_path) == [".other.writing", "step-000020", "step-000040"]
    shutil.copytree(tmp_path / "step-000020", tmp_path / ".step-000040.replaced")
    save(tmp_path, state_of(60), keep=2)
    assert names(tmp_path) == [".other.writing", "step-000040", "step-000060"]


HEAD = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from rlaif.training.loop.checkpoint.checkpoint import TrainingState, newest, save
torch.set_num_threads(1)  # a forked process has no other threads, and would wait for them

def state_of(step, turn, size):
    number = float(step * 1000 + turn)
    tensors = {stem: {name: torch.full((size,), number) for name in "ab"} for stem in ("policy", "optimizer")}
    return TrainingState(step, tensors, {"number": number})

def check(folder, steps):
    state, broken = newest(folder)
    assert state is not None and not broken, (state, broken)
    assert state.step in steps, (state.step, steps)
    assert all(len(os.listdir(path)) == 3 for path in folder.glob("step-*"))  # nor is half of an older one seen
    assert state.facts["number"] // 1000 == state.step
    assert list(state.tensors) == ["policy", "optimizer"]
    for tensors in state.tensors.values():
        assert sorted(tensors) == ["a", "b"]
        for tensor in tensors.values():
            assert bool((tensor == state.facts["number"]).all()), (state.step, tensor)
    return state
"""


def test_a_process_killed_at_any_operation_leaves_a_whole_checkpoint(tmp_path):
    """Each file operation of a save in turn is its last: of a new step, of the same step, with another to prune."""
    script = (
        HEAD
        + """
def killed(folder, step, at):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = [at]
    def hook(event, arguments):
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir"):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    save(folder, state_of(step, 2, 10), keep=1)
    os._exit(0)

for step in (40, 60):
    at, before = 0, None
    while True:
        folder = Path(sys.argv[1]) / f"{step}-{at}"
        save(folder, state_of(20, 1, 10), keep=2)
        save(folder, state_of(40, 1, 10), keep=2)
        was_killed = killed(folder, step, at)
        number = check(folder, {40, step}).facts["number"]
        assert number in (40001, step * 1000 + 2) and number >= (before or 0)  # old until it is new, then new
        before = number
        save(folder, state_of(step, 3, 10), keep=1)
        assert check(folder, {step}).facts["number"] == step * 1000 + 3
        assert [path.name for path in folder.iterdir()] == [f"step-{step:06d}"]
        if not was_killed:
            break
        at += 1
    assert before == step * 1000 + 2
    print(at)
"""
    )
    out, _ = ended(started(script, str(tmp_path), home=tmp_path))
    assert all(int(line) > 15 for line in out.split())


def test_a_process_killed_at_random_moments_loses_nothing_that_was_saved(tmp_path):
    script = (
        HEAD
        + """
draw, folder, left_half = random.Random(0), Path(sys.argv[1]), 0
done = 1
save(folder, state_of(done, 0, 100_000), keep=2)
for turn in range(1, 26):
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        for count in range(2, 10**6):  # each step twice
            save(folder, state_of(done + count // 2, turn, 100_000), keep=2)
            os.write(writes, b"%d " % (done + count // 2))
    os.close(writes)
    first = os.read(reads, 100)
    time.sleep(draw.uniform(0.0, 0.08))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(reads, "rb") as file:
        done = max([done, *map(int, (first + file.read()).split())])
    left_half += any(path.name.startswith(".") for path in folder.iterdir())
    done = check(folder, {done, done + 1}).step
print(left_half, done)
"""
    )
    out, _ = ended(started(script, str(tmp_path / "checkpoints"), home=tmp_path))
    left_half, done = map(int, out.split())
    assert left_half > 5
    assert done > 25


# --- single files ---------------------------------------------------------------------------------------------


def line(step: int) -> str:
    return json.dumps({"step": step, "kl": 0.1, "text": "é\u2028"}, ensure_ascii=False) + "\n"


def test_metrics_are_cut_back_to_the_step_that_the_run_goes_on_from(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(line(step) for step in range(1, 8)))
    cut_back(path, 5)
    assert path.read_text() == "".join(line(step) for step in range(1, 6))
    cut_back(path, 0)
    assert path.read_text() == ""
    assert names(tmp_path) == ["metrics.jsonl"]


@pytest.mark.parametrize(
    "torn", ['{"step": 3, "k', '{"step": 3', "\0" * 50, '"step"', "[" * 10**6, '{"kl": 1}\n', '{"step": "3"}\n', "\n"]
)
def test_a_line_torn_by_a_kill_is_dropped(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(1) + line(2) + torn)
    cut_back(path, 5)
    assert path.read_text() == line(1) + line(2)


def test_a_line_torn_within_a_character_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1).encode() + b'{"step": 2, "text": "\xc3')
    cut_back(path, 5)
    assert path.read_text() == line(1)


def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(1) + line(2).rstrip())
    cut_back(path, 5)
    assert path.read_text() == line(1) + line(2)


def test_metrics_that_need_no_cut_are_left_alone_and_missing_ones_are_fine(tmp_path):
    path = tmp_path / "metrics.jsonl"
    cut_back(path, 5)
    assert names(tmp_path) == []
    path.write_text(line(5))
    before = path.stat().st_ino
    cut_back(path, 5)
    assert path.stat().st_ino == before


def test_metrics_that_cannot_be_read_are_one_clear_line(tmp_path):
    with pytest.raises(RlaifError, match=r"cannot be read: Is a directory"):
        cut_back(tmp_path, 5)


@pytest.mark.parametrize("data", ["é\r\n", b"\xff\0", ""])
def test_a_file_is_replaced_whole(tmp_path, data):
    path = tmp_path / "run.yaml"
    write_atomically(path, "old")
    write_atomically(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert names(tmp_path) == ["run.yaml"]


def test_a_file_that_cannot_be_written_is_one_clear_line_and_the_old_one_stays(tmp_path):
    path = tmp_path / "run.yaml"
    write_atomically(path, "old")
    with files_no_longer_than(1_000), pytest.raises(RlaifError, match=r"run\.yaml: .* File too large; .*free space"):
        write_atomically(path, "x" * 5_000)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["run.yaml"]
    with pytest.raises(RlaifError, match="No such file or directory"):
        write_atomically(tmp_path / "missing" / "run.yaml", "x")
