"""Rewards: what judges and functions say becomes what is learned from, and silence stays silence."""

from __future__ import annotations

import inspect
import itertools
import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rlaif.core.errors import InputError, JudgeBug, RlaifError
from rlaif.core.types import Judgement, Sample, Usage
from rlaif.data.prompts import Prompt
from rlaif.judges.asking import is_down
from rlaif.judges.rewards import Pending, Rewards, SourceReward, cost
from tests import tiny

SAMPLES = [Sample("aa", "p1", {"n": 1}), Sample("b", "p2", {"n": 2}), Sample("cccc", "p3", {"n": 3})]
IDS = [[4, 5], [6], [7, 8, 9, 10]]


class Fake:
    """A judge that answers by a function of the sample, and writes down what it was asked, when, in which thread."""

    measures = "quality"
    identity = "fake"
    reads: frozenset[str] = frozenset()

    def __init__(
        self,
        says: Callable[[Sample], Judgement | float | None] = lambda sample: 0.5,
        *,
        name: str = "fake",
        remote: bool = True,
        has_logit: bool = False,
    ) -> None:
        self.says, self.name, self.remote, self.has_logit = says, name, remote, has_logit
        self.asked: list[list[str]] = []
        self.threads: list[str] = []

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        self.asked.append([sample.completion for sample in samples])
        self.threads.append(threading.current_thread().name)
        return [self._judgement(self.says(sample)) for sample in samples]

    def _judgement(self, said: Judgement | float | None) -> Judgement:
        if isinstance(said, Judgement):
            return said
        return Judgement(self.name, said, status="declined" if said is None else "ok", usage=Usage(usd=0.25))


def down(reason: str = "503") -> Judgement:
    return Judgement("fake", None, status="unavailable", reason=reason, usage=Usage(usd=0.0))


def begun(rewards: Rewards, samples: Sequence[Sample] = SAMPLES, ids: Sequence[Sequence[int]] | None = None) -> Pending:
    pending = rewards.begin(len(samples))
    ids = ids or [[4 + i] for i in range(len(samples))]
    for row in reversed(range(len(samples))):  # they end in any order
        pending.add(row, samples[row], ids[row])
    return pending


def learned(sources: Any, samples: Sequence[Sample] = SAMPLES, **keys: Any) -> list[float | None]:
    rewards = Rewards(sources, **keys)
    return rewards.combine(begun(rewards, samples).result())


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the time that this thread sleeps pass at once."""
    clock, sleep, waiting = Clock(), time.sleep, threading.current_thread()

    def pass_at_once(seconds: float) -> None:
        if threading.current_thread() is not waiting:
            return sleep(seconds)
        clock.now += seconds
        return None

    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", pass_at_once)
    return clock


class Clock:
    """Seconds that have passed, and when a judge was asked."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, list[float]()

    def pauses(self) -> list[float]:
        """The seconds between the times at which a judge was asked."""
        times = sorted(set(self.asked))
        return [round(later - sooner, 6) for sooner, later in itertools.pairwise(times)]


# --- numbers ----------------------------------------------------------------------------------------------------


def verdict_like(logit: float | None) -> Callable[[Sample], Judgement]:
    return lambda sample: Judgement("fake", 0.75, logit=logit)


@pytest.mark.parametrize(
    ("reward", "has_logit", "learned_from"), [("auto", True, 1.5), ("auto", False, 0.75), ("score", True, 0.75),
                                              ("logit", True, 1.5), ("score", False, 0.75)]
)  # fmt: skip
@pytest.mark.parametrize("remote", [True, False])
def test_the_logit_is_learned_from_where_there_is_one_unless_the_score_is_asked_for(
    reward, has_logit, learned_from, remote
):
    judge = Fake(verdict_like(1.5 if has_logit else None), has_logit=has_logit, remote=remote)
    rewards = Rewards(judge, reward=reward)
    (verdicts,) = begun(rewards).result()
    assert [v.reward for v in verdicts] == [learned_from] * 3
    assert [v.score for v in verdicts] == [0.75] * 3  # what is shown is the score


def test_a_logit_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="judge fake has no logit; use reward: score, or auto"):
        Rewards(Fake(), reward="logit")


def test_a_classifier_gives_its_logit(tmp_path):
    card = {"adapter": "classifier", "model": str(tiny.classifier(tmp_path)), "bad": "hate", "measures": "hate",
            "name": "tiny"}  # fmt: skip
    rewards = Rewards(card)
    (verdicts,) = begun(rewards).result()
    assert all(v.reward != v.score for v in verdicts)
    assert all(0 <= v.score <= 1 for v in verdicts if v.score is not None)
    rewards = Rewards(card, reward="score")
    assert rewards.combine(begun(rewards).result()) == [v.score for v in verdicts]


