"""What is trained and profiled: the default and its baseline, on Fashion-MNIST; in a rehearsal on digits."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.gpu.steps import Job, Values
from flowprior.ops.backend import backend
from flowprior.training.config import DEFAULT_COUPLING, DEFAULT_PRIOR

BASELINE = "gaussian+condot"
DESIGNS = {"default": (DEFAULT_PRIOR, DEFAULT_COUPLING), BASELINE: ("gaussian", "condot")}
"""(prior, coupling) of each."""


@dataclass(frozen=True)
class Setting:
    """Everything that both designs share.

    Attributes:
        data: name of the data set.
        model: spec of the network.
        steps: of a training.
        batch_size: pairs a step.
        classifier: stem of the evaluator's weights in benchmarks/classifiers.
        nfe: numbers of evaluations that are evaluated.
        samples: behind each value.
        profiled: steps under the profiler.
    """

    data: str
    model: str
    steps: int
    batch_size: int
    classifier: str
    nfe: tuple[int, ...]
    samples: int
    profiled: int

    @property
    def about(self) -> Values:
        """What of it the results of every step say."""
        told = {"data": self.data, "model": self.model, "batch_size": self.batch_size}
        return {"backend": str(backend()), **told}


FULL = Setting(
    "fashion-mnist",
    "unet:widths=32-64",
    2000,
    128,
    "fashion-mnist-train55000-3e318618",
    (0, 1, 2, 4, 8, 15),
    2000,
    20,
)
TINY = Setting("digits", "mlp:width=16,depth=1", 2, 16, "digits-f607d1b6", (0, 1), 20, 2)


def setting_of(job: Job) -> Setting:
    """The full size on a card, the smallest in a rehearsal."""
    return TINY if job.rehearsal else FULL
