"""Restorations of images that need no flow.

    values = "benchmarks.studies.restoration:plain_restorations"

* The mean of the learned prior of each seed: its network alone.
* Ridge regression from the condition to the image, with the variances of its errors on images that were left
  out (:mod:`benchmarks.studies.regression`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, everything
from benchmarks.studies.forecasting import BASE
from benchmarks.studies.regression import fit_regression
from flowprior.evaluation import evaluate
from flowprior.flow import Flow
from flowprior.samplers.base import Solution

DESIGNED = "learned+condot"
"""The setting whose prior's mean is scored."""
MEAN, REGRESSION = f"{DESIGNED}, mean of the prior", "regression"


def plain_restorations(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return the scores of the prior's mean in runs of ``DESIGNED``, and of the regression once."""
    if run.variant.label == DESIGNED:
        return _scored(flow, run, data, MEAN, lambda cond, chance: flow.prior.mean(cond))
    if run.variant.label != BASE or run.seed != 0:
        return []
    begun = time.process_time()
    x, cond = everything(data.train)
    fitted = fit_regression(cond.flatten(1), x.flatten(1), data.train.groups, diagonal=True)
    spent = time.process_time() - begun  # the run that they are kept beside has seconds of its own
    rows = _scored(flow, run, data, REGRESSION, lambda c, *chance: fitted.sample(c.flatten(1), *chance))
    return [row | {"cpu_seconds": spent} for row in rows]


def _scored(
    flow: Flow, run: Any, data: Any, name: str, draw: Callable[[Tensor, torch.Generator], Tensor]
) -> list[Row]:
    """Return the values of restored images, under the conditions and by the metrics of the flow.

    Args:
        flow: of the run.
        run: of the study.
        data: its splits.
        name: for the column ``flow``.
        draw: gives the images, or rows of their numbers, for conditions and a generator.
    """

    def generate(cond: Tensor, n: int, *, nfe: int, generator: torch.Generator, **options: Any) -> Solution:
        return Solution(draw(cond, generator).view(n, *flow.event_shape).float(), nfe, torch.zeros(1))

    found = evaluate(
        flow,
        data.train,
        reference=data.test,
        nfe=1,
        sampler="euler",
        seed=run.seed + run.grid.evaluation_seed,
        samples=run.grid.samples,
        conditions=run.grid.conditions,
        generate=generate,
        **run.grid.evaluation,
    )
    of_run = ("seed", "sampler", "grid", "nfe", "guidance")
    return [row | dict.fromkeys(of_run) | {"flow": name} for row in found.select(nfe=1, split="test")]
