"""What benchmarks/compare_with.py calls equal, on which a redesign relies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from performance.compare_with import ABSENT, first_difference, first_difference_of_outputs, jobs

LINE = {"step": 1, "kl": 0.1, "seconds": 0.5, "alarms": ["the score fell"], "judges": {"toy": {"statuses": {"ok": 4}}}}


def test_equal_numbers_are_equal_whatever_clocks_and_prose_say():
    other = {**LINE, "seconds": 9.0, "alarms": ["it fell, the score"], "latency_ms": {"p50": 1.0}}
    assert first_difference({**LINE, "latency_ms": {"p50": 2.0}}, other) is None


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({**LINE, "kl": 0.1 + 2**-56}, ("kl", 0.1, 0.1 + 2**-56)),
        ({**LINE, "step": 1.0}, ("step", 1, 1.0)),
        ({**LINE, "alarms": []}, ("alarms: length", 1, 0)),
        ({k: v for k, v in LINE.items() if k != "kl"}, ("kl", 0.1, ABSENT)),
        ({**LINE, "judges": {"toy": {"statuses": {"ok": 4, "empty": 1}}}}, ("judges.toy.statuses.empty", ABSENT, 1)),
    ],
)
def test_the_last_bit_a_type_a_count_and_a_key_are_differences(other, expected):
    assert first_difference(LINE, other) == expected


def test_zero_and_minus_zero_differ():
    assert first_difference({"kl": 0.0}, {"kl": -0.0}) == ("kl", 0.0, -0.0)


def output(folder: Path, kl: float = 0.1, weight: float = 0.5) -> Path:
    model = folder / "job" / "model"
    model.mkdir(parents=True)
    (folder / "job" / "metrics.jsonl").write_text(json.dumps({**LINE, "kl": kl}) + "\n")
    save_file({"w": torch.tensor([1.0, weight, float("nan")])}, model / "model.safetensors")
    return folder / "job"


def test_folders_differ_by_a_number_of_a_line_and_by_a_bit_of_a_tensor(tmp_path):
    first = output(tmp_path / "a")
    assert first_difference_of_outputs(first, output(tmp_path / "b")) is None
    assert first_difference_of_outputs(first, output(tmp_path / "c", kl=0.2)) == ("job/metrics.jsonl: [0].kl", 0.1, 0.2)
    weight = 0.5 + 2**-24
    found = first_difference_of_outputs(first, output(tmp_path / "d", weight=weight))
    assert found == ("job/model/model.safetensors: w[1]", 0.5, weight)


def test_a_file_that_one_side_lacks_and_a_job_that_wrote_nothing_are_differences(tmp_path):
    first, other = output(tmp_path / "a"), output(tmp_path / "b")
    (other / "metrics.jsonl").unlink()
    assert first_difference_of_outputs(first, other) == ("job/metrics.jsonl", "there", ABSENT)
    assert first_difference_of_outputs(tmp_path / "no" / "job", tmp_path / "none" / "job") is not None


def test_each_job_writes_to_a_place_of_its_own():
    names = [name.replace(" ", "-") for name in jobs()]
    assert len(set(names)) == len(names)
    for name, commands in zip(names, jobs().values(), strict=True):
        assert all(any(word.startswith(f"out/{name}") for word in command) for command in commands)
