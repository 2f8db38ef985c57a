"""Designs compared by short trainings on the data: what a prior's fit alone does not tell.

How far a flow mends its prior depends on the coupling and on how many numbers an event has, which no score of
the prior's own draws sees (docs/automatic.md). So small networks are trained, and their samples held against
events that neither they nor their priors have seen. They run on the processor and on one thread, as fits do,
for the number of threads not to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from flowprior.conditions import repeated
from flowprior.conditions import rows as take
from flowprior.data import Data, TensorData
from flowprior.errors import InputError, TrainingDiverged
from flowprior.flow import Flow
from flowprior.inspection.comparison import Comparison, design_name
from flowprior.inspection.examples import HELD_OUT_SHARE, Examples
from flowprior.metrics.sliced import sliced_wasserstein2_squared
from flowprior.priors.one_thread import one_thread
from flowprior.training.components import resolve_components, resolve_config
from flowprior.training.config import RunConfig, TrainingConfig
from flowprior.training.engine import Engine
from flowprior.training.from_parts import train_parts

MOST_ROWS = 16_000
"""That are looked at; a fifth is held out."""
MOST_NUMBERS = 1 << 25
"""Numbers in rows, and in samples, that are held at once; of events of many numbers there are fewer."""
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
        data: points, whose labels are looked at one by one; 16,000 of them at the most, and fewer where an
            event has more than 2,000 numbers.
        seed: of the division, the trainings and the samples.

    Returns:
        For each design whose training and samples did not diverge, named ``PRIOR + COUPLING``, the sliced
        W2² between its samples and the held-out events, as five pseudo-values, averaged over labels and over
        4 and 15 evaluations at the times that suit the design.

    Raises:
        InputError: data that one of the priors cannot be fitted to, too few of them, or no training that did
            not diverge.
    """
    examples = Examples.of(data, min(MOST_ROWS, MOST_NUMBERS // data.event_shape.numel()), seed)
    parts = _parts_of(examples)
    scores = {}
    for prior, coupling in designs:
        with suppress(TrainingDiverged), one_thread():
            flow = _trained(prior, coupling, examples, seed)
            scores[design_name(prior, coupling)] = _distances(flow, examples, parts, seed)
    if not scores:
        raise InputError("every short training diverged; look for extreme values in the data")
    return Comparison(scores, fitted=round(PARTS * (1 - HELD_OUT_SHARE) / HELD_OUT_SHARE))


def _trained(prior: str, coupling: str, examples: Examples, seed: int) -> Flow:
    """A small flow of one design, on the rows to fit on."""
    training = TrainingConfig(steps=STEPS, batch_size=BATCH, warmup=WARMUP, ema=EMA, seed=seed, device="cpu")
    config = RunConfig(prior=prior, coupling=coupling, model=MODEL, training=training)
    classes = None if examples.counts is None else len(examples.counts)
    data = TensorData(examples.x, examples.cond, classes=classes)
    data.groups = examples.fit_groups
    return train_parts(resolve_components(resolve_config(config, {}), data=data), Engine())


def _parts_of(examples: Examples) -> list[list[Tensor]]:
    """Five parts of the held-out rows, each a list of rows that share a label.

    Labels that no row to fit on has are left out, and those with fewer than ten rows; where all have fewer,
    labels are looked at together.
    """
    known = [held_out for _, rows, held_out in examples.groups() if len(rows)]
    if not known:
        raise InputError("no label has rows to fit on and rows to hold out; name other groups of rows")
    groups = [rows for rows in known if len(rows) >= FEWEST_OF_A_LABEL] or [torch.cat(known)]
    return [[rows[part::PARTS] for rows in groups] for part in range(PARTS)]


def _distances(flow: Flow, examples: Examples, parts: list[list[Tensor]], seed: int) -> Tensor:
    """Between a flow's samples and the held-out events: a pseudo-value for each part, float64 ``[5]``.

    Their mean is the distance without the share that the number of held-out events has in it, and their
    deviation gives its standard error (the jackknife: Tukey 1958).
    """
    rows = torch.cat([rows for part in parts for rows in part]).sort().values
    samples = min(SAMPLES, MOST_NUMBERS // examples.x[0].numel())
    times = max(LEAST_TIMES, samples // len(rows))
    cond, count = repeated(take(examples.held_out_cond, rows), times), times * len(rows)
    place = torch.empty(len(examples.held_out), dtype=torch.long)
    place[rows] = torch.arange(len(rows))
    found = torch.zeros(PARTS, dtype=torch.float64)
    for nfe in EVALUATIONS:
        generator = torch.Generator().manual_seed(seed)
        drawn = flow.sample(cond, None if cond is not None else count, nfe=nfe, generator=generator)
        if not drawn.isfinite().all():
            raise TrainingDiverged(f"samples at {nfe} evaluations are not finite")
        of_row = drawn.unflatten(0, (-1, times))
        for label in zip(*parts, strict=True):
            own = of_row[place[torch.cat(label)]].flatten(0, 1)
            found += _pseudo_values(own, [examples.held_out[rows] for rows in label])
    return found / (len(EVALUATIONS) * len(parts[0]))


def _pseudo_values(drawn: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """K D − (K − 1) D_k of the distances D from all K parts and D_k from all but one, float64 ``[K]``."""

    def distance(real: Sequence[Tensor]) -> float:
        return sliced_wasserstein2_squared(drawn, torch.cat(list(real)), directions=DIRECTIONS)

    count = len(parts)
    without = [distance([*parts[:part], *parts[part + 1 :]]) for part in range(count)]
    return count * distance(parts) - (count - 1) * torch.tensor(without, dtype=torch.float64)
