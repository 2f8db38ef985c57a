"""A flow simulated without a network: the optimal velocity of prior and coupling, estimated in closed form.

At each time t of Euler's method v(x, t, c) = (E[x1 | x_t = x, c] − x) / (1 − t) is estimated from training
pairs; source samples of sampling take the steps, and are compared with held-out data. Where those of training
are δ deviations off, n examples are worth n exp(−‖δ‖²), the effective size of an importance sample (Kong
1992). docs/inspect.md derives the score, of which only the order is meant to carry over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import joined, label_groups, numbers_in
from flowprior.conditions.rows import rows as take
from flowprior.couplings import Coupling
from flowprior.couplings.costs import squared_distances
from flowprior.inspection.examples import POOLED, Examples, draw_pairs
from flowprior.inspection.regression import Regression, fit_regression, principal_axes
from flowprior.priors import Prior

TRAINING_BATCH = 128
"""The number of pairs that a coupling draws at once."""
MOST_PAIRS = 6144
"""The largest number of pairs that are drawn."""
MOST_GROUPS = 10
"""The largest number of labels that are simulated."""
MOST_ROWS = 512
"""The largest number of pairs, and of held-out rows, of a label."""
MOST_POOLED_ROWS = 1024
"""The same where all rows are one group."""
FEWEST_ROWS = 48
"""The fewest pairs of a label that is simulated."""
LEAST_DISTANCE = 1e-3
"""The least distance in the score; smaller ones of a few hundred rows are chance."""
MOST_SHIFT = 50.0
"""The largest shift in the score."""


@dataclass(frozen=True)
class SimulatedFlow:
    """The result of a simulated flow.

    Attributes:
        distance: for each number of steps, the energy distance between its samples and held-out data, as a
            share of the largest it could be: 0 for equal distributions, 1 for point masses apart; averaged
            over conditions. Unbiased, so that chance can bring it below 0.
        crossing: E‖(x1 − x0) − v(x_t, t)‖² over the steps' times, as a share of the data's variance within
            conditions: the part of the velocity that the position does not determine.
        shift: ‖δ‖², δ the distance between the means of the source samples of training and of sampling under
            a condition in units of their deviation, averaged over conditions, less what chance gives.
        groups: how many conditions were simulated; 1 where they were pooled.
    """

    distance: dict[int, float]
    crossing: float
    shift: float
    groups: int

    @property
    def score(self) -> float:
        """The score √(distance · crossing · exp(shift)); the distance of the most steps, above chance."""
        distance = max(self.distance[max(self.distance)], LEAST_DISTANCE)
        return math.sqrt(distance * self.crossing * math.exp(min(self.shift, MOST_SHIFT)))


@dataclass(frozen=True)
class _Group:
    """Coordinates of one condition's pairs (x0, x1), sampling's source samples, held-out data; float64."""

    x0: Tensor
    x1: Tensor
    source: Tensor
    held_out: Tensor


@torch.no_grad()
def simulate_flow(
    prior: Prior, coupling: Coupling, examples: Examples, generator: torch.Generator, *, steps: int = 4
) -> SimulatedFlow:
    """Take ``steps`` Euler steps, and the fewer ones whose times are among theirs.

    Works in the leading 64 principal components of each group's data. Groups are up to ten labels with enough
    pairs; without any, everything is one group about the mean of its condition.

    Args:
        prior: fitted on ``examples.x``.
        coupling: draws the pairs, in training batches of 128 or what it asks for.
        examples: data to fit on and to compare with.
        generator: of the source samples of training and of sampling.
        steps: k.
    """
    groups = list(_groups(prior, coupling, examples, generator))
    counts = [count for count in range(1, steps + 1) if steps % count == 0]
    distances, crossing, shift = dict.fromkeys(counts, 0.0), 0.0, 0.0
    weight = [len(group.held_out) / sum(len(other.held_out) for other in groups) for group in groups]
    for group, share in zip(groups, weight, strict=True):
        denoisers, lost = _denoisers(group, steps)
        crossing += share * lost
        shift += share * _shift(group)
        for count in counts:
            x = group.source
            for step, denoiser in enumerate(denoisers[:: steps // count]):
                x = x + (denoiser(x) - x) / (count - step)  # along (E[x1 | x] − x) / (1 − t)
            distances[count] += share * energy_coefficient(x, group.held_out)
    return SimulatedFlow(distances, crossing, max(shift, 0.0), len(groups))


def energy_coefficient(x: Tensor, y: Tensor) -> float:
    """Return the unbiased energy distance 2E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖, over 2E‖X − Y‖.

    Székely & Rizzo (2013).

    Args:
        x: ``[n, d]``.
        y: ``[m, d]``.
    """
    n, m = len(x), len(y)
    cross = 2 * squared_distances(x, y).sqrt().mean()
    within = squared_distances(x, x).fill_diagonal_(0).sqrt().sum() / (n * (n - 1))
    within = within + squared_distances(y, y).fill_diagonal_(0).sqrt().sum() / (m * (m - 1))
    return float((cross - within) / cross.clamp_min(1e-300))


def _denoisers(group: _Group, steps: int) -> tuple[list[Regression], float]:
    """Return E[x1 | x_t] at the times 0, 1/k, …, and the mean unexplained part of the velocity."""
    fitted, lost = [], 0.0
    variance = float(group.x1.var(0).mean().clamp_min(1e-300))
    for step in range(steps):
        t = step / steps
        denoiser, error = fit_regression(t * group.x1 + (1 - t) * group.x0, group.x1)
        fitted.append(denoiser)
        lost += error / (1 - t) ** 2 / variance / steps
    return fitted, lost


def _shift(group: _Group) -> float:
    """Return the squared distance of the means of both sources, in deviations, less its expectation."""
    deviation = group.source.std(0).clamp_min(1e-12)
    moved = ((group.x0.mean(0) - group.source.mean(0)) / deviation).square().sum()
    return float(moved) - group.x0.shape[1] * (1 / len(group.x0) + 1 / len(group.source))


def _groups(
    prior: Prior, coupling: Coupling, examples: Examples, generator: torch.Generator
) -> Iterator[_Group]:
    """Yield pairs, source samples and data of each simulated condition, in coordinates of its own."""
    x1, cond = examples.x[:MOST_PAIRS], take(examples.cond, slice(0, MOST_PAIRS))
    x0 = torch.cat([x0 for x0, _ in draw_pairs(prior, coupling, x1, cond, TRAINING_BATCH, generator)])
    source = coupling.source(prior, examples.held_out_cond, len(examples.held_out), generator=generator)
    centre, held_out_centre = _centres(examples)
    parts = [(x0, centre[: len(x1)]), (x1, centre[: len(x1)])]
    parts += [(source, held_out_centre), (examples.held_out, held_out_centre)]
    pairs = [(x.flatten(1).double().cpu() - middle) for x, middle in parts]
    for rows, held_out in _rows(examples, len(x1)):
        basis = principal_axes(pairs[1][rows])
        yield _Group(*(pairs[i][rows] @ basis for i in (0, 1)), *(pairs[i][held_out] @ basis for i in (2, 3)))


def _rows(examples: Examples, pairs: int) -> list[tuple[Tensor, Tensor]]:
    """Return the rows of pairs and of held-out data of each group."""
    large = [
        (rows[rows < pairs][:MOST_ROWS], held_out[:MOST_ROWS])
        for label, rows, held_out in examples.groups()
        if label != POOLED and int((rows < pairs).sum()) >= FEWEST_ROWS and len(held_out) > 1
    ]
    if not large:
        most = torch.arange(MOST_POOLED_ROWS)
        return [(most[:pairs], most[: len(examples.held_out)])]
    return large[:: -(-len(large) // MOST_GROUPS)]


def _centres(examples: Examples) -> tuple[Tensor, Tensor]:
    """Return the data means under each row's condition, ``[N, D]`` and ``[M, D]``, which a network knows."""
    x, labels, held_out = examples.x.flatten(1).double(), examples.labels, examples.held_out_labels
    if labels is None or held_out is None:
        if examples.cond is not None:
            numbers = _numbers(joined([examples.cond, examples.held_out_cond]))
            seen, unseen = numbers.split([len(x), len(examples.held_out)])
            mean, _ = fit_regression(seen[:MOST_POOLED_ROWS], x[:MOST_POOLED_ROWS])
            return mean(seen), mean(unseen)
        labels, held_out = (torch.zeros(len(part), dtype=torch.long) for part in (x, examples.held_out))
    means = x.new_zeros(int(labels.max()) + 1, x.shape[1]).index_add_(0, labels, x)
    means /= torch.bincount(labels).clamp_min(1)[:, None]
    return means[labels], means[held_out]


def _numbers(cond: Conditions | None) -> Tensor:
    """Return all of a condition as numbers float64 ``[B, E]``: a column for each label, means of tokens."""
    assert cond is not None
    numbers, labels = numbers_in(cond), label_groups(cond)
    beside = [] if numbers is None else [numbers.double()]
    beside += [] if labels is None else [torch.nn.functional.one_hot(labels).double()]
    return torch.cat(beside, 1)
