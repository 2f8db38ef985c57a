"""The velocity that reproduces the training set, in closed form, beside the network's, by time.

    values = "benchmarks.studies.closed_form:values"

On the path x_t = (1 − t) x0 + t x1 let x0 given a data sample x1 of label c be Gaussian, with a mean m_c(x1)
that is affine in x1 and a covariance S_c. Of all velocities the one that leaves the least training loss on
the n training samples x_j of the label is then, for u = x1 − x0 = (x1 − x_t)/(1 − t),

    v(x_t, t, c) = Σ_j w_j (x_j − x_t)/(1 − t),   w_j ∝ N(x_t; (1 − t) m_c(x_j) + t x_j, (1 − t)² S_c).

Its samples are training samples (Bertrand et al. 2025, arXiv 2506.03719, for N(0, I)).

With z(x) = S_c^(-1/2) (x − μ_c) and E[z(x0) | x1] = a ⊙ z(x1), the exponent of w_j is
−½ ‖z(x_t) − (t + (1 − t) a) ⊙ z(x_j)‖² / (1 − t)². Under a prior with one Gaussian for each label and the
coupling ``condot`` a = 0. Source samples of the coupling ``posterior`` are inferred from their data
(:mod:`flowprior.priors.frame`): with y = ψ^(-1/2) (x − μ_c),

    Qᵀ y0 | x1 ~ N((1 − 1/λ) Qᵀ y1, 2 − 1/λ),   (I − Q Qᵀ) y0 ~ N(0, I − Q Qᵀ).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, everything, generator, rows_of
from flowprior.couplings.drawing import CondOTCoupling, PosteriorCoupling
from flowprior.data import Data
from flowprior.data.splits import draw_indices
from flowprior.flow import Flow
from flowprior.paths import CondOTPath
from flowprior.priors import GaussianPrior, GmmPrior
from flowprior.priors.frame import latent_noise
from flowprior.priors.subspace_prior import SubspacePrior

TIMES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95)
PAIRS = 256
"""The number of pairs of each split."""
OTHER_PAIRS = ("peers:torchcfm_ot", "peers:torchcfm_ot_within")
"""The ends of the names of trainers whose pairs are not those of the coupling that a flow is saved with."""
METRICS = ("velocity-distance-closed-form", "closed-form-residual", "velocity-residual")


@dataclass(frozen=True)
class SourceGivenData:
    """The Gaussian distribution of x0 given x1 under one label, in coordinates of unit covariance.

    Attributes:
        white: the affine map from events ``[N, D]`` to coordinates z ``[N, K]``, float64.
        slope: a ``[K]``, where E[z(x0) | x1] = a ⊙ z(x1).
    """

    white: Callable[[Tensor], Tensor]
    slope: Tensor


def source_given_data(flow: Flow, label: int) -> SourceGivenData | None:
    """Return the distribution of x0 given x1; None where it is no Gaussian of this kind.

    It is none on another path, under a prior that is a mixture, and where labels are given pairs of the
    prior's own (:mod:`flowprior.priors.few_examples`).
    """
    prior, coupling = flow.prior, flow.coupling
    if not isinstance(flow.path, CondOTPath):
        return None
    if isinstance(prior, SubspacePrior) and isinstance(coupling, PosteriorCoupling):
        return None if bool((prior.given > 0).any()) else _inferred(prior, label)
    if isinstance(prior, GaussianPrior) and isinstance(coupling, CondOTCoupling):
        return _independent(prior.loc, {"var": prior.var})
    if isinstance(prior, GmmPrior) and prior.components == 1 and isinstance(coupling, CondOTCoupling):
        covariance = {name: prior.get_buffer(name)[label, 0] for name in prior.family.parameters}
        return _independent(prior.loc[label, 0], covariance)
    return None


def _independent(mean: Tensor, covariance: dict[str, Tensor]) -> SourceGivenData:
    """Return the distribution of x0 that does not depend on x1; the covariance is that of a ``gmm``."""
    mean, tables = mean.double(), {name: table.double() for name, table in covariance.items()}
    if "var" in tables:
        factor = tables["var"].expand_as(mean).sqrt().diag()
    elif "cholesky" in tables:
        factor = tables["cholesky"]
    else:
        factor = torch.linalg.cholesky(tables["factor"] @ tables["factor"].T + tables["noise"].diag())

    def white(x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(factor, (x - mean).T, upper=False).T

    return SourceGivenData(white, torch.zeros_like(mean))


def _inferred(prior: SubspacePrior, label: int) -> SourceGivenData:
    """Return the distribution of x0 that is inferred from x1."""
    rank = prior.subspace.rank
    frame = prior.spread(torch.full((rank,), label), rank)
    axes = frame.axes.out_of(torch.eye(rank).to(frame.loc)).double().T
    mean, scale, spread = frame.loc[0].double(), frame.noise[0].double().sqrt(), frame.spread[0].double()
    slope, variance = latent_noise(spread)

    def white(x: Tensor) -> Tensor:
        whole = (x - mean) / scale
        along = whole @ axes
        return torch.cat([along / (spread * variance).sqrt(), whole - along @ axes.T], 1)

    return SourceGivenData(white, torch.cat([slope, torch.zeros_like(mean)]))


class ClosedForm:
    """The velocity of the smallest training loss under one label.

    Args:
        source: the distribution of x0 given x1.
        rows: the training samples of the label, ``[n, D]``.
    """

    def __init__(self, source: SourceGivenData, rows: Tensor) -> None:
        self.source, self.rows = source, rows.double()
        self._white = source.white(self.rows)

    def velocity(self, x: Tensor, t: float) -> Tensor:
        """Return v(x, t) ``[N, D]``, float64, for points x ``[N, D]``."""
        x = x.double()
        centres = (t + (1 - t) * self.source.slope) * self._white
        distances = torch.cdist(self.source.white(x), centres)
        weights = (-0.5 * (distances / (1 - t)).square()).softmax(1)
        return (weights @ self.rows - x) / (1 - t)


def pairs_of(flow: Flow, data: Data, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return source samples, data samples and labels of pairs that are spread evenly over the labels."""
    own = generator(seed)
    x1, cond = data.batch(draw_indices(data, PAIRS, own))
    assert isinstance(cond, Tensor)
    return flow.coupling.draw(flow.prior, x1, cond, generator=own).double(), x1.double(), cond


