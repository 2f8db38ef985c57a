"""Designs compared by short trainings on the data: what a prior's fit alone does not tell.

How far a flow mends its prior depends on the coupling and on how many numbers an event has, which no score of
the prior's own draws sees (docs/automatic.md). So small networks are trained, and their samples held against
events that neither they nor their priors have seen. They run on the processor, for one machine to choose
like another.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from flowprior.conditions import repeated
from flowprior.data import Data
from flowprior.errors import InputError, TrainingDiverged
from flowprior.flow import Flow
from flowprior.inspection.comparison import Comparison
from flowprior.inspection.examples import HELD_OUT_SHARE, Examples
from flowprior.metrics.sliced import sliced_wasserstein2_squared
from flowprior.training.components import resolve_components, resolve_config
from flowprior.training.config import RunConfig, TrainingConfig
from flowprior.training.engine import Engine
from flowprior.training.from_parts import train_parts

MOST_ROWS = 16_000
"""That are looked at; a fifth is held out."""
MODEL = "mlp:width=64,depth=3"
STEPS, BATCH, WARMUP, EMA = 1500, 128, 100, 0.995
"""Those of the study of ``auto``. 500 steps favour ``latent-gmm``: on two divisions of satellite it stays at
0.015 and 0.016, while full Gaussians + ``ot`` come from 0.023 and 0.019 to 0.018 and 0.015 with 1,500."""
EVALUATIONS = 4, 15
SAMPLES, LEAST_TIMES = 20_000, 4
"""Samples of all held-out events together, and of each: their own chance is not shared by designs."""
DIRECTIONS = 50
PARTS = 5
"""Of the held-out events, which give the standard error."""
FEWEST_OF_A_LABEL = 2 * PARTS


def compare_flows(designs: Sequence[tuple[str, str]], data: Data, seed: int) -> Comparison:
    """Train a small flow of each design on four fifths of ``data``, and hold its samples against the others.

    Args:
        designs: specs of prior and coupling, which fit together.
        data: points, whose labels are looked at one by one.
        seed: of the division, the trainings and the samples.

    Returns:
        For each design whose training did not diverge, named ``PRIOR + COUPLING``, the sliced W2² between its
        samples and the held-out events, as five pseudo-values, averaged over labels and over 4 and 15
        evaluations at the times that suit the design.

    Raises:
        InputError: data that one of the priors cannot be fitted to, too few of them, or no training that did
            not diverge.
    """
    examples = Examples.of(data, MOST_ROWS, seed)
    parts = _parts_of(examples)
    scores = {}
    for prior, coupling in designs:
        with suppress(TrainingDiverged):
            flow = _trained(prior, coupling, examples, seed)
            scores[f"{prior} + {coupling}"] = _distances(flow, examples, parts, seed)
    if not scores:
        raise InputError("every short training diverged; look for extreme values in the data")
    return Comparison(scores, fitted=round(PARTS * (1 - HELD_OUT_SHARE) / HELD_OUT_SHARE))


def _trained(prior: str, coupling: str, examples: Examples, seed: int) -> Flow:
    """A small flow of one design, on the rows to fit on."""
    training = TrainingConfig(steps=STEPS, batch_size=BATCH, warmup=WARMUP, ema=EMA, seed=seed, device="cpu")
    config = RunConfig(prior=prior, coupling=coupling, model=MODEL, training=training)
    data = examples.x if examples.cond is None else (examples.x, examples.cond)
    return train_parts(resolve_components(resolve_config(config, {}), data=data), Engine())


def _parts_of(examples: Examples) -> list[list[Tensor]]:
    """Five parts of the held-out rows, each a list of rows that share a label.

    Labels with fewer than ten of them are left out; where all have fewer, labels are looked at together.
    """
    groups = [rows for _, _, rows in examples.groups() if len(rows) >= FEWEST_OF_A_LABEL]
    groups = groups or [torch.arange(len(examples.held_out))]
    return [[rows[part::PARTS] for rows in groups] for part in range(PARTS)]


def _distances(flow: Flow, examples: Examples, parts: list[list[Tensor]], seed: int) -> Tensor:
    """Between a flow's samples and the held-out events: a pseudo-value for each part, float64 ``[5]``.

    Their mean is the distance without the share that the number of held-out events has in it, and their
    deviation gives its standard error (the jackknife: Tukey 1958).
    """
    times = max(LEAST_TIMES, SAMPLES // len(examples.held_out))
    cond, count = repeated(examples.held_out_cond, times), times * len(examples.held_out)
    found = torch.zeros(PARTS, dtype=torch.float64)
    for nfe in EVALUATIONS:
        generator = torch.Generator().manual_seed(seed)
        drawn = flow.sample(cond, None if cond is not None else count, nfe=nfe, generator=generator)
        of_row = drawn.unflatten(0, (-1, times))
        for label in zip(*parts, strict=True):
            own = of_row[torch.cat(label)].flatten(0, 1)
            found += _pseudo_values(own, [examples.held_out[rows] for rows in label])
    return found / (len(EVALUATIONS) * len(parts[0]))


def _pseudo_values(drawn: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """K D − (K − 1) D_k of the distances D from all K parts and D_k from all but one, float64 ``[K]``."""

    def distance(real: Sequence[Tensor]) -> float:
        return sliced_wasserstein2_squared(drawn, torch.cat(list(real)), directions=DIRECTIONS)

    count = len(parts)
    without = [distance([*parts[:part], *parts[part + 1 :]]) for part in range(count)]
    return count * distance(parts) - (count - 1) * torch.tensor(without, dtype=torch.float64)