def test_rewards_are_a_weighted_sum():
    def length(completions: list[str], **_: Any) -> list[float]:
        return [float(len(c)) for c in completions]

    judge = Fake(lambda sample: 0.5)
    assert learned([length, judge]) == [2.5, 1.5, 4.5]
    assert learned([length, judge], weights=[1, -2]) == [1.0, 0.0, 3.0]
    assert learned([length, judge], weights=[0.1, 10]) == pytest.approx([5.2, 5.1, 5.4])


@pytest.mark.parametrize("weight", [1, 0])
@pytest.mark.parametrize("remote", [True, False])
def test_a_sample_on_which_any_source_abstains_has_no_reward(remote, weight):
    silent = Fake(lambda sample: None if sample.completion == "b" else 0.5, remote=remote)

    def ones(completions: list[str]) -> list[float | None]:
        return [1.0] * len(completions)

    assert learned([ones, silent], weights=[1, weight]) == [1 + 0.5 * weight, None, 1 + 0.5 * weight]


def test_none_of_a_function_is_an_abstention():
    def picky(completions: list[str]) -> list[float | None]:
        return [None, 0.0, -3.0]

    rewards = Rewards(picky)
    (verdicts,) = begun(rewards).result()
    assert [(v.reward, v.score, v.status) for v in verdicts] == [
        (None, None, "declined"), (0.0, 0.0, "ok"), (-3.0, -3.0, "ok"),
    ]  # fmt: skip
    assert rewards.combine([verdicts]) == [None, 0.0, -3.0]


# --- what is taken as a source ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "weights", "words"),
    [
        ([], None, "reward_funcs: is empty; name a judge or a function"),
        (5, None, "reward_funcs: should be judges, cards or functions, not 5"),
        ([Fake(), None], None, "reward_funcs: should be judges, cards or functions, not None"),
        ([Fake()], [1, 2], "reward_weights: 2 weights for 1 reward_funcs"),
        ([Fake(), Fake()], None, "fake"),
        ("no_such_card", None, "no_such_card"),
    ],
)
def test_what_is_no_source_is_refused(sources, weights, words):
    with pytest.raises(InputError, match=re.escape(words)):
        Rewards(sources, weights)


def test_columns_that_a_source_reads_have_to_be_there():
    def compare(completions: list[str], prompts: list[str], reference: list[str]) -> list[float]:
        return [0.0] * len(completions)

    rewards = Rewards(compare)
    rewards.refuse_lacking([Prompt("p", [1], {"reference": "r"})])
    with pytest.raises(InputError, match="judge compare needs the column 'reference' of the data; there are: n"):
        rewards.refuse_lacking([Prompt("p", [1], {"reference": "r"}), Prompt("q", [2], {"n": 1})])
    with pytest.raises(InputError, match="there are: none beside the prompt"):
        rewards.refuse_lacking([Prompt("p", [1])])


def test_loading_asks_nothing_of_functions_and_an_empty_batch_of_judges():
    judge = Fake()
    Rewards([judge, max]).load()
    assert judge.asked == [[]]


# --- functions of TRL's contract ----------------------------------------------------------------------------------


def test_a_function_gets_exactly_the_keywords_that_it_accepts():
    got: dict[str, dict[str, Any]] = {}

    def all_of_it(**given: Any) -> list[float]:
        got["all"] = given
        return [0.0] * 3

    def few(completions: list[str], n: list[int]) -> list[float]:
        got["few"] = {"completions": completions, "n": n}
        return [0.0] * 3

    def ids(prompts: list[str], completion_ids: list[list[int]], missing: Any = "default") -> list[float]:
        got["ids"] = {"prompts": prompts, "completion_ids": completion_ids, "missing": missing}
        return [0.0] * 3

    rewards = Rewards([all_of_it, few, ids])
    begun(rewards, ids=IDS).result()
    texts = {"prompts": ["p1", "p2", "p3"], "completions": ["aa", "b", "cccc"]}
    assert got["all"] == {**texts, "completion_ids": IDS, "n": [1, 2, 3]}
    assert got["few"] == {"completions": ["aa", "b", "cccc"], "n": [1, 2, 3]}
    assert got["ids"] == {"prompts": ["p1", "p2", "p3"], "completion_ids": IDS, "missing": "default"}


def three_for_two(completions: list[str]) -> list[float]:
    return [0.0] * (len(completions) + 1)


def nan(completions: list[str]) -> list[float]:
    return [math.nan] * len(completions)


def infinite(completions: list[str]) -> list[float]:
    return [math.inf] * len(completions)


def text(completions: list[str]) -> list[Any]:
    return ["good"] * len(completions)


