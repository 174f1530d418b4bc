"""The guard: it looks every few steps, warns when only the training score rises, and keeps the best model."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from rlaif.core.config.sections import GuardSection
from rlaif.core.errors import InputError, RlaifError
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleSide
from rlaif.core.types import Judgement, Sample
from rlaif.training.loop.checkpoint.weights import WeightsFolder
from rlaif.training.loop.trainer import Callback
from rlaif.training.ppo.trainer import PPOTrainer
from rlaif.training.run.guard.check import Checker
from rlaif.training.run.guard.guard import Guard
from tests.policies import Folder
from tests.trainers import Watch, lines_of, trainer_of, weights_of

WIDE: dict[str, Any] = {
    "every": 1, "distinct_2": 0.0, "length": [0.0, 1e9], "perplexity": [0.0, 1e9], "score_drop": 1.0, "follow": 0.0,
}  # fmt: skip
"""A section that no look leaves."""


class Scripted:
    """A judge that says the next number at each look, of all samples alike; None is an abstention."""

    has_logit, remote, reads = False, False, frozenset[str]()

    def __init__(self, name: str, scores: Sequence[float | None], measures: str = "quality") -> None:
        self.name, self.identity, self.measures, self._scores = name, name, measures, list(scores)
        self.looks = 0

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        score = self._scores[min(self.looks, len(self._scores) - 1)]
        self.looks += 1
        silent = Judgement(self.name, None, status="declined")
        return [silent if score is None else Judgement(self.name, score) for _ in samples]


class Role:
    """As `rlaif.evaluation.roles.Role`, of a judge that is no card's."""

    def __init__(self, judge: Scripted, kind: str, selects: bool) -> None:
        self.judge, self.kind, self.used_for_selection = judge, kind, selects
        self.name, self.measures = judge.name, judge.measures


