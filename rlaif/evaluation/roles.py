"""The roles of judges in a run: training or held out, and whether they chose the checkpoint."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from rlaif.core.types import Judge
from rlaif.judges.cards.card import refuse_equal_names


@dataclass(frozen=True)
class Role:
    """
    The role of a judge in a run.

    Args:
        judge: the judge.
        kind: `training` if the policy is trained against it, or it shares model and question with such a judge; else
            `held_out`.
        used_for_selection: whether the judge chose the model that is kept.

    """

    judge: Judge
    kind: Literal["training", "held_out"]
    used_for_selection: bool

    @property
    def name(self) -> str:
        """The judge's name."""
        return self.judge.name

    @property
    def measures(self) -> str:
        """What the judge measures."""
        return self.judge.measures


def roles_of(training: Sequence[Judge], guards: Sequence[Judge], evaluating: Sequence[Judge]) -> list[Role]:
    """
    Return the roles of all judges of a run, each judge once.

    A judge is identified by its model and question, not by its name. Not held out are therefore: the training judge
    under another name, a panel with the training judge as a member, and a member of the training panel.

    Args:
        training: judges that the policy is trained against.
        guards: judges of the guard.
        evaluating: judges of the evaluation.

    Raises:
        InputError: two different judges have one name.

    """
    first: dict[Hashable, Judge] = {}  # prefer the training judge, whose model is in memory already
    for judge in (*training, *guards, *evaluating):
        first.setdefault((judge.identity, judge.name), judge)
    judges = list(first.values())
    refuse_equal_names(judges, "judge, guard.judges and evaluation.judges")
    learned_from = frozenset().union(*(ingredients(judge) for judge in training))
    selecting = frozenset(judge.identity for judge in guards)
    return [
        Role(
            judge,
            "held_out" if learned_from.isdisjoint(ingredients(judge)) else "training",
            judge.identity in selecting,
        )
        for judge in judges
    ]


def ingredients(judge: Judge) -> frozenset[Hashable]:
    """Return the identities of a judge and, for a panel, of all its members."""
    members: Sequence[Judge] = getattr(judge, "judges", ())
    return frozenset({judge.identity}).union(*(ingredients(member) for member in members))


def doubtful(roles: Sequence[Role], training: Sequence[Judge]) -> list[str]:
    """Return warnings about judges that are not held out although they have another name than the training judge."""
    own = {judge.name for judge in training}
    return [
        f"{role.name} is not held out: it shares model and question with {' and '.join(j.name for j in training)}, "
        "which is learned from"
        for role in roles
        if role.kind == "training" and role.name not in own
    ]