def nothing(completions: list[str]) -> None:
    return None


def raises(completions: list[str]) -> list[float]:
    raise KeyError("oh")


@pytest.mark.parametrize(
    ("function", "offset", "words"),
    [
        (three_for_two, 0, "returned 4 rewards for 3 completions; return one for each"),
        (nan, 0, "returned nan; return a finite number, or None to abstain"),
        (infinite, 0, "returned inf; return a finite number, or None to abstain"),
        (text, 0, "returned 'good', which is no number"),
        (nothing, 0, "returned None; return a list"),
        (raises, 1, "KeyError: 'oh'"),
    ],
)
def test_a_function_that_breaks_its_contract_is_told_with_file_and_line(function, offset, words):
    with pytest.raises(JudgeBug) as caught:
        learned(function)
    line = inspect.getsourcelines(function)[1] + offset
    assert words in str(caught.value)
    assert f"{__file__}:{line}" in str(caught.value)
    assert function.__name__ in str(caught.value)
    assert "\n" not in str(caught.value)


# --- when and how often a source is asked -----------------------------------------------------------------------


def test_a_remote_judge_is_asked_sample_by_sample_at_once_and_a_local_one_for_the_batch_in_order():
    remote, local = Fake(name="remote"), Fake(name="local", remote=False)
    rewards = Rewards([local, remote])
    assert rewards.any_remote
    pending = rewards.begin(3)
    pending.add(2, SAMPLES[2], IDS[2])
    deadline = time.monotonic() + 10
    while not remote.asked and time.monotonic() < deadline:
        time.sleep(0.001)
    assert remote.asked == [["cccc"]]
    assert not local.asked
    pending.add(0, SAMPLES[0], IDS[0])
    pending.add(1, SAMPLES[1], IDS[1])
    pending.result()
    assert sorted(remote.asked) == [["aa"], ["b"], ["cccc"]]
    assert local.asked == [["aa", "b", "cccc"]]
    assert local.threads == [threading.current_thread().name]
    assert threading.current_thread().name not in remote.threads


def test_remote_judges_are_asked_side_by_side():
    together = threading.Barrier(6, timeout=20)

    def wait_for_the_others(sample: Sample) -> float:
        together.wait()
        return 0.5

    judges = [Fake(wait_for_the_others, name=name) for name in ("one", "two")]
    assert learned(judges) == [1.0, 1.0, 1.0]


def test_equal_samples_are_asked_of_a_remote_judge_once_and_cost_once():
    judge = Fake()
    twice = [
        Sample("x", "p"),
        Sample("x", "p"),
        Sample("x", "q"),
        Sample("x", "p", {"reference": "r"}),
        Sample("x", "p"),
    ]
    rewards = Rewards(judge)
    verdicts = begun(rewards, twice).result()
    assert len(judge.asked) == 3
    assert [v.score for v in verdicts[0]] == [0.5] * 5
    assert [v.usage.usd for v in verdicts[0]] == [0.25, 0.0, 0.25, 0.25, 0.0]
    assert [v.usage.attempts for v in verdicts[0]] == [1, 0, 1, 1, 0]
    assert cost(verdicts) == 0.75


def test_the_cost_of_an_unknown_price_is_unknown():
    known, unknown = (SourceReward(1.0, 1.0, "ok", Usage(usd=usd)) for usd in (0.5, None))
    assert cost([[known, known], [known]]) == 1.5
    assert cost([[known], [unknown]]) is None
    assert cost([]) == 0


class Weird(Exception):
    pass


@pytest.mark.parametrize("error", [Weird("broken"), RlaifError("budget spent"), InputError("no key")])
def test_what_a_judge_raises_in_its_thread_surfaces(error):
    release = threading.Event()

    def says(sample: Sample) -> float:
        if sample.completion == "b":
            raise error
        release.wait(20)  # another still hangs
        return 0.5

    start = time.monotonic()
    try:
        with pytest.raises(JudgeBug if isinstance(error, Weird) else type(error)) as caught:
            learned(Fake(says))
        assert time.monotonic() - start < 10
    finally:
        release.set()
    assert str(error) in str(caught.value)
    if isinstance(error, Weird):
        assert str(caught.value).startswith(f"judge fake raised at {__file__}:")


def test_a_poll_that_raises_ends_the_wait():
    release = threading.Event()
    judge = Fake(lambda sample: 0.5 if release.wait(20) else None)

    def poll() -> None:
        raise KeyboardInterrupt

    pending = begun(Rewards(judge))
    try:
        with pytest.raises(KeyboardInterrupt):
            pending.result(poll=poll)
    finally:
        release.set()


