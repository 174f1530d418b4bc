"""What a benchmark is asked for beside agreement with people."""

from __future__ import annotations

from dataclasses import dataclass

from rlaif.core.errors import InputError
from rlaif.data.rows import RowSource
from rlaif.stats.bootstrap import DRAWS


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    What is asked for beside agreement with people.

    Args:
        retest: how often some rows are asked again, past the verdict store.
        probes: whether judges get planted and degenerate texts.
        policy: folder or hub id of a model, for the best of n.
        best_of: completions of each prompt.
        prompts: a file with a column `prompt`; by default the labelled data's.
        template: of prompts/policy/, for the policy's prompts.
        draws: of the bootstrap.
        seed: of all that is drawn.

    """

    retest: int = 0
    probes: bool = False
    policy: str | None = None
    best_of: int | None = None
    prompts: RowSource | None = None
    template: str | None = None
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"retest": (self.retest, 0), "draws": (self.draws, 1), "seed": (self.seed, 0)}
        least |= {} if self.best_of is None else {"best_of": (self.best_of, 2)}
        for name, (number, lowest) in least.items():
            if number < lowest:
                raise InputError(f"{name} should be at least {lowest}, not {number}")
        if self.policy is None and (self.best_of or self.prompts or self.template):
            raise InputError("--best-of, --prompts and --template need a model that answers; name it by --policy MODEL")

    @property
    def retests(self) -> list[str]:
        """The files of retests."""
        return [f"retest-{number}.jsonl" for number in range(1, self.retest + 1)]
