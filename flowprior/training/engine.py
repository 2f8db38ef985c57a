"""Engine: the processes that train one flow together, and what they say to each other."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from torch import Tensor, nn

from flowprior.errors import OptionError
from flowprior.processes.group import Group
from flowprior.training.interrupt import StopReason

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Engine:
    """One process, which takes every micro-batch; the base class of engines of several.

    Micro-batch k of a step belongs to process k // ``accumulate``. What it contains depends on k alone, so
    the same number of micro-batches gives the same training on any number of processes, up to rounding.

    Attributes:
        rank: of this process, from 0; the first one writes all files and shows all messages.
        size: number of processes.
        group: of torch.distributed that they are in; None for one process.
        processes: what they tell each other by.
    """

    rank: int = 0
    size: int = 1
    group: ProcessGroup | None = None
    processes: Group = Group()

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows messages."""
        return self.rank == 0

    def parts(self, accumulate: int) -> range:
        """Numbers of the micro-batches that this process takes of every step."""
        return range(self.rank * accumulate, (self.rank + 1) * accumulate)

    def prepared(self, model: nn.Module) -> nn.Module:
        """What is called in place of ``model`` in a step, so that gradients come together."""
        return model

    def gathering(self, model: nn.Module, now: bool) -> AbstractContextManager[object]:
        """Context of a backward pass through the prepared ``model``: ``now`` brings gradients together."""
        return nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, on each of them."""
        return value

    def agreed(self, stop: StopReason | None, step: int) -> StopReason | None:
        """A reason to stop after ``step`` that any process has; each of them asks after every step."""
        return stop

    def check_same(self, step: int) -> None:
        """Check that all processes stand at the same ``step``.

        Raises:
            OptionError: they have read different checkpoints.
        """
        steps = sorted(set(self.processes.of_each(step)))
        if len(steps) > 1:
            raise OptionError(
                f"train: the processes stand at different steps ({', '.join(map(str, steps))}); "
                "let all of them read one folder, of a file system that they share"
            )

    def wait(self) -> None:
        """Wait for all processes."""
        self.processes.of_each(None)
