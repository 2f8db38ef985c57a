"""Baselines: other libraries as PyPI has them, in our training step. Pairs and targets are theirs.

    trainer = "benchmarks.studies.peers:torchcfm_ot"

torchcfm and flow_matching (``pip install --no-deps -r benchmarks/peers.txt``) determine what a batch of noise
and data becomes: pairs, points of the path, and the velocities to regress. Network and its first weights,
optimiser, schedule, average, precision, data order, noise and times are ours, the same numbers as those of
the setting ``gaussian`` + ``condot`` with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.data import Data
from flowprior.flow import Flow
from flowprior.mixtures.grouped import rows_of_each
from flowprior.paths import CondOTPath, PathSample
from flowprior.training.batches import PairStream, Randomness, mix
from flowprior.training.callbacks import Monitor
from flowprior.training.components import Components, fit_prior, resolve_components
from flowprior.training.config import RunConfig
from flowprior.training.loop import run_steps
from flowprior.training.objective import TimeDistribution
from flowprior.training.run import RunDirectory, RunInfo
from flowprior.training.state import TrainingState

Target = tuple[Tensor, Tensor, Tensor | None]
"""Points ``[B, *event]``, the velocities to regress there, and the labels of the rows."""
Targets = Callable[[Tensor, Tensor, Tensor | None, Tensor], Target]
"""What a baseline makes of noise x0, data x1, their labels and times t; labels stay with their data."""


def torchcfm_targets() -> Targets:
    """torchcfm's ConditionalFlowMatcher: x0 and x1 paired as they come."""
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    match = ConditionalFlowMatcher(sigma=0.0).sample_location_and_conditional_flow
    return lambda x0, x1, cond, t: (*match(x0, x1, t=t)[1:3], cond)


def torchcfm_ot_targets() -> Targets:
    """torchcfm's ExactOptimalTransportConditionalFlowMatcher: pairs drawn from the exact plan of the batch.

    The plan does not see the labels and is sampled with replacement.
    """
    from torchcfm.conditional_flow_matching import ExactOptimalTransportConditionalFlowMatcher

    matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)
    match = matcher.guided_sample_location_and_conditional_flow

    def targets(x0: Tensor, x1: Tensor, cond: Tensor | None, t: Tensor) -> Target:
        drawn = match(x0, x1, y1=cond, t=t)
        return drawn[1], drawn[2], drawn[4]

    return targets


def torchcfm_ot_within_targets() -> Targets:
    """The pairs of :func:`torchcfm_ot_targets`, drawn from one plan for the rows of each label of a batch."""
    match = torchcfm_ot_targets()

    def targets(x0: Tensor, x1: Tensor, cond: Tensor | None, t: Tensor) -> Target:
        assert cond is not None
        points, velocities = torch.empty_like(x1), torch.empty_like(x1)
        for _, rows in rows_of_each(cond):
            points[rows], velocities[rows], _ = match(x0[rows], x1[rows], None, t[rows])
        return points, velocities, cond

    return targets


def flow_matching_targets() -> Targets:
    """flow_matching's CondOTProbPath."""
    from flow_matching.path import CondOTProbPath

    def targets(x0: Tensor, x1: Tensor, cond: Tensor | None, t: Tensor) -> Target:
        sample = CondOTProbPath().sample(t=t, x_0=x0, x_1=x1)
        return sample.x_t, sample.dx_t, cond

    return targets


class BaselineStream(PairStream):
    """A :class:`PairStream` whose batches are a baseline's (x_t, u_t, labels), at the times of the loop."""

    def __init__(
        self, targets: Targets, parts: Components, randomness: Randomness, times: TimeDistribution
    ) -> None:
        size = parts.config.training.batch_size
        super().__init__(parts.data, parts.prior, parts.coupling, size, randomness)
        self.targets = targets
        self.steps = parts.config.training.steps
        self.times = times

    def micro_batch(self, step: int, part: int = 0) -> Target:
        """Return the target of ``step``, the same one at every call."""
        x0, x1, cond = super().micro_batch(step, part)
        assert cond is None or isinstance(cond, Tensor)
        generator = self.randomness.generator("time", step)
        t = self.times.draw(len(x1), step / self.steps, generator, self.randomness.device)
        seed_numpy(self.randomness.seed, step)
        return self.targets(x0.float(), x1.float(), cond, t)


class GivenPath(CondOTPath):
    """The straight path for pairs that are points and velocities already."""

    def interpolate(self, x0: Tensor, x1: Tensor, t: Tensor, **_: object) -> PathSample:
        """Return x0 as the point and x1 as its velocity."""
        return PathSample(x0, x1, t)


def seed_numpy(seed: int, step: int) -> None:
    """Seed numpy's global generator, which torchcfm draws from the plan with."""
    np.random.seed(mix(seed, "peer", step) % 2**32)  # noqa: NPY002


def train_baseline(
    baseline: Callable[[], Targets], config: RunConfig, data: Data, out: Path | None = None
) -> Flow:
    """Train with the targets of a baseline, as ``flowprior.train`` does with ours; with ``out`` it resumes.

    Args:
        baseline: returns the function that makes targets of a batch.
        config: the configuration of the run; its prior, coupling, path and prediction are not used.
        data: the training split.
        out: the run folder.
    """
    training = replace(config.training, prediction="velocity")
    config = replace(config, prior="gaussian", coupling="condot", path="condot", training=training)
    parts = replace(resolve_components(config, data=data), path=GivenPath())
    state = TrainingState(parts)
    run = None if out is None else RunDirectory(out)
    if run is not None:
        run.check(resume=True)
        run.check_unchanged(config)
        state.resume(run.checkpoints)
        run.create(config)
    seconds = fit_prior(parts, state.randomness)
    info = None if run is None else RunInfo(run.info)
    if info is not None:
        info.start(parts.device, state.step, prior_fit_seconds=seconds)
    with Monitor(state, run, progress=False) as monitor:
        run_steps(state, BaselineStream(baseline(), parts, state.randomness, state.times), monitor, run)
    flow = state.flow()
    flow.path = CondOTPath()  # the path that a reader of its file rebuilds
    if run is not None and info is not None:
        flow.save(run.flow)
        info.end(state.step, "finished")
    return flow


torchcfm = partial(train_baseline, torchcfm_targets)
torchcfm_ot = partial(train_baseline, torchcfm_ot_targets)
torchcfm_ot_within = partial(train_baseline, torchcfm_ot_within_targets)
flow_matching = partial(train_baseline, flow_matching_targets)
"""The trainers that a study names."""
