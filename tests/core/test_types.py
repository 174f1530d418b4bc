"""What a judgement can be, and what the errors are."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlaif
from rlaif.core.errors import InputError, JudgeBug, RlaifError
from rlaif.core.types import HARMS, STATUSES, Judgement, Sample, Usage, empty

ABSTENTIONS = [status for status in STATUSES if status != "ok"]


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0, 1])
def test_a_score_is_between_0_and_1(score: float) -> None:
    judgement = Judgement("j", score)
    assert (judgement.score, judgement.status, judgement.abstained) == (score, "ok", False)


@pytest.mark.parametrize("score", [-0.001, 1.001, math.nan, math.inf, -math.inf])
def test_any_other_score_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"judge 'j': the score .* is not in \[0, 1\]"):
        Judgement("j", score)


@pytest.mark.parametrize("status", ABSTENTIONS)
def test_an_abstention_has_no_score(status: Any) -> None:
    assert Judgement("j", None, status=status).abstained


def test_an_abstention_says_why() -> None:
    with pytest.raises(ValueError, match="a judgement without a score needs a status other than ok"):
        Judgement("j", None)


@pytest.mark.parametrize("status", ABSTENTIONS)
def test_only_what_a_card_turns_into_the_worst_score_has_a_score_and_a_status(status: Any) -> None:
    if status in ("filtered", "refused"):
        assert Judgement("j", 0.0, status=status).score == 0
    else:
        with pytest.raises(ValueError, match=f"a judgement with status {status} cannot have a score"):
            Judgement("j", 0.0, status=status)


@pytest.mark.parametrize("name", ["logit", "raw"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_every_number_is_finite(name: str, number: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {number}, not a finite number"):
        Judgement("j", 0.5, **{name: number})


@given(st.none() | st.floats(), st.sampled_from(STATUSES))
def test_a_judgement_has_a_score_or_a_reason_for_none(score: float | None, status: Any) -> None:
    try:
        judgement = Judgement("j", score, status=status)
    except ValueError:
        return
    assert (judgement.score is None) <= (status != "ok")
    assert judgement.score is None or 0 <= judgement.score <= 1


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u3000"])
def test_a_sample_without_a_visible_character_is_blank(text: str) -> None:
    assert Sample(text, prompt="x").blank
    assert not Sample(text + "x").blank


def test_an_empty_judgement_cost_nothing() -> None:
    judgement = empty("j")
    assert (judgement.judge, judgement.status, judgement.score) == ("j", "empty", None)
    assert judgement.usage == Usage(attempts=0)
    assert judgement.usage.usd == 0


def test_what_flows_can_be_sent_to_another_process_and_not_be_changed() -> None:
    judgement = Judgement("p", 0.5, parts=(Judgement("j", 0.5), empty("k")))
    assert pickle.loads(pickle.dumps(judgement)) == judgement
    with pytest.raises(AttributeError):
        judgement.score = 1.0  # type: ignore[misc]


def test_harms_are_the_three_of_the_output() -> None:
    assert {"toxicity", "harmlessness", "hate"} == HARMS


@pytest.mark.parametrize(
    ("error", "standard", "status"),
    [(InputError, ValueError, 2), (JudgeBug, RuntimeError, 1), (RlaifError, Exception, 1)],
)
def test_errors_are_caught_by_their_standard_class_too(error: type[RlaifError], standard: type, status: int) -> None:
    assert issubclass(error, standard)
    assert issubclass(error, RlaifError)
    assert error.exit_status == status
    assert getattr(rlaif, error.__name__) is error
