"""How many modes does a law have? A mixture with too many components is merged, two by two.

EM from few centres ends in a local optimum that depends on them; from many centres every mode has some. So a
mixture of many Gaussians is fitted first. Then the two components are merged whose common Gaussian loses the
least (the bound of Runnalls 2007, "Kullback-Leibler Approach to Gaussian Mixture Reduction", on the
Kullback-Leibler divergence), and EM improves what is left, down to a single component. Taken are the fewest
components whose held-out log-density is short of the best by less than two standard errors of the difference.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowprior.inspection.examples import Examples
from flowprior.inspection.principal_axes import principal_axes
from flowprior.mixtures.averaging import Components, GaussianLaw, Regularisation, fit_from_owners, improved
from flowprior.mixtures.kmeans import clusters

MOST_COMPONENTS = 24
ROWS_EACH = 2
"""Rows of the fit for each dimension of each of the first components."""
MOST_ROWS, FEWEST_ROWS = 2000, 40
"""Rows of a label to fit to, at most and at least."""
FEWEST_HELD_OUT = 10
MOST_DIMENSIONS = 16
"""Principal axes of a label that modes are looked for along."""
MOST_LABELS = 10
FIRST_PASSES, PASSES = 10, 5
"""Of EM: from the first components, and after each merge."""
FLOOR = 1e-4
"""Of variances, as a share of the rows' mean variance."""
NEGLIGIBLE = 1e-4
"""Weight of a component that is left out."""
ERRORS = 2.0


def modes(examples: Examples) -> dict[int, int]:
    """The number of modes of at most ten labels, spread evenly; of labels with 40 rows to fit to.

    Args:
        examples: to fit on, and held out.
    """
    groups = [g for g in examples.groups() if len(g[1]) >= FEWEST_ROWS and len(g[2]) >= FEWEST_HELD_OUT]
    chosen = groups[:: max(1, math.ceil(len(groups) / MOST_LABELS))]
    return {
        label: count_modes(examples.x[fit].flatten(1), examples.held_out[held_out].flatten(1))
        for label, fit, held_out in chosen
    }


def count_modes(x: Tensor, held_out: Tensor) -> int:
    """The number of components that rows x ``[n, D]`` have by the log-density of rows held out ``[m, D]``."""
    basis = principal_axes(x[:MOST_ROWS].double())[:, :MOST_DIMENSIONS]
    x, held_out = (rows[:MOST_ROWS].double() @ basis for rows in (x, held_out))
    scale = x.var(0).mean().sqrt().clamp_min(1e-300)
    x, held_out = (x - x.mean(0)) / scale, (held_out - x.mean(0)) / scale
    densities = _densities(x, held_out)
    best = max(densities.values(), key=lambda density: float(density.mean()))
    for count in sorted(densities):
        short = best - densities[count]
        if float(short.mean()) <= ERRORS * float(short.std()) / math.sqrt(len(short)):
            return count
    raise AssertionError("the best is not short of itself")


def _densities(x: Tensor, held_out: Tensor) -> dict[int, Tensor]:
    """The held-out rows' log-densities ``[m]`` for each number of components."""
    dim = x.shape[1]
    most = max(1, min(MOST_COMPONENTS, len(x) // (ROWS_EACH * dim)))
    around = GaussianLaw(torch.zeros(dim).double(), FLOOR * torch.eye(dim).double())
    to = Regularisation(float(dim), FLOOR, around)
    owner = clusters(x, most).unique(return_inverse=True)[1]
    fitted = _alive(fit_from_owners(x, owner, to, FIRST_PASSES))
    found = {len(fitted.logits): fitted.log_density(held_out)}
    while len(fitted.logits) > 1:
        fitted = _alive(improved(x, merged(fitted), to, PASSES))
        found[len(fitted.logits)] = fitted.log_density(held_out)
    return found


def _alive(fitted: Components) -> Components:
    """Without components that hardly any row is in."""
    own = fitted.logits.softmax(0) > NEGLIGIBLE
    return Components(fitted.logits[own].log_softmax(0), fitted.mean[own], fitted.cholesky[own])


def merged(fitted: Components) -> Components:
    """One component fewer: the two that lose the least have the Gaussian of their common moments."""
    weight, covariance = fitted.logits.softmax(0), fitted.cholesky @ fitted.cholesky.mT
    both = weight[:, None] + weight
    share = (weight[:, None] / both)[:, :, None, None]
    apart = fitted.mean[:, None] - fitted.mean
    common = share * covariance[:, None] + (1 - share) * covariance
    common = common + share * (1 - share) * apart[..., :, None] * apart[..., None, :]
    own = weight * torch.logdet(covariance)
    loss = both * torch.logdet(common) - own[:, None] - own
    i, j = divmod(int(loss.fill_diagonal_(torch.inf).argmin()), len(weight))
    others = [k for k in range(len(weight)) if k not in (i, j)]
    mean = (weight[i] * fitted.mean[i] + weight[j] * fitted.mean[j]) / both[i, j]
    return Components(
        torch.cat([weight[others], both[i, j, None]]).log(),
        torch.cat([fitted.mean[others], mean[None]]),
        torch.cat([fitted.cholesky[others], torch.linalg.cholesky(common[i, j])[None]]),
    )
