"""The panel's properties: bounds, monotonicity, order, and that an abstention never becomes a number."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif import InputError, Judgement, Sample, Usage, load_judge
from rlaif.core.types import Estimate
from rlaif.judges.panel import Panel, PanelCard, combine, seats_of

SCORES = st.floats(0, 1)
COMBINES = ("mean", "min", "median", "product")


class Said:
    """A judge that says what it was told to: one answer, a score or the status of an abstention."""

    measures, has_logit, remote, reads = "quality", False, False, frozenset()

    def __init__(self, name: str, answer: float | str) -> None:
        self.name, self.identity, self.answer = name, name, answer

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        usage = Usage(input_tokens=10, usd=0.5, seconds=2.0)
        if isinstance(self.answer, str):
            return [Judgement(self.name, None, status=self.answer, usage=usage) for _ in samples]
        return [Judgement(self.name, self.answer, usage=usage) for _ in samples]


def panel(answers: Sequence[float | str], seats: Sequence[dict[str, Any]] | None = None, **keys: Any) -> Judgement:
    """What a panel says when its members say `answers`."""
    seats = seats or [{} for _ in answers]
    members = [{"judge": f"m{i}", **seat} for i, seat in enumerate(seats)]
    card = PanelCard(adapter="panel", name="p", judges=members, **keys)
    judges = [Said(f"m{i}", answer) for i, answer in enumerate(answers)]
    return Panel(card, seats_of(card), judges)([Sample("text")])[0]


# --- numbers worked out by hand -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "seats", "answers", "score"),
    [
        ({"combine": "mean"}, [{}, {}, {}], [0.0, 0.5, 1.0], 0.5),
        ({"combine": "mean"}, [{"weight": 1}, {"weight": 3}], [0.0, 1.0], 0.75),
        ({"combine": "mean"}, [{"weight": 0}, {"weight": 3}], [0.0, 1.0], 1.0),
        ({"combine": "min"}, [{}, {}, {}], [0.4, 0.2, 0.9], 0.2),
        ({"combine": "median"}, [{}, {}, {}], [0.4, 0.2, 0.9], 0.4),
        ({"combine": "median"}, [{}, {}, {}, {}], [0.4, 0.2, 0.9, 0.6], 0.5),
        ({"combine": "product"}, [{}, {}, {}], [0.5, 0.5, 0.8], 0.2),
        ({"combine": "median"}, [{"weight": 1}, {"weight": 1}, {"weight": 3}], [0.2, 0.4, 0.9], 0.9),
        ({"combine": "median"}, [{"weight": 1}, {"weight": 2}, {"weight": 3}], [0.2, 0.4, 0.9], 0.65),
        ({"combine": "median"}, [{"weight": 0}, {"weight": 1}], [0.2, 0.4], 0.4),
        ({"combine": "mean"}, [{"weight": 1e308}, {"weight": 1e308}], [0.2, 0.4], 0.3),
        # min and product take each member whole
        ({"combine": "min"}, [{"weight": 5}, {"weight": 1}], [0.4, 0.2], 0.2),
        ({"combine": "product"}, [{"weight": 5}, {"weight": 1}], [0.5, 0.2], 0.1),
        # under its veto_below a member's own score caps the panel's
        ({"combine": "mean"}, [{}, {"veto_below": 0.5}], [1.0, 0.4], 0.4),
        ({"combine": "mean"}, [{}, {"veto_below": 0.5}], [1.0, 0.5], 0.75),
        ({"combine": "mean"}, [{}, {"veto_below": 0.5}], [0.0, 0.4], 0.2),
        # with a quorum the weight moves to those who answered
        ({"combine": "mean", "quorum": 2}, [{"weight": 1}, {"weight": 3}, {"weight": 4}], [0.0, 1.0, "timeout"], 0.75),
        ({"combine": "median", "quorum": 1}, [{}, {}, {}], [0.4, "timeout", 0.2], 0.3),
    ],
)
def test_the_combined_score_is_the_one_worked_out_by_hand(keys, seats, answers, score):
    assert panel(answers, seats, **keys).score == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("keys", "seats", "answers", "status"),
    [
        ({}, [{}, {}, {}], [0.5, "timeout", "refused"], "timeout"),
        ({"quorum": 2}, [{}, {}, {}], [0.5, "timeout", "refused"], "timeout"),
        ({"quorum": 1}, [{}, {"veto_below": 0.1}], [0.5, "filtered"], "filtered"),
        ({"quorum": 1}, [{"weight": 0}, {"weight": 1}], [0.5, "unparsable"], "unparsable"),
    ],
)
def test_a_panel_abstains_with_its_first_abstaining_members_status(keys, seats, answers, status):
    judgement = panel(answers, seats, **keys)
    assert (judgement.score, judgement.status) == (None, status)
    assert status in judgement.reason
    assert len(judgement.parts) == len(answers)


def test_a_score_of_zero_by_choice_of_a_members_card_counts():
    class Filtered(Said):
        def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
            return [Judgement(self.name, 0.0, status="filtered") for _ in samples]

    card = PanelCard(adapter="panel", name="p", judges=["a", "b"])
    assert Panel(card, seats_of(card), [Filtered("a", 0), Said("b", 1.0)])([Sample("x")])[0].score == 0.5


def test_the_cost_is_the_sum_and_the_time_that_of_the_slowest():
    usage = panel([0.1, "timeout"]).usage
    assert (usage.input_tokens, usage.usd, usage.seconds, usage.attempts) == (20, 1.0, 2.0, 2)


def test_a_veto_and_an_abstention_are_said_in_the_reason():
    reason = panel([0.9, 0.2, "timeout"], [{}, {"veto_below": 0.5}, {}], quorum=2).reason
    assert "m1: 0.2 is below 0.5" in reason
    assert "m2 abstained: timeout" in reason


def test_a_text_that_a_member_cut_is_counted():
    class Cuts(Said):
        def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
            return [Judgement(self.name, 0.5, reason="read 512 of 900 tokens", shortened=True) for _ in samples]

    card = PanelCard(adapter="panel", name="p", judges=["a", "b"])
    (judgement,) = Panel(card, seats_of(card), [Cuts("a", 0), Said("b", 1.0)])([Sample("x")])
    assert (judgement.shortened, judgement.reason) == (True, "a read 512 of 900 tokens")


@pytest.mark.parametrize("how", ["mean", "median"])
def test_scores_and_weights_that_do_not_belong_together_are_refused(how):
    with pytest.raises(ValueError, match="zip"):
        combine(how, [0.1, 0.2], [1.0])


def test_a_member_that_leaves_a_sample_out_breaks_the_panel_instead_of_shifting_scores():
    class Forgets(Said):
        def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
            return super().__call__(samples[1:])

    card = PanelCard(adapter="panel", name="p", judges=["a", "b"])
    made = Panel(card, seats_of(card), [Said("a", 0.5), Forgets("b", 1.0)])
    with pytest.raises(ValueError, match="zip"):
        made([Sample("x"), Sample("y")])
    with pytest.raises(ValueError, match="zip"):
        made.combine_judgements([Judgement("a", 0.5)])


def test_a_panel_is_remote_if_a_member_is_and_reads_what_its_members_read():
    class Remote(Said):
        remote, reads = True, frozenset({"reference"})

    class Local(Said):
        reads = frozenset({"context"})

    card = PanelCard(adapter="panel", name="p", judges=["a", "b"])
    both = Panel(card, seats_of(card), [Remote("a", 0.5), Local("b", 0.5)])
    assert (both.remote, both.reads) == (True, {"reference", "context"})
    local = Panel(card, seats_of(card), [Local("a", 0.5), Local("b", 0.5)])
    assert (local.remote, local.reads) == (False, {"context"})


def test_a_panel_names_its_members_whether_they_have_a_seat_or_not():
    inner = constant("c", 1.0)
    card = PanelCard(adapter="panel", name="p", judges=["a", {"judge": "b", "weight": 2}, inner])
    assert card.members() == ["a", "b", inner]


def test_panels_that_may_score_differently_have_different_identities():
    def identity(seats: Sequence[Any] = ("a", "b"), names: str = "ab", **keys: Any) -> Any:
        card = PanelCard(adapter="panel", name=keys.pop("name", "p"), judges=list(seats), **keys)
        return Panel(card, seats_of(card), [Said(name, 0.5) for name in names]).identity

    different = [
        identity(),
        identity(combine="min"),
        identity(quorum=1),
        identity([{"judge": "a", "weight": 2}, "b"]),
        identity([{"judge": "a", "veto_below": 0.5}, "b"]),
        identity(names="ac"),
    ]
    assert len(set(different)) == len(different)
    assert identity(name="other") == identity()


def test_a_panel_estimates_what_its_members_take_together():
    class Priced(Said):
        def estimate(self, samples: Sequence[Sample]) -> Estimate:
            return Estimate(calls=len(samples), usd=0.5)

    card = PanelCard(adapter="panel", name="p", judges=["a", "b", "c"])
    made = Panel(card, seats_of(card), [Priced("a", 0.5), Said("b", 0.5), Priced("c", 0.5)])
    told = made.estimate([Sample("x"), Sample("y"), Sample("z")])
    assert (told.calls, told.usd) == (6, 1.0)


# --- properties -----------------------------------------------------------------------------------------------


@st.composite
def panels(draw: st.DrawFn, abstaining: bool = False) -> tuple[list[Any], list[dict[str, Any]], dict[str, Any]]:
    n = draw(st.integers(1, 5))
    how = draw(st.sampled_from(COMBINES))
    answer = st.one_of(SCORES, st.sampled_from(["timeout", "refused", "empty"])) if abstaining else SCORES
    answers = draw(st.lists(answer, min_size=n, max_size=n))
    weight = st.floats(0.01, 100)
    seats = [
        {k: v for k, v in (("weight", draw(weight)), ("veto_below", draw(st.none() | SCORES))) if v is not None}
        for _ in range(n)
    ]
    quorum = draw(st.integers(1, n)) if how in ("mean", "median") and draw(st.booleans()) else "all"
    return answers, seats, {"combine": how, "quorum": quorum}


@given(panels())
def test_a_score_stays_in_bounds(drawn):
    answers, seats, keys = drawn
    score = panel(answers, seats, **keys).score
    assert 0 <= score <= max(answers)
    if keys["combine"] != "product" and not any("veto_below" in seat for seat in seats):
        assert score >= min(answers)


@given(panels(), st.integers(0, 4), SCORES)
def test_a_better_member_never_makes_the_panel_worse(drawn, which, better):
    answers, seats, keys = drawn
    which %= len(answers)
    raised = [max(a, better) if i == which else a for i, a in enumerate(answers)]
    assert panel(raised, seats, **keys).score >= panel(answers, seats, **keys).score


@given(panels(abstaining=True), st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(drawn, random):
    answers, seats, keys = drawn
    order = list(range(len(answers)))
    random.shuffle(order)
    shuffled = panel([answers[i] for i in order], [seats[i] for i in order], **keys)
    assert shuffled.score == panel(answers, seats, **keys).score


@given(panels(abstaining=True))
def test_an_abstention_is_never_turned_into_a_number(drawn):
    answers, seats, keys = drawn
    judgement = panel(answers, seats, **keys)
    silent = [isinstance(answer, str) for answer in answers]
    vetoers = [i for i, seat in enumerate(seats) if "veto_below" in seat]
    if (keys["quorum"] == "all" and any(silent)) or any(silent[i] for i in vetoers):
        assert judgement.score is None
    if judgement.score is None:
        assert judgement.status in answers
    else:  # what was scored is what the others alone would have given
        spoke = [i for i, quiet in enumerate(silent) if not quiet]
        alone = panel([answers[i] for i in spoke], [seats[i] for i in spoke], combine=keys["combine"])
        assert judgement.score == alone.score


@pytest.mark.parametrize("how", COMBINES)
def test_every_order_gives_the_same_bits(how):
    scores = [0.1, 0.2, 0.3, 0.7]
    weights = [0.3, 0.1, 5.0, 0.7]
    pairs = itertools.permutations(zip(scores, weights, strict=True))
    assert len({combine(how, *zip(*order, strict=True)) for order in pairs}) == 1


# --- making one -----------------------------------------------------------------------------------------------


def constant(name: str, value: float, **keys: Any) -> dict[str, Any]:
    return {"adapter": "constant", "name": name, "value": value, **keys}


def test_members_work_side_by_side():
    meeting = threading.Barrier(3, timeout=10)  # breaks unless all three are there at once

    class Meets(Said):
        def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
            meeting.wait()
            return super().__call__(samples)

    card = PanelCard(adapter="panel", name="p", judges=["a", "b", "c"])
    assert Panel(card, seats_of(card), [Meets(name, 0.5) for name in "abc"])([Sample("x")])[0].score == 0.5


def test_a_panel_of_panels_is_a_judge_like_any_other():
    inner = {"adapter": "panel", "name": "inner", "judges": [constant("a", 0.2), constant("b", 0.4)]}
    outer = {"adapter": "panel", "name": "outer", "combine": "min", "judges": [inner, constant("c", 0.9)]}
    judge = load_judge(outer)
    (judgement,) = judge([Sample("text")])
    assert judgement.score == pytest.approx(0.3)
    assert [part.judge for part in judgement.parts] == ["inner", "c"]
    assert [part.judge for part in judgement.parts[0].parts] == ["a", "b"]
    assert judge([]) == []


def test_what_a_panel_measures_is_what_its_members_agree_on():
    toxic, kind = constant("a", 1, measures="toxicity"), constant("b", 1, measures="kindness")
    assert load_judge({"adapter": "panel", "judges": [toxic]}).measures == "toxicity"
    assert load_judge({"adapter": "panel", "judges": [toxic, kind]}).measures == "quality"
    assert (
        load_judge({"adapter": "panel", "judges": [toxic, kind], "measures": "harmlessness"}).measures == "harmlessness"
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"judges": []}, ["judges", "needs a member"]),
        ({"judges": [{"judge": constant("a", 1), "weight": -1}]}, ["judges.0", "weight", "greater than or equal to 0"]),
        ({"judges": [{"judge": constant("a", 1), "wieght": 1}]}, ["'wieght'", "did you mean 'weight'"]),
        ({"judges": [{"judge": constant("a", 1), "weight": 0}]}, ["all weights are 0"]),
        ({"judges": [constant("a", 1)], "quorum": 2}, ["quorum: 2 of 1"]),
        ({"judges": [constant("a", 1)], "quorum": 0}, ["quorum"]),
        ({"judges": [constant("a", 1)], "quorum": 1, "combine": "product"}, ["quorum", "mean or median"]),
        ({"judges": [constant("a", 1)], "combine": "max"}, ["combine", "'mean', 'min', 'median' or 'product'"]),
        ({"judges": [constant("a", 1), constant("a", 0)]}, ["two judges are named 'a'"]),
        ({"judges": ["nobody"]}, ["no judge named 'nobody'"]),
        ({"judges": [{"judge": constant("a", 1), "veto_below": 1.5}]}, ["veto_below"]),
    ],
)
def test_a_panel_that_cannot_act_is_refused(keys, words):
    with pytest.raises(InputError) as refused:
        load_judge({"adapter": "panel", "name": "p", **keys})
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_a_place_in_a_panel_cannot_be_changed_and_is_built_by_name():
    (seat,) = seats_of(PanelCard(adapter="panel", judges=["m"]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        seat.weight = 2.0
    with pytest.raises(TypeError, match="positional"):
        type(seat)("m")


def test_a_panel_has_no_logit_to_give():
    card = PanelCard(adapter="panel", judges=["m"])
    assert Panel(card, seats_of(card), [Said("m", 0.5)]).has_logit is False
