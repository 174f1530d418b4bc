"""What a trainer reads from its arguments, whatever it trains on."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Protocol


class TrainerSettings(Protocol):
    """The arguments that the loop needs; those of an algorithm stand beside them. A dataclass, as `PPOConfig` is."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def output_dir(self) -> str:
        """The folder of the run."""
        ...

    @property
    def seed(self) -> int:
        """Of everything that is random."""
        ...

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples of a step, over all processes."""
        ...

    @property
    def save_steps(self) -> int:
        """Steps between checkpoints."""
        ...

    @property
    def save_total_limit(self) -> int:
        """How many of the newest checkpoints are kept."""
        ...
