"""A training that the guard rejected: its answer is about the trained model, not about the one that is kept."""

from __future__ import annotations

from typing import Any

from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.record import ABSENT
from rlaif.core.records.steps import WatchingJudge
from rlaif.evaluation.conclusion import answer


def check(step: int, learned: float | None, held: float | None, **keys: Any) -> GuardCheck:
    judges = {
        "learned": WatchingJudge(role="training", score_mean=learned, abstained=0),
        "held": WatchingJudge(role="held_out", score_mean=held, abstained=0),
    }
    values: dict[str, Any] = {
        "tokens": 10.0, "fluency": 5.0, "score": held, "distinct_2": 1.0, "length": 1.0, "perplexity": 1.0,
        "alarms": (), "fit": True, "faults": (), "completions": ("a", "b"), **keys,
    }  # fmt: skip
    return GuardCheck(step=step, judges=judges, **values)


FAULT = "the score of held fell to 0.300, from 0.500"
REJECTED = [
    check(0, 0.2, 0.5),
    check(5, 0.6, 0.45),
    check(10, 0.9, 0.3, distinct_2=0.4, length=1.2, perplexity=None, faults=(FAULT,), fit=False),
]


def told(kept_step: int | None) -> EvaluationRecord:
    return EvaluationRecord.salvage({"kept_step": kept_step, "steps": 10})


def test_it_says_that_training_was_rejected_why_and_what_the_trained_model_had():
    assert answer(told(0), REJECTED) == "; ".join(
        [
            "the training was rejected, and the model is the one before training: at step 10 the score of held fell to "
            "0.300, from 0.500",
            "of the checks before that, 0 were outside the bands, and 1 no better",
            "on the 2 guard prompts the model of step 10 had a score of 0.900 by learned, training (0.200 before), a "
            "score of 0.300 by held, held out (0.500 before), distinct-2 times 0.40, length times 1.20",
        ]
    )


def test_a_model_within_its_bands_that_was_no_better_is_said_to_be_that():
    said = answer(told(0), [check(0, 0.2, 0.5), check(10, 0.9, 0.48)])
    assert "before training: at step 10 the guard's score was no higher than before training; on the 2" in said


def test_checks_of_an_earlier_version_say_what_their_alarms_said():
    old = check(10, 0.9, None, fit=False, faults=ABSENT, alarms=(f"the training score rose by 0.7, while {FAULT}",))
    said = answer(told(0), [check(0, 0.2, 0.5, faults=ABSENT), old])
    assert f"at step 10 the training score rose by 0.7, while {FAULT}; on" in said
    assert "a score of – by held, held out (0.500 before)" in said
    silent = check(10, 0.1, 0.3, fit=False, faults=ABSENT)
    assert "at step 10 it was outside the guard's bands; on" in answer(told(0), [REJECTED[0], silent])


def test_a_training_that_was_kept_is_answered_by_its_numbers():
    for kept in (5, None):
        assert answer(told(kept), REJECTED).startswith("no evidence: no judge was held out")
    assert answer(told(0), REJECTED[:1]).startswith("no evidence")
