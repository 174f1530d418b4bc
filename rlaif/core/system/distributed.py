"""The processes of a run, through accelerate: rank, reductions, broadcasts and errors over all processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor

from rlaif.core.errors import InputError, ReportedByOtherRank, RlaifError
from rlaif.core.system.devices import computes_on

T = TypeVar("T")


class Processes:
    """
    The processes of a run: a single one, or several started by `accelerate launch` or `torchrun`.

    Args:
        patience: seconds that one process may keep the others waiting for a judge that is down.
        trackers: names of accelerate's trackers.
        folder: folder that trackers write to.

    """

    def __init__(self, patience: float = 0.0, trackers: Sequence[str] = (), folder: str = ".") -> None:
        from accelerate import Accelerator, InitProcessGroupKwargs
        from accelerate.utils import DistributedType

        refuse_unknown_trackers(trackers)
        refuse_misfit()
        self._trackers = tuple(trackers)
        timeout = InitProcessGroupKwargs(timeout=timedelta(seconds=patience + 3600))
        # The policy uses autocast itself, because some of its parts have to stay float32.
        self.accelerator = Accelerator(
            # Without this, accelerate treats the processes of torchrun on CPUs as separate runs of one process each.
            cpu=computes_on().type == "cpu",
            mixed_precision="no",
            log_with=list(trackers) or None,
            project_dir=folder,
            kwargs_handlers=[timeout],
        )
        kind = self.accelerator.distributed_type
        if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
            raise InputError(
                f"accelerate is set up for {kind.value}, which is not supported: each process holds the whole policy; "
                "launch with --multi_gpu, or train a LoRA adapter to save memory"
            )
        self.count: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index
        self.device: torch.device = self.accelerator.device

    @contextmanager
    def track(self, config: Mapping[str, object]) -> Iterator[None]:
        """Open the trackers, if there are any, and close them at the end of the block."""
        if not self._trackers:
            yield
            return
        self.accelerator.init_trackers("rlaif", config=dict(config))
        try:
            yield
        finally:
            self.accelerator.end_training()

    def log(self, metrics: Mapping[str, object], step: int) -> None:
        """Send the metrics of a step to the trackers."""
        if self._trackers:
            self.accelerator.log(dict(metrics), step=step)

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, the one that writes files and prints."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Return this process's indices of a batch. Raises `InputError` if it cannot be divided evenly."""
        if batch % self.count:
            raise InputError(f"batch_size ({batch}) should be a multiple of the {self.count} processes")
        each = batch // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def reduce(self, x: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count == 1:
            return x
        total: Tensor = self.accelerator.reduce(x.to(self.device), reduction="sum")
        return total

    def all_reduce_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Sum gradients over all processes, in place."""
        if self.count > 1:
            import torch.distributed as dist

            for work in [dist.all_reduce(gradient, async_op=True) for gradient in gradients]:
                assert work is not None
                work.wait()

    def broadcast_from_main(self, tensors: Sequence[Tensor]) -> None:
        """Copy tensors of the main process to all others, in place."""
        if self.count > 1:
            import torch.distributed as dist

            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of ranks."""
        rows: Tensor = self.accelerator.gather(x)
        return rows

    def gather_objects(self, items: list[T]) -> list[T]:
        """Return the items of all processes, in the order of ranks."""
        if self.count == 1:
            return items
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(items)
        return gathered

    def largest(self, number: float | None) -> float | None:
        """Return the largest number of all processes; None if it is None, which has to be so on all of them."""
        if number is None or self.count == 1:
            return number
        return float(self.gather(torch.tensor([number], dtype=torch.float64, device=self.device)).max())

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return bool(self.reduce(torch.tensor(float(flag), device=self.device)))

    def wait(self) -> None:
        """Wait for all other processes."""
        self.accelerator.wait_for_everyone()

    @contextmanager
    def raise_on_all_ranks(self) -> Iterator[None]:
        """
        Run a block that may fail on a single process, and raise on all processes if it does.

        The first process that failed raises its error, and all others raise `ReportedByOtherRank`.
        """
        failure: BaseException | None = None
        try:
            yield
        except (RlaifError, KeyboardInterrupt) as error:
            if self.count == 1 or isinstance(error, InputError):  # the others find the same invalid input
                raise
            failure = error
        failed = torch.zeros(self.count, device=self.device)
        # An error that comes from another rank is raised there.
        failed[self.rank] = failure is not None and not isinstance(failure, ReportedByOtherRank)
        first = self.reduce(failed).nonzero().flatten().tolist()[:1]
        if first == [self.rank] and failure is not None:
            raise failure
        if first or failure is not None:
            raise ReportedByOtherRank


def _count_processes() -> int:
    """Return the number of processes according to the launcher's environment variables; 0 without a launcher."""
    names = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    return max(int(os.environ.get(name) or 0) for name in names)


def refuse_misfit(batch: int = 0) -> None:
    """
    Raise `InputError` if the batch cannot be divided among the processes, or fewer were started than requested.

    Without GPUs, `accelerate launch` starts only one process, whatever number was requested.
    """
    if _count_processes() and batch % _count_processes():
        raise InputError(f"training.batch_size ({batch}) should be a multiple of the {_count_processes()} processes")
    if {"MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"} <= os.environ.keys() and not _count_processes():
        raise InputError(
            "accelerate launch starts one process on CPUs, whatever --num_processes says; for two: "
            "torchrun --nproc_per_node 2 -m rlaif train ..."
        )


def refuse_several(what: str) -> None:
    """Raise `InputError` if several processes were started for a command that runs in one."""
    if _count_processes() > 1:
        raise InputError(f"{what} runs in one process, and {_count_processes()} were started; leave out the launcher")


def refuse_unknown_trackers(names: Sequence[str]) -> None:
    """Raise `InputError` for a tracker that accelerate does not know or whose package is not installed."""
    from accelerate import tracking

    known: dict[str, object] = {str(name): tracker for name, tracker in tracking.LOGGER_TYPE_TO_CLASS.items()}
    available = {str(name) for name in tracking.get_available_trackers()}
    for name in names:
        if name not in known:
            raise InputError(f"trackers: there is no {name!r}; there are: {', '.join(sorted(known))}")
        if name not in available:
            raise InputError(f"trackers: {name} needs a package that is not installed: pip install {name}")
