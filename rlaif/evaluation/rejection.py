"""Why a training was rejected: the guard kept the model before training, and the measurement is of that model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.record import ABSENT
from rlaif.core.system.terminal import number


def describe_rejection(checks: Sequence[GuardCheck]) -> str:
    """
    Say that the training was rejected, why, and what the trained model had.

    Args:
        checks: of the guard, from the one before training to the one at the end; more than one.

    """
    first, last = checks[0], checks[-1]
    scores = [
        f"a score of {number(judge.score_mean)} by {name}, {judge.role.replace('_', ' ')} "
        f"({number(first.judges[name].score_mean) if name in first.judges else '–'} before)"
        for name, judge in last.judges.items()
    ]
    ratios = [
        f"{name} times {value:.2f}"
        for name, value in (("distinct-2", last.distinct_2), ("length", last.length), ("perplexity", last.perplexity))
        if value is not None
    ]
    return (
        f"the training was rejected, and the model is the one before training: {'; '.join(_reasons(checks))}; on the "
        f"{len(last.completions)} guard prompts the model of step {last.step} had {', '.join([*scores, *ratios])}"
    )


def _reasons(checks: Sequence[GuardCheck]) -> Iterator[str]:
    """Yield why no trained model was kept: what was wrong with the last one, and that no other was better."""
    last, others = checks[-1], checks[1:-1]
    faults = last.alarms if last.faults is ABSENT else last.faults
    if last.fit:
        yield f"at step {last.step} the guard's score was no higher than before training"
    elif faults:
        yield f"at step {last.step} {' and '.join(faults)}"
    else:
        yield f"at step {last.step} it was outside the guard's bands"
    if others:
        outside = sum(not check.fit for check in others)
        yield f"of the checks before that, {outside} were outside the bands, and {len(others) - outside} no better"