def test_cancelling_asks_no_further():
    first = threading.Event()
    judge = Fake(lambda sample: 0.5 if first.wait(20) else None)
    rewards = Rewards(judge)
    pending = rewards.begin(1)  # one completion, so one thread; the rest would be queued
    for i in range(5):
        pending.add(0, Sample(str(i)), [])
    pending.cancel()
    first.set()
    time.sleep(0.05)
    assert len(judge.asked) <= 1


# --- a judge that is down ---------------------------------------------------------------------------------------


def test_a_judge_that_is_down_is_asked_again_until_it_answers_and_only_for_what_failed(no_waiting):
    tries: dict[str, int] = {}

    def says(sample: Sample) -> Judgement | float:
        tries[sample.completion] = tries.get(sample.completion, 0) + 1
        no_waiting.asked.append(no_waiting.now)
        return 0.5 if sample.completion == "aa" or tries[sample.completion] == 4 else down()

    assert learned_with_patience(Fake(says), 600) == [0.5, 0.5, 0.5]
    assert tries == {"aa": 1, "b": 4, "cccc": 4}
    assert no_waiting.pauses() == [1.0, 2.0, 4.0]  # ever more rarely


def learned_with_patience(judge: Any, patience: float, samples: Sequence[Sample] = SAMPLES) -> list[float | None]:
    rewards = Rewards(judge)
    return rewards.combine(begun(rewards, samples).result(patience=patience))


def test_after_patience_its_abstentions_stand(no_waiting):
    def says(sample: Sample) -> Judgement:
        no_waiting.asked.append(no_waiting.now)
        return down()

    judge = Fake(says)
    rewards = Rewards(judge)
    (verdicts,) = begun(rewards).result(patience=100)
    assert [(v.reward, v.status, v.reason) for v in verdicts] == [(None, "unavailable", "503")] * 3
    assert is_down(verdicts)
    pauses = no_waiting.pauses()
    assert sum(pauses) == pytest.approx(100) == no_waiting.now
    assert max(pauses) <= 30
    assert len(judge.asked) == 3 * (1 + len(pauses))


def test_without_patience_a_judge_is_asked_once(no_waiting):
    judge = Fake(lambda sample: down())
    assert learned_with_patience(judge, 0) == [None] * 3
    assert len(judge.asked) == 3
    assert no_waiting.now == 0


def test_a_judge_that_fails_on_a_few_is_not_waited_for(no_waiting):
    judge = Fake(lambda sample: down() if sample.completion == "b" else 0.5)
    assert learned_with_patience(judge, 600) == [0.5, None, 0.5]
    assert no_waiting.now == 0


@pytest.mark.parametrize("status", ["refused", "unparsable", "over_budget", "declined"])
def test_other_abstentions_are_never_asked_again(no_waiting, status):
    judge = Fake(lambda sample: Judgement("fake", None, status=status))
    assert learned_with_patience(judge, 600) == [None] * 3
    assert len(judge.asked) == 3
    assert no_waiting.now == 0


def test_equal_samples_are_asked_again_once_each_by_their_columns(no_waiting):
    asked: list[tuple[str, Any]] = []

    def says(sample: Sample) -> Judgement | float:
        asked.append((sample.completion, sample.columns.get("n")))
        return down() if asked.count(asked[-1]) == 1 else sample.columns["n"] / 10

    samples = [Sample("x", "p", {"n": n}) for n in (1, 2, 1)]
    rewards = Rewards(Fake(says))
    verdicts = begun(rewards, samples).result(patience=600)
    assert rewards.combine(verdicts) == [0.1, 0.2, 0.1]
    assert len(asked) == 4
    assert cost(verdicts) == 0.5


def test_a_poll_that_raises_ends_the_patience():
    judge = Fake(lambda sample: down())
    start, calls = time.monotonic(), []

    def poll() -> None:
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begun(Rewards(judge)).result(patience=600, poll=poll)
    assert time.monotonic() - start < 10


def test_a_bug_while_asking_again_surfaces(no_waiting):
    seen: list[str] = []

    def says(sample: Sample) -> Judgement:
        seen.append(sample.completion)
        if len(seen) > 3:
            raise Weird("broken later")
        return down()

    with pytest.raises(JudgeBug, match="broken later"):
        learned_with_patience(Fake(says), 600)


@pytest.mark.parametrize("remote", [True, False])
@pytest.mark.parametrize("times", [0, 2])
def test_a_judge_that_answers_for_another_number_of_samples_is_a_bug(remote, times):
    class Broken(Fake):
        def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
            return super().__call__(samples) * times

    with pytest.raises(JudgeBug, match=r"judge fake: returned \d judgements for \d samples"):
        learned(Broken(remote=remote))
