"""Callback: what is told of a training while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from flowprior.registry import Registered, Registry
from flowprior.training.config import RunConfig


@dataclass(frozen=True)
class TrainingStart:
    """What a callback is told first.

    Attributes:
        config: of the run, resolved.
        step: steps that are done already, above 0 where a run is taken up again.
        folder: of the run; None where nothing is written.
    """

    config: RunConfig
    step: int
    folder: Path | None


class Callback(Registered):
    """Base class of what is told of a training; named by ``train(callbacks=…)`` and ``--callback``.

    Every method does nothing here; override those that you need. They are called between steps, in the order
    of the callbacks, and what they raise ends the training. Of a run that is taken up again they are told
    from its next step on.
    """

    registry: ClassVar[Registry[Any]] = Registry("callback", "flowprior.callbacks")

    def check(self, folder: Path | None) -> None:
        """Refuse a run that this callback cannot be told of; called before anything else is done.

        Args:
            folder: of the run; None where nothing is written.

        Raises:
            OptionError: what is missing.
        """

    def on_start(self, start: TrainingStart) -> None:
        """The prior is fitted, and the next step is the first."""

    def on_step(self, step: int) -> None:
        """``step`` steps are done."""

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Values since the last call, every ``log_every`` steps.

        Args:
            step: steps that are done.
            values: means of ``loss`` and of the gradient's norm ``grad_norm``; ``lr``; ``steps_per_second``;
                ``data_wait``, the share of the time that the loop waited for its pairs; ``peak_memory``, the
                most bytes that the process (on CUDA, its tensors) held at once.
        """

    def on_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Values of the averaged weights on the events that are held out, where there are some.

        Args:
            step: steps that are done.
            values: ``validation_loss``, the mean over all times, and ``validation_loss_at_T`` at each time T.
        """

    def on_sample(self, step: int, picture: Path) -> None:
        """Samples were drawn into the file ``picture``, every ``sample_every`` steps."""

    def on_checkpoint(self, step: int, checkpoint: Path) -> None:
        """The folder ``checkpoint`` was written, every ``checkpoint_every`` steps and at the end."""

    def on_end(self, step: int, status: str) -> None:
        """Training ended after ``step`` steps: ``finished``, ``interrupted``, ``diverged`` or ``failed``.

        Called once for each :meth:`on_start` that returned, also where another callback raised.
        """