@torch.no_grad()
def errors(flow: Flow, closed: ClosedForm, x0: Tensor, x1: Tensor, cond: Tensor, t: float) -> Tensor:
    """Return :data:`METRICS` of each pair of one label, ``[N, 3]``.

    Squared distances of the network's velocity from that in closed form, of the latter from u = x1 − x0, and
    of the former from u, divided by ‖u‖².
    """
    u, x = x1 - x0, (1 - t) * x0 + t * x1
    learned = flow.velocity(x.float(), torch.full((len(x),), t), cond).double()
    ideal = closed.velocity(x.flatten(1), t).view_as(x)
    differences = torch.stack([learned - ideal, ideal - u, learned - u], 1)
    return differences.flatten(2).square().sum(2) / u.flatten(1).square().sum(1, keepdim=True)


def values(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return the mean of :func:`errors` over pairs of training and of held-out data, at each of ``TIMES``.

    Held-out data are those of the validation split, or else of the test split. ``condition`` is the time.
    There are no rows where the closed form is not known, as for pairs of optimal transport.
    """
    if data.train.condition.kind != "labels" or run.variant.trainer.endswith(OTHER_PAIRS):
        return []
    held_out = {"test": data.test} if data.validation is None else {"validation": data.validation}
    pairs = {name: pairs_of(flow, part, run.seed) for name, part in {"train": data.train, **held_out}.items()}
    x, labels = everything(data.train)
    found: dict[tuple[str, float], list[Tensor]] = defaultdict(list)
    for label in labels.unique().tolist():
        source = source_given_data(flow, label)
        if source is None:
            return []
        closed = ClosedForm(source, x[labels == label].flatten(1))
        for split, (x0, x1, cond) in pairs.items():
            own = cond == label
            for t in TIMES if own.any() else ():  # few held-out data may have none of a label
                found[split, t].append(errors(flow, closed, x0[own], x1[own], cond[own], t))
    rows = []
    for (split, t), parts in found.items():
        means = torch.cat(parts).mean(0).tolist()
        rows += rows_of(dict(zip(METRICS, means, strict=True)), split=split, condition=t, samples=PAIRS)
    return rows
