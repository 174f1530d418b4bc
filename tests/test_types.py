"""A judgement cannot be built that lies: a score is in [0, 1] or None, and None has a reason."""

from __future__ import annotations

import math

import pytest

from rlaif import Judgement, Sample, Usage
from rlaif.types import STATUSES


@pytest.mark.parametrize("score", [-0.01, 1.01, math.nan, math.inf])
def test_a_score_off_the_unit_interval_is_refused(score):
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        Judgement("j", score)


@pytest.mark.parametrize("status", [s for s in STATUSES if s not in ("ok", "filtered", "refused")])
def test_only_a_filter_and_a_refusal_may_be_given_a_score_by_choice(status):
    assert Judgement("j", 0.0, status="filtered").score == 0.0
    with pytest.raises(ValueError, match="cannot have a score"):
        Judgement("j", 0.0, status=status)
    assert Judgement("j", None, status=status).abstained


def test_no_score_without_a_status_that_says_why():
    with pytest.raises(ValueError, match="status other than ok"):
        Judgement("j", None)


@pytest.mark.parametrize("field", ["logit", "raw"])
def test_numbers_are_finite(field):
    with pytest.raises(ValueError, match=field):
        Judgement("j", 0.5, **{field: math.nan})


def test_what_flows_is_frozen():
    for value, name in ((Sample("x"), "prompt"), (Usage(), "usd"), (Judgement("j", 0.5), "score")):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)
