"""The peers as they are installed from PyPI, in our training step: their pairs and targets, all else equal.

    trainer = "benchmarks.studies.peers:torchcfm_ot"

torchcfm and flow_matching (``pip install --no-deps -r benchmarks/peers.txt``) say what a batch of noise and
data becomes: pairs, points of the path, and the velocities to regress. Network and its first weights,
optimiser, schedule, average, precision, data order, noise and times are ours, the same numbers as those of
the setting ``gaussian`` + ``condot`` with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from flowprior.data import Data
from flowprior.flow import Flow
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
"""What a peer makes of noise x0, data x1, their labels and times t; labels stay with their data."""


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


def flow_matching_targets() -> Targets:
    """flow_matching's CondOTProbPath."""
    from flow_matching.path import CondOTProbPath

    def targets(x0: Tensor, x1: Tensor, cond: Tensor | None, t: Tensor) -> Target:
        sample = CondOTProbPath().sample(t=t, x_0=x0, x_1=x1)
        return sample.x_t, sample.dx_t, cond

    return targets


class PeerStream(PairStream):
    """A :class:`PairStream` whose batches are a peer's (x_t, u_t, labels); times are those of the loop."""

    def __init__(
        self, targets: Targets, parts: Components, randomness: Randomness, times: TimeDistribution
    ) -> None:
        size = parts.config.training.batch_size
        super().__init__(parts.data, parts.prior, parts.coupling, size, randomness)
        self.targets = targets
        self.steps = parts.config.training.steps
        self.times = times

    def micro_batch(self, step: int, part: int = 0) -> Target:
        """The target of ``step``; the same one whenever it is asked for."""
        x0, x1, cond = super().micro_batch(step, part)
        assert cond is None or isinstance(cond, Tensor)
        generator = self.randomness.generator("time", step)
        t = self.times.draw(len(x1), step / self.steps, generator, self.randomness.device)
        seed_peer(self.randomness.seed, step)
        return self.targets(x0.float(), x1.float(), cond, t)


class GivenPath(CondOTPath):
    """The straight path for pairs that are points and velocities already."""

    def interpolate(self, x0: Tensor, x1: Tensor, t: Tensor) -> PathSample:
        """x0 as the point and x1 as its velocity."""
        return PathSample(x0, x1, t)


def seed_peer(seed: int, step: int) -> None:
    """Seed numpy's global generator, which torchcfm draws from the plan with."""
    np.random.seed(mix(seed, "peer", step) % 2**32)  # noqa: NPY002


def train_peer(peer: Callable[[], Targets], config: RunConfig, data: Data, out: Path | None = None) -> Flow:
    """Train with the targets of a peer, as ``flowprior.train`` does with ours; with ``out`` it resumes.

    Args:
        peer: gives what says what a batch becomes.
        config: of the run, but for prior, coupling, path and prediction.
        data: training split.
        out: run folder.
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
        run_steps(state, PeerStream(peer(), parts, state.randomness, state.times), monitor, run)
    flow = state.flow()
    flow.path = CondOTPath()  # the path that a reader of its file rebuilds
    if run is not None and info is not None:
        flow.save(run.flow)
        info.end(state.step, "finished")
    return flow


torchcfm = partial(train_peer, torchcfm_targets)
torchcfm_ot = partial(train_peer, torchcfm_ot_targets)
flow_matching = partial(train_peer, flow_matching_targets)
"""The trainers that a study names."""
