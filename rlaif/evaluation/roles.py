"""Which judge was learned from, which chose the checkpoint, and which only measures: the rule of the held-out judge."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from rlaif.core.types import Judge
from rlaif.judges.cards.card import refuse_equal_names


@dataclass(frozen=True)
class Role:
    """
    A judge's part in a run.

    Args:
        judge: who.
        kind: `training` where it is learned from, or shares model and question with one that is; else `held_out`.
        used_for_selection: whether it chose which model is kept.

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
    Return all judges of a run, each once, with what they are to it.

    Model and question make a judge, not its name: a card that is the training judge under another name, a panel that
    the training judge sits in, and a member of a panel that is learned from are not held out.

    Raises:
        InputError: two different judges have one name.

    """
    first: dict[Hashable, Judge] = {}  # the one that is learned from has its model in memory: no second one
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
    """Return the identities of a judge and of all judges that it is made of."""
    members: Sequence[Judge] = getattr(judge, "judges", ())
    return frozenset({judge.identity}).union(*(ingredients(member) for member in members))


def doubtful(roles: Sequence[Role], training: Sequence[Judge]) -> list[str]:
    """Say of which judges one may have thought that they were held out."""
    own = {judge.name for judge in training}
    return [
        f"{role.name} is not held out: it shares model and question with {' and '.join(j.name for j in training)}, "
        "which is learned from"
        for role in roles
        if role.kind == "training" and role.name not in own
    ]