def guarded(
    folder: Path,
    model: Path,
    held_out: Sequence[float | None],
    training: Sequence[float | None] = (0.5,),
    *,
    steps: int = 3,
    section: dict[str, Any] | None = None,
    bands: dict[str, Any] = WIDE,
    others: Sequence[Scripted] = (),
    given: dict[str, Any] | None = None,
    first: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
    **args: Any,
) -> tuple[PPOTrainer, Guard]:
    """
    A trainer with a guard, whose judges say these numbers at its looks.

    `others` are further judges that watch; `first` and `callbacks` are called before the guard and after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    roles: list[Any] = [
        Role(Scripted("learned", training), "training", False), Role(Scripted("held", held_out), "held_out", True),
        *(Role(judge, "held_out", True) for judge in others),
    ]  # fmt: skip
    trainer = trainer_of(model, folder, steps=steps, given=given or {}, **args)
    guard = Guard(trainer.prompts, roles, GuardSection(**{**bands, **(section or {})}), folder)
    trainer.callbacks = (*first, guard, *callbacks)
    return trainer, guard


def looks_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "guard.jsonl").read_text().splitlines()]


@pytest.fixture
def llama(policy_folder: Folder) -> Path:
    return policy_folder("llama")


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- when it looks ------------------------------------------------------------------------------------------------


def test_it_looks_before_training_every_few_steps_and_at_the_last_one(llama, tmp_path):
    trainer, _ = guarded(tmp_path, llama, [0.5], steps=5, section={"every": 2})
    trainer.train()
    assert [look["step"] for look in looks_of(tmp_path)] == [0, 2, 4, 5]
    assert [line["step"] for line in lines_of(tmp_path) if "guard" in line] == [2, 4, 5]
    (line, *_) = [line for line in lines_of(tmp_path) if "guard" in line]
    assert line["guard"]["score"] == 0.5
    assert line["guard"]["judges"]["held"]["role"] == "held_out"
    assert set(line["guard"]) == {"judges", "score", "distinct_2", "length", "perplexity"}


def test_all_looks_answer_the_same_prompts_with_the_same_numbers_drawn(llama, tmp_path):
    trainer, _ = guarded(tmp_path, llama, [0.5], learning_rate=1e-12, critic_warmup_steps=3)
    trainer.train()
    first, *others = [look["completions"] for look in looks_of(tmp_path)]
    assert all(look == first for look in others)
    assert len(set(first)) > 1


def test_training_is_the_same_with_a_guard_and_without(llama, tmp_path):
    watched, _ = guarded(tmp_path / "watched", llama, [0.1, 0.2, 0.3, 0.4])
    watched.train()
    alone = trainer_of(llama, tmp_path / "alone", steps=3)
    alone.train()
    assert equal(weights_of(watched), weights_of(alone))


# --- which model is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "t5"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_model_that_is_kept_is_the_best_by_the_guard_and_not_the_last(
    lora, architecture, policy_folder, tmp_path, capsys
):
    from peft import LoraConfig
    from safetensors.torch import load_file

    at: dict[int, Any] = {}

    def keep(trainer: PPOTrainer, metrics: dict[str, Any]) -> None:
        at[metrics["step"]] = weights_of(trainer)
        trainer.save_model(tmp_path / f"model-{metrics['step']}")

    given = {"peft_config": LoraConfig(r=4, lora_alpha=8)} if lora else {}
    trainer, guard = guarded(
        tmp_path / "run", policy_folder(architecture), [0.3, 0.4, 0.8, 0.5], given=given, callbacks=[Watch(keep)],
    )  # fmt: skip
    trainer.train()
    assert guard.best.step == 2
    assert equal(weights_of(trainer), at[2])
    assert not equal(at[2], at[3])
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    kept, second, last = (
        load_file(folder / name) for folder in (tmp_path / "run/model", tmp_path / "model-2", tmp_path / "model-3")
    )
    assert equal(kept, second)
    assert not equal(kept, last)
    assert "kept: the model of step 2, the best by the guard (learned 0.500, held 0.800), not the last" in (
        capsys.readouterr().err
    )
    assert WeightsFolder(tmp_path / "run" / "best").steps() == {2}


def test_of_equal_ones_the_earliest_is_kept_and_the_last_one_without_a_word_where_it_is_the_best(
    llama, tmp_path, capsys
):
    trainer, guard = guarded(tmp_path / "equal", llama, [0.3, 0.8, 0.8, 0.8])
    trainer.train()
    assert guard.best.step == 1
    capsys.readouterr()
    trainer, guard = guarded(tmp_path / "last", llama, [0.3, 0.4, 0.5, 0.6])
    trainer.train()
    assert guard.best.step == 3
    assert "kept:" not in capsys.readouterr().err


def test_where_nothing_was_better_the_model_is_what_it_was_before_training_and_that_is_said(llama, tmp_path, capsys):
    trainer, guard = guarded(tmp_path, llama, [0.5, 0.4, 0.5, 0.1])
    before = weights_of(trainer)
    trainer.train()
    assert guard.best.step == 0
    assert equal(weights_of(trainer), before)
    assert "kept: the model as it was before training: the guard saw none that was better" in capsys.readouterr().err


def test_a_better_score_outside_a_band_is_not_kept(llama, tmp_path):
    trainer, guard = guarded(tmp_path, llama, [0.5, 0.6, 0.9, 0.9], section={"length": [0.0, 1e-9]})
    trainer.train()
    assert guard.best.step == 0


def test_the_mean_of_several_judges_decides(llama, tmp_path):
    other = Scripted("other", [0.5, 0.0, 0.7, 0.6])
    trainer, guard = guarded(tmp_path, llama, [0.5, 0.9, 0.6, 0.6], others=[other])
    trainer.train()
    assert guard.best.step == 2
    assert guard.best.score == pytest.approx(0.65)


# --- alarms -------------------------------------------------------------------------------------------------------


def side(completion: str, tokens: int, logprob: float, learned: float | None, held: float | None) -> SampleSide:
    def said(name: str, score: float | None) -> JudgementRecord:
        status: Any = "declined" if score is None else "ok"
        return JudgementRecord.from_judgement(Judgement(name, score, status=status))

    return SampleSide(
        completion=completion, tokens=tokens, reference_logprob=logprob * tokens, ended=True, kl=0.0,
        judgements={"learned": said("learned", learned), "held": said("held", held)},
    )  # fmt: skip


TEXT = "a b c d e f g h"
BEFORE = (TEXT, 10, -2.0, 0.5, 0.5)
BANDS = {
    "distinct-2": ((" ".join(["a b"] * 4), 10, -2.0, 0.6, 0.5), "distinct-2 is 0.29 of before (band: 0.85 and more)"),
    "longer": ((TEXT, 14, -2.0, 0.6, 0.5), "length is 1.40 of before (band: 0.75 to 1.35)"),
    "shorter": ((TEXT, 7, -2.0, 0.6, 0.5), "length is 0.70 of before (band: 0.75 to 1.35)"),
    "strange": ((TEXT, 10, -2.5, 0.6, 0.5), "perplexity is 1.65 of before (band: 0.65 to 1.5)"),
    "dull": ((TEXT, 10, -1.5, 0.6, 0.5), "perplexity is 0.61 of before (band: 0.65 to 1.5)"),
    "a drop": ((TEXT, 10, -2.0, 0.6, 0.44), "the score of held fell to 0.440, from 0.500"),
    "does not follow": ((TEXT, 10, -2.0, 0.9, 0.55), "that of held did not follow: 0.500, now 0.550"),
    "silence": ((TEXT, 10, -2.0, 0.6, None), "held abstained on all guard prompts"),
    "nothing said": (("", 10, -2.0, 0.6, 0.5), "distinct-2 is not known of before"),
    "impossible": ((TEXT, 10, -1e5, 0.6, 0.5), "perplexity is inf of before"),
}
FINE = {
    "all as before": BEFORE,
    "better by both": (TEXT, 10, -2.0, 0.9, 0.6),
    "a little of each": (TEXT, 12, -2.1, 0.55, 0.46),
    "worse by the training score": (TEXT, 10, -2.0, 0.3, 0.5),
}


def seen(
    tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch, *looks: Any, section: Any = None, **keys: Any
) -> tuple[PPOTrainer, Guard]:
    """A run whose looks are these, with the default bands or those of a section."""
    keys |= {"steps": len(looks) - 1, "bands": {"every": 1}, "section": section}
    trainer, guard = guarded(tmp_path, llama, [0.5], **keys)
    row = iter(looks)
    monkeypatch.setattr("rlaif.training.run.guard.check.measure", lambda *_, **__: [side(*next(row))] * 3)
    return trainer, guard


@pytest.mark.parametrize("what", BANDS)
def test_each_band_that_is_left_while_the_training_score_rises_is_an_alarm(what, llama, tmp_path, monkeypatch, capsys):
    look, said = BANDS[what]
    trainer, guard = seen(tmp_path, llama, monkeypatch, BEFORE, look)
    trainer.train()
    rose = look[3] - 0.5
    assert f"ALARM at step 1: the training score rose by {rose:.3f}, while {said}" in capsys.readouterr().err
    (line,) = lines_of(tmp_path)
    (alarm,) = line["alarms"]
    assert said in alarm
    assert looks_of(tmp_path)[1]["alarms"] == line["alarms"]
    assert guard.best.step == 0


@pytest.mark.parametrize("what", FINE)
def test_within_the_bands_there_is_no_alarm(what, llama, tmp_path, monkeypatch, capsys):
    trainer, _ = seen(tmp_path, llama, monkeypatch, BEFORE, FINE[what])
    trainer.train()
    assert "ALARM" not in capsys.readouterr().err
    assert lines_of(tmp_path)[0]["alarms"] == []


def test_where_the_training_score_did_not_rise_nothing_alarms_but_the_model_is_not_kept(
    llama, tmp_path, monkeypatch, capsys
):
    trainer, guard = seen(tmp_path, llama, monkeypatch, BEFORE, (TEXT, 20, -2.0, 0.5, 0.9))
    trainer.train()
    assert "ALARM" not in capsys.readouterr().err
    assert guard.best.step == 0


def test_a_drop_is_from_the_best_so_far_not_from_the_first(llama, tmp_path, monkeypatch):
    trainer, guard = seen(tmp_path, llama, monkeypatch, BEFORE, (TEXT, 10, -2.0, 0.6, 0.7), (TEXT, 10, -2.0, 0.7, 0.6))
    trainer.train()
    assert lines_of(tmp_path)[0]["alarms"] == []
    assert "the score of held fell to 0.600, from 0.700" in lines_of(tmp_path)[1]["alarms"][0]
    assert guard.best.step == 1


def test_what_could_not_be_measured_before_cannot_leave_its_band(llama, tmp_path, monkeypatch):
    word = ("word", 10, -2.0)
    trainer, guard = seen(tmp_path, llama, monkeypatch, (*word, 0.5, 0.5), (*word, 0.6, 0.6))
    trainer.train()
    assert lines_of(tmp_path)[0]["alarms"] == []
    assert guard.best.step == 1


def test_a_band_from_nothing_is_off(llama, tmp_path, monkeypatch):
    trainer, _ = seen(tmp_path, llama, monkeypatch, BEFORE, BANDS["nothing said"][0], section={"distinct_2": 0.0})
    trainer.train()
    assert lines_of(tmp_path)[0]["alarms"] == []


def test_a_band_of_the_section_acts(llama, tmp_path, monkeypatch):
    section = {"length": [0.1, 3.0], "perplexity": [0.1, 9.0], "distinct_2": 0.1, "score_drop": 0.4, "follow": 0.0}
    looks = [look for name, (look, _) in BANDS.items() if name not in ("silence", "nothing said", "impossible")]
    trainer, _ = seen(tmp_path, llama, monkeypatch, BEFORE, *looks, section=section)
    trainer.train()
    assert [line["alarms"] for line in lines_of(tmp_path)] == [[]] * len(looks)


def test_an_alarm_stops_the_run_where_the_section_says_so(llama, tmp_path, monkeypatch, capsys):
    looks = (BEFORE, BEFORE, BANDS["longer"][0], BEFORE, BEFORE)
    trainer, guard = seen(tmp_path, llama, monkeypatch, *looks, section={"on_alarm": "stop"})
    trainer.train()
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2]
    assert "stopped after step 2: alarm of the guard: the training score rose" in capsys.readouterr().err
    assert guard.best.step == 0
    assert (tmp_path / "model").is_dir()
    again, _ = seen(tmp_path, llama, monkeypatch, *looks, section={"on_alarm": "stop"})
    again.train(resume_from_checkpoint=True)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2]
    assert "stopped after step 2: alarm of the guard" in capsys.readouterr().err


# --- what chance explains -----------------------------------------------------------------------------------------

Scores = Sequence[float | None]


def checks_of(*looks: tuple[Scores, Scores], planned: int | None = None, **section: Any) -> list[GuardCheck]:
    """The checks of a run in which the judges said these scores of each prompt: those learned from, those held out."""
    roles: list[Any] = [Role(Scripted("learned", []), "training", False), Role(Scripted("held", []), "held_out", True)]
    checker, checks = Checker([], roles, GuardSection(**section)), list[GuardCheck]()
    for step, (learned, held) in enumerate(looks):
        sides = [side(TEXT, 10, -2.0, *scores) for scores in zip(learned, held, strict=True)]
        checks.append(checker.check(step, sides, checks, len(looks) - 1 if planned is None else planned))
    return checks


def test_a_run_of_which_nothing_is_true_has_a_false_alarm_in_5_of_100_cases_at_most():
    draw = random.Random(0)
    runs, alarms, old = 200, 0, 0
    for _ in range(runs):
        looks = [
            ([draw.random() for _ in range(32)], [draw.betavariate(0.4, 0.4) for _ in range(32)]) for _ in range(11)
        ]
        alarms += any(check.alarms for check in checks_of(*looks))
        means = [fmean(held) for _, held in looks]
        gains = [fmean(learned) - fmean(looks[0][0]) for learned, _ in looks]
        old += any(means[i] < max(means[:i]) - 0.05 and gains[i] > 0.01 for i in range(1, 11))
    assert alarms <= 0.05 * runs
    assert old >= 0.5 * runs  # a constant below the best so far, whatever chance does


def test_what_fools_the_judge_that_is_learned_from_is_an_alarm_however_much_scores_vary():
    draw = random.Random(0)
    looks = [
        ([min(1.0, draw.uniform(0, 0.5) + 0.05 * i) for _ in range(64)],
         [float(draw.random() < 0.8 - 0.07 * i) for _ in range(64)])
        for i in range(11)
    ]  # fmt: skip
    checks = checks_of(*looks)
    assert "the score of held fell to" in checks[-1].alarms[0]
    assert not checks[1].alarms


RISE = [0.2, 0.5, 0.2, 0.5], [0.25, 0.55, 0.25, 0.55]
SURE = [0.1, 0.1, 0.1, 0.1], [0.4, 0.5, 0.4, 0.3]  # 0.3 more, with a standard error of 0.041: p = 0.0026 by hand
FALL = [0.9, 0.9, 0.9, 0.9], [0.6, 0.6, 0.6, 0.6]


def test_the_more_checks_a_run_makes_the_surer_a_rise_has_to_be_for_an_alarm():
    looks = list(zip(SURE, FALL, strict=True))
    (*_, few) = checks_of(*looks, planned=19)
    (*_, many) = checks_of(*looks, planned=20)  # 0.05 / 20 = 0.0025
    assert few.alarms == ("the training score rose by 0.300, while the score of held fell to 0.600, from 0.900",)
    assert not many.alarms
    assert few.faults == many.faults
    assert not few.fit
    assert not many.fit


def test_a_fall_that_chance_explains_is_none_although_it_is_larger_than_score_drop():
    noisy = [0.9, 0.1, 0.9, 0.9], [0.1, 0.9, 0.5, 0.5]
    assert fmean(noisy[0]) - fmean(noisy[1]) > 0.05
    (*_, last) = checks_of(*zip(RISE, noisy, strict=True))
    assert not last.faults
    assert last.fit


def test_a_rise_of_the_training_score_that_chance_explains_sounds_no_alarm_and_need_not_be_followed():
    rise = [0.1, 0.9, 0.5, 0.5], [0.9, 0.5, 0.9, 0.5]
    assert fmean(rise[1]) - fmean(rise[0]) > 0.1
    (*_, last) = checks_of((rise[0], [0.5] * 4), (rise[1], [0.4] * 4))
    assert last.faults == ("the score of held fell to 0.400, from 0.500",)
    assert not last.alarms
    assert not last.fit
    (*_, last) = checks_of((rise[0], [0.5] * 4), (rise[1], [0.5] * 4))
    assert not last.faults
    assert last.fit


def test_only_prompts_that_were_judged_at_both_checks_are_compared():
    then, now = [0.9, 0.9, 0.9, None, 0.1], [0.6, 0.5, 0.6, 0.1, None]
    rise = [0.2] * 5, [0.5] * 5
    (*_, last) = checks_of((rise[0], then), (rise[1], now))
    assert "the score of held fell to 0.450, from 0.700" in last.alarms[0]


def test_one_prompt_shows_nothing():
    (*_, last) = checks_of(([0.2], [0.9]), ([0.8], [0.1]))
    assert not last.alarms
    assert last.fit


def test_checks_of_an_earlier_version_without_scores_are_compared_by_their_means():
    first = replace(checks_of(([0.2] * 4, [0.5] * 4))[0], scores=ABSENT, faults=ABSENT)
    assert "scores" not in first.to_json()
    roles: list[Any] = [Role(Scripted("learned", []), "training", False), Role(Scripted("held", []), "held_out", True)]
    sides = [side(TEXT, 10, -2.0, 0.3, held) for held in (0.1, 0.9, 0.4, 0.3)]
    check = Checker([], roles, GuardSection()).check(1, sides, [first], 10)
    assert "the score of held fell to 0.425, from 0.500" in check.alarms[0]


def test_patience_is_looks_without_a_better_model(llama, tmp_path, capsys):
    scores = [0.5, 0.6, 0.55, 0.6, 0.7, 0.8]
    trainer, guard = guarded(tmp_path / "run", llama, scores, steps=5, section={"patience": 2})
    trainer.train()
    assert [look["step"] for look in looks_of(tmp_path / "run")] == [0, 1, 2, 3]
    assert guard.best.step == 1
    assert "the guard saw no better model than that of step 1 in 2 checks" in capsys.readouterr().err
    trainer, _ = guarded(tmp_path / "patient", llama, scores, steps=5, section={"patience": 3})
    trainer.train()
    assert len(lines_of(tmp_path / "patient")) == 5


def test_a_judge_that_cannot_choose_is_told_before_training(llama, tmp_path):
    trainer, _ = guarded(tmp_path, llama, [None])
    with pytest.raises(RlaifError, match="held abstained on all guard prompts: nothing can be chosen by them"):
        trainer.train()


# --- going on -----------------------------------------------------------------------------------------------------


def test_a_run_that_is_gone_on_with_knows_its_looks(llama, tmp_path):
    first, _ = guarded(tmp_path, llama, [0.3, 0.9, 0.4], steps=2, save_steps=1)
    first.train()
    second, guard = guarded(tmp_path, llama, [0.5], steps=4, save_steps=1)
    second.train(resume_from_checkpoint=True)
    assert [look["step"] for look in looks_of(tmp_path)] == [0, 1, 2, 3, 4]
    assert guard.best.step == 1


@pytest.mark.parametrize("gone", ["guard.jsonl", "best", "the first line"])
def test_what_the_guard_has_to_go_on_from_is_missing(gone, llama, tmp_path):
    first, _ = guarded(tmp_path, llama, [0.3, 0.9], steps=1, save_steps=1)
    first.train()
    if gone == "guard.jsonl":
        (tmp_path / "guard.jsonl").unlink()
    elif gone == "best":
        for file in (tmp_path / "best").iterdir():
            file.unlink()
    else:
        (tmp_path / "guard.jsonl").write_text("")
    second, _ = guarded(tmp_path, llama, [0.5], steps=2)
    with pytest.raises(InputError, match=r"guard\.jsonl: what the guard saw before step 1, .* begin another one"):
        second.train(resume_from_checkpoint=True)


def test_damaged_weights_of_the_best_model_are_told_by_name(llama, tmp_path):
    class Damage(Callback):
        def on_end(self, trainer: PPOTrainer) -> None:
            (tmp_path / "best/step-000001.safetensors").write_bytes(b"nonsense")

    trainer, _ = guarded(tmp_path, llama, [0.5, 0.9, 0.1], steps=2, first=[Damage()])
    with pytest.raises(RlaifError, match=r"best/step-000001\.safetensors: is damaged"):
        trainer.train()


def test_a_flipped_bit_in_the_weights_of_the_best_model_is_found_when_they_are_put_back(llama, tmp_path):
    class Flip(Callback):
        def on_end(self, trainer: PPOTrainer) -> None:
            path = tmp_path / "best/step-000001.safetensors"
            content = bytearray(path.read_bytes())
            content[-5] ^= 1
            path.write_bytes(content)

    trainer, _ = guarded(tmp_path, llama, [0.5, 0.9, 0.1], steps=2, first=[Flip()])
    with pytest.raises(RlaifError, match=r"best/step-000001\.safetensors: is damaged: its checksum is not that in"):
        trainer.train()


def test_weights_of_an_earlier_version_without_a_checksum_are_read(tmp_path):
    folder = WeightsFolder(tmp_path / "best")
    weights = {"a": torch.arange(5.0)}
    folder.write(3, weights)
    (checksum,) = (tmp_path / "best").glob("*.sha256")
    said, name = checksum.read_text().split()
    assert said == hashlib.sha256((tmp_path / "best" / name).read_bytes()).hexdigest()
    checksum.unlink()
    assert equal(folder.read(3), weights)


def test_the_checksum_goes_with_the_weights(tmp_path):
    folder = WeightsFolder(tmp_path / "best")
    for step in (1, 2):
        folder.write(step, {"a": torch.arange(5.0)})
    folder.keep_only({2})
    assert {path.name for path in (tmp_path / "best").iterdir()} == {"step-000002.safetensors", "step-000002.sha256"}


def test_only_weights_that_may_be_wanted_are_kept(llama, tmp_path):
    held = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    steps: list[set[int]] = []

    def watch(trainer: PPOTrainer, metrics: dict[str, Any]) -> None:
        steps.append(WeightsFolder(tmp_path / "best").steps())

    trainer, _ = guarded(tmp_path, llama, held, steps=6, save_steps=2, save_total_limit=1, callbacks=[Watch(watch)])
    trainer.train()
    assert steps == [{1}, {2}, {2, 3}, {2, 4}, {4, 5}, {4, 6}]
