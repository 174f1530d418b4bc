"""The roles of judges in a run: training or held out, and whether they chose the checkpoint."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rlaif.core.errors import InputError
from rlaif.core.types import Judge, origin_of
from rlaif.judges.cards.card import refuse_equal_names


@dataclass(frozen=True)
class Role:
    """
    The role of a judge in a run.

    Args:
        judge: the judge.
        kind: `training` if the policy is trained against it, or if it computes its scores from the same weights,
            function or endpoint as such a judge; else `held_out`.
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

    A judge is identified by what it computes with, not by its name. Not held out are therefore: a copy of the training
    judge's weights, a panel with the training judge as a member, and a member of the training panel.

    Args:
        training: judges that the policy is trained against.
        guards: judges of the guard.
        evaluating: judges of the evaluation.

    Raises:
        InputError: two different judges have one name.

    """
    own = {judge.name: origin_of(judge) for judge in training}

    def key_of(judge: Judge) -> Hashable:
        """Return a key that is equal for judges that count once. The training judge is known by its name."""
        return judge.name, "training" if own.get(judge.name) == origin_of(judge) else judge.identity

    first: dict[Hashable, Judge] = {}  # prefer the training judge, whose model is in memory already
    for judge in (*training, *guards, *evaluating):
        first.setdefault(key_of(judge), judge)
    judges = list(first.values())
    refuse_equal_names(judges, "judge, guard.judges and evaluation.judges")
    learned_from = frozenset().union(*(origins_of(judge) for judge in training))
    selecting = frozenset(map(key_of, guards))
    return [
        Role(
            judge,
            "held_out" if learned_from.isdisjoint(origins_of(judge)) else "training",
            key in selecting,
        )
        for key, judge in first.items()
    ]


def origins_of(judge: Judge) -> frozenset[Hashable]:
    """Return the origins of a judge and of all judges that it is made of."""
    return frozenset(origin_of(part) for part in walk_members(judge))


def walk_members(judge: Judge) -> Iterator[Judge]:
    """Yield a judge and all judges that it is made of."""
    yield judge
    members: Sequence[Judge] = getattr(judge, "judges", ())
    for member in members:
        yield from walk_members(member)


def refuse_other_name(training: Sequence[Judge], judges: Sequence[Judge]) -> None:
    """
    Raise `InputError` where a judge is one that is learned from, or has it as a member, under another name.

    Under its own name it is told as what it is; under another one its numbers would pass for evidence.

    Args:
        training: the judges that are learned from.
        judges: of guard.judges and evaluation.judges.

    """
    names: dict[Hashable, list[str]] = {}
    for part in (part for judge in training for part in walk_members(judge)):
        names.setdefault(origin_of(part), []).append(part.name)
    for judge in judges:
        for part in walk_members(judge):
            own = names.get(origin_of(part))
            if own and part.name not in own:
                member = "" if part is judge else f", a member of {judge.name},"
                raise InputError(
                    f"guard.judges and evaluation.judges: {part.name}{member} is {own[0]} under another name, which is "
                    f"learned from: the same weights, function, or endpoint, model and question; name it {own[0]}, and "
                    "it is told as training, or name another judge"
                )


def doubtful(roles: Sequence[Role], training: Sequence[Judge]) -> list[str]:
    """Return warnings about judges that are not held out although they have another name than the training judge."""
    own = {judge.name for judge in training}
    return [
        f"{role.name} is not held out: it shares its model with {' and '.join(j.name for j in training)}, "
        "which is learned from"
        for role in roles
        if role.kind == "training" and role.name not in own
    ]
