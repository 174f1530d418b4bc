"""Asking: remote judges begin with what is there, judges that run here get the batch, and a failure ends the wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlaif.core.errors import InputError, JudgeBug, RlaifError
from rlaif.core.types import Judge, Judgement, Sample
from rlaif.judges.asking import PendingJudgements, ask_in_chunks, ask_side_by_side
from rlaif.judges.panel import Panel, PanelCard, seats_of
from rlaif.judges.plugins import load_object
from rlaif.judges.registry import load_judge
from rlaif.judges.rewards import Rewards
from tests.remote import card_of
from tests.server import verdict

SAMPLES = [Sample("aa"), Sample("b"), Sample("cccc")]

RANK = """
batches = []

def rank(completions):
    "The share of the batch that is no longer than a completion."
    batches.append(list(completions))
    return [sum(len(other) <= len(one) for other in completions) / len(completions) for one in completions]
"""


class Local:
    """A judge that runs here and writes down the batches that it gets."""

    measures, identity, reads = "quality", "local", frozenset[str]()
    has_logit = remote = False

    def __init__(self, says: Callable[[Sample], Judgement | float] = lambda sample: 0.5, name: str = "local") -> None:
        self.says, self.name = says, name
        self.asked: list[list[str]] = []

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        self.asked.append([sample.completion for sample in samples])
        said = [self.says(sample) for sample in samples]
        return [one if isinstance(one, Judgement) else Judgement(self.name, one) for one in said]


class Remote(Local):
    remote = True


@pytest.fixture
def rank(tmp_path: Path) -> str:
    (tmp_path / "ranking.py").write_text(RANK)
    return f"{tmp_path / 'ranking.py'}:rank"


def panel_of(*members: dict[str, Any], **keys: Any) -> Judge:
    return load_judge({"adapter": "panel", "judges": list(members), **keys})


def batches_of(function: str) -> list[list[str]]:
    """The batches that the ranking function got."""
    batches: list[list[str]] = load_object(function.replace(":rank", ":batches"), Path(), "test")
    return batches


def four_of_five(request: Any) -> Any:
    return verdict(request, 4)


def learned(judge: Judge, samples: Sequence[Sample] = SAMPLES, **keys: Any) -> list[float | None]:
    rewards = Rewards(judge)
    pending = rewards.begin(len(samples))
    for row in reversed(range(len(samples))):  # they end in any order
        pending.add(row, samples[row], [4 + row])
    return rewards.combine(pending.result(**keys))


# --- a panel with a remote member ---------------------------------------------------------------------------------


def test_in_training_a_local_member_of_a_panel_gets_the_batch_and_a_remote_one_each_completion(rank, server, nobody):
    server.behaviour = four_of_five  # 0.75
    judge = panel_of(card_of(server), {"adapter": "python", "function": rank})
    # "aa" is at least as long as 2 of 3, "b" as 1 of 3, "cccc" as all; the mean with 3/4
    assert learned(judge) == pytest.approx([17 / 24, 13 / 24, 21 / 24], abs=1e-12)
    assert batches_of(rank) == [["aa", "b", "cccc"]]
    assert len(server.calls) == 3


def test_a_panel_inside_a_panel_is_asked_member_by_member_too(rank, server, nobody):
    server.behaviour = four_of_five
    inner = {"adapter": "panel", "name": "inner", "judges": [card_of(server), {"adapter": "python", "function": rank}]}
    judge = panel_of(inner, {"adapter": "constant", "name": "half"}, combine="min")
    assert learned(judge) == [0.5, 0.5, 0.5]
    judge = panel_of(inner, {"adapter": "constant", "name": "half"})
    assert learned(judge) == pytest.approx([29 / 48, 25 / 48, 33 / 48], abs=1e-12)
    assert batches_of(rank) == [["aa", "b", "cccc"]] * 2


def test_a_panel_of_local_judges_gets_the_batch_as_a_whole(rank):
    judge = panel_of({"adapter": "python", "function": rank}, {"adapter": "constant", "name": "half"})
    assert learned(judge) == pytest.approx([7 / 12, 5 / 12, 9 / 12], abs=1e-12)
    assert batches_of(rank) == [["aa", "b", "cccc"]]


def test_in_a_measurement_a_local_member_of_a_panel_gets_all_batches_as_one(rank, server, nobody):
    server.behaviour = four_of_five
    judge = panel_of(card_of(server), {"adapter": "python", "function": rank})
    with PendingJudgements([judge]) as pending:
        pending.add([5, 3], SAMPLES[:2])
        pending.add([4], SAMPLES[2:])
        found = pending.judgements_by_row(patience=0.0, poll=lambda: None)
    scores = {row: judgements["panel"].score for row, judgements in found.items()}
    assert scores == pytest.approx({5: 17 / 24, 3: 13 / 24, 4: 21 / 24}, abs=1e-12)
    assert batches_of(rank) == [["aa", "b", "cccc"]]


def test_equal_completions_of_a_panel_are_a_batch_for_its_local_member_and_one_call_for_its_remote_one(
    rank, server, nobody
):
    server.behaviour = four_of_five
    judge = panel_of(card_of(server), {"adapter": "python", "function": rank})
    assert learned(judge, [Sample("x"), Sample("x"), Sample("yy")]) == pytest.approx([17 / 24, 17 / 24, 21 / 24])
    assert batches_of(rank) == [["x", "x", "yy"]]
    assert len(server.calls) == 2


def test_a_member_that_was_down_is_asked_again_alone_and_the_batch_is_not(rank, server, nobody):
    recovered = threading.Event()
    server.behaviour = lambda request: four_of_five(request) if recovered.is_set() else "error_503"
    judge = panel_of(card_of(server, total_timeout=0.2), {"adapter": "python", "function": rank})

    def poll() -> None:
        if batches_of(rank):  # both have been asked
            recovered.set()

    assert learned(judge, patience=30.0, poll=poll) == pytest.approx([17 / 24, 13 / 24, 21 / 24], abs=1e-12)
    assert batches_of(rank) == [["aa", "b", "cccc"]]


def test_a_local_member_that_was_down_gets_the_whole_batch_again(server, nobody):
    answers = iter([Judgement("local", None, status="unavailable")] * 3 + [Judgement("local", 0.25)] * 3)
    local, card = Local(lambda _: next(answers)), PanelCard(adapter="panel", name="panel", judges=["a", "b"])
    server.behaviour = four_of_five
    judge = Panel(card, seats_of(card), [load_judge(card_of(server)), local])
    assert learned(judge, patience=30.0) == [0.5, 0.5, 0.5]
    assert local.asked == [["aa", "b", "cccc"]] * 2
    assert len(server.calls) == 3


def test_a_panel_that_answers_without_the_member_that_is_down_is_not_waited_for(rank, server, nobody):
    server.behaviour = "error_503"
    judge = panel_of(card_of(server, total_timeout=0.1), {"adapter": "python", "function": rank}, quorum=1)
    start = time.monotonic()
    assert learned(judge, patience=600.0) == pytest.approx([2 / 3, 1 / 3, 1], abs=1e-12)
    assert time.monotonic() - start < 30


# --- when and with what judges are asked --------------------------------------------------------------------------


def test_in_a_measurement_a_call_is_made_of_what_is_added_and_a_local_judge_gets_all_in_the_order_of_adding():
    remote, local = Remote(name="remote"), Local()
    with PendingJudgements([remote, local]) as pending:
        pending.add([2, 0], [SAMPLES[2], SAMPLES[0]])
        pending.add([1], [SAMPLES[1]])
        deadline = time.monotonic() + 10
        while len(remote.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert sorted(remote.asked) == [["b"], ["cccc", "aa"]]
        assert not local.asked
        found = pending.judgements_by_row(patience=0.0, poll=lambda: None)
    assert local.asked == [["cccc", "aa", "b"]]
    assert list(found) == [2, 0, 1]
    assert {name for judgements in found.values() for name in judgements} == {"remote", "local"}


@pytest.mark.parametrize("status", ["unavailable", "timeout"])
def test_a_measurement_ends_where_one_batch_of_many_could_not_reach_a_judge(status):
    def says(sample: Sample) -> Judgement | float:
        return 1.0 if sample.completion != "b" else Judgement("far", None, status=status, reason="gone")

    with PendingJudgements([Remote(says, "far")]) as pending:
        for row, sample in enumerate([*SAMPLES] * 3):
            pending.add([row], [sample])
        with pytest.raises(RlaifError, match=r"judge far stayed down for 0 s: gone"):
            pending.judgements_by_row(patience=0.0, poll=lambda: None)


def test_a_local_judge_that_says_that_it_is_down_has_abstained():
    judge = Local(lambda _: Judgement("local", None, status="unavailable"))
    with PendingJudgements([judge]) as pending:
        pending.add([0], SAMPLES[:1])
        found = pending.judgements_by_row(patience=600.0, poll=lambda: None)
    assert found[0]["local"].status == "unavailable"
    assert len(judge.asked) == 1


# --- side by side -------------------------------------------------------------------------------------------------


def test_judges_are_asked_side_by_side_each_for_all_samples():
    together = threading.Barrier(2, timeout=20)

    def says(sample: Sample) -> float:
        if sample.completion == "aa":
            together.wait()
        return len(sample.completion) / 4

    judges = [Local(says), Remote(says, "remote")]
    said = ask_side_by_side(judges, SAMPLES)
    assert [[judgement.score for judgement in one] for one in said] == [[0.5, 0.25, 1.0]] * 2
    assert [judge.asked for judge in judges] == [[["aa", "b", "cccc"]]] * 2
    with_panel = panel_of({"adapter": "constant", "name": "half"})
    (chunk,) = ask_in_chunks(SAMPLES, [with_panel])
    assert chunk[0] == SAMPLES
    assert [judgement.score for judgement in chunk[1][0]] == [0.5] * 3


@pytest.mark.parametrize("error", [ValueError("broken"), InputError("no key")])
def test_a_judge_that_fails_ends_the_wait_for_one_that_still_works(error):
    release = threading.Event()

    def fail(sample: Sample) -> float:
        raise error

    judges = [Local(lambda _: float(release.wait(30)), "slow"), Local(fail)]
    start = time.monotonic()
    try:
        with pytest.raises(type(error) if isinstance(error, InputError) else JudgeBug, match=str(error)):
            ask_side_by_side(judges, SAMPLES)
        assert time.monotonic() - start < 10
    finally:
        release.set()
