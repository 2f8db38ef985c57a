"""Optimal pairings: the assignment of least cost, and entropic, unbalanced and partial plans through POT.

Costs are squared Euclidean distances between data and source samples, in float64; with the condition's own
distance added they are the cost of C²OT (arXiv 2503.10636).

Small plans are held as matrices. That of N source samples and N data follows from two potentials of N numbers
each, and a pair from one row of it, so that the memory of a large one grows with N and not with its square
(Zhang et al. 2025, arXiv 2506.05526).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from flowprior.errors import CouplingError

MAX_ITERATIONS = 10_000
MARGINAL_TOLERANCE = 1e-3
"""Relative violation of the marginals at which Sinkhorn stops; ten times as much is a failed plan."""
UNBALANCED_TOLERANCE = 1e-6
"""Relative change of the scalings at which the unbalanced solver stops."""

Array = np.ndarray


def transport_cost(x0: Tensor, x1: Tensor) -> Tensor:
    """Mean of ‖x1 − x0‖² over the coupled pairs, a float64 scalar.

    It falls trivially with the prior's scale: never a measure of quality alone.

    Raises:
        CouplingError: shapes differ.
    """
    if x0.shape != x1.shape:
        raise CouplingError(
            f"transport_cost: expected equal shapes, got {list(x0.shape)} and {list(x1.shape)}"
        )
    return (x1.double() - x0.double()).flatten(1).square().sum(1).mean()


def squared_distances(x1: Tensor, x0: Tensor) -> Tensor:
    """‖x1_i − x0_j‖² for rows ``[B, *event]`` and ``[M, *event]``: float64 ``[B, M]``.

    One matrix product over rows centred at the mean of x1, which keeps cancellation away from the
    digits that matter. Computed where the rows are, on the CPU where their device has no float64.

    Raises:
        CouplingError: NaN or infinity in the rows, or values too large to square.
    """
    a, b = _centred(x1, x0)
    norms = a.square().sum(1)[:, None] + b.square().sum(1)
    return _finite(torch.addmm(norms, a, b.T, alpha=-2.0).clamp_min_(0.0))


def inner_costs(x1: Tensor, x0: Tensor) -> Tensor:
    """−⟨x1_i − m, x0_j − m⟩ with m the mean of x1, float64 ``[B, M]``.

    Half of :func:`squared_distances` up to one number a row and one a column, to which an assignment is
    blind; about a third cheaper.

    Raises:
        CouplingError: as :func:`squared_distances`.
    """
    a, b = _centred(x1, x0)
    return _finite((a @ b.T).neg_())


def mean_squared_distance(x1: Tensor, x0: Tensor) -> float:
    """The mean of :func:`squared_distances` over all pairs, without their matrix.

    Raises:
        CouplingError: as :func:`squared_distances`.
    """
    a, b = _centred(x1, x0)  # a has mean 0, so that products of the two average to 0
    return float(_finite(a.square().sum(1).mean() + b.square().sum(1).mean()))


def weighted_cost(cost: Tensor, cond: Tensor, kept_share: float) -> Tensor:
    """C_ij + w d(c_i, c_j), ``[B, B]``, with w chosen by :func:`condition_weight`.

    Args:
        cost: C_ij = ‖x1_i − x0_j‖², ``[B, B]``, x0_j drawn under c_j.
        cond: labels ``[B]`` or embeddings ``[B, E]``.
        kept_share: share of the pairs of different rows that may still be paired.
    """
    distance = condition_distance(cond).to(cost)
    return cost + condition_weight(cost, distance, kept_share) * distance


def condition_distance(cond: Tensor) -> Tensor:
    """d(c_i, c_j), float64 ``[B, B]``: squared Euclidean for embeddings, 0 or 1 for labels."""
    if cond.is_floating_point():
        return squared_distances(cond, cond).fill_diagonal_(0.0)
    return (cond[:, None] != cond[None, :]).double()


def condition_weight(cost: Tensor, distance: Tensor, kept_share: float) -> float:
    """The weight w ≥ 0 that leaves ``kept_share`` of the off-diagonal pairs as candidates.

    Datum i may leave its own x0_i for x0_j only where C_ij + w d_ij < C_ii, that is where
    w < (C_ii − C_ij) / d_ij. So the share of candidates is that of the thresholds above w, and w is
    their (1 − kept_share) quantile: no search. Pairs of equal conditions (d = 0) ignore w; where they alone
    exceed the share, w is the least that leaves nothing but them.
    """
    off = ~torch.eye(len(cost), dtype=torch.bool, device=cost.device)
    gain = (cost.diagonal()[:, None] - cost)[off]
    apart = distance[off]
    bound = apart > 0
    wanted = int(kept_share * len(gain)) - int((gain[~bound] > 0).sum())
    thresholds = gain[bound] / apart[bound]
    rank = len(thresholds) - max(wanted, 0)
    if rank < 1:
        return 0.0
    return max(float(thresholds.kthvalue(rank).values), 0.0)


def _centred(x1: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    if x1.device.type == "mps":
        x1, x0 = x1.cpu(), x0.cpu()
    a = x1.detach().flatten(1).to(torch.float64, copy=True)
    b = x0.detach().flatten(1).to(torch.float64, copy=True)
    centre = a.mean(0)
    return a.sub_(centre), b.sub_(centre)


def _finite(cost: Tensor) -> Tensor:
    if not torch.isfinite(cost.sum()):
        raise CouplingError(
            "ot: the cost between source samples and data is not finite; look for NaN or infinity in x1 and "
            "in what the prior samples"
        )
    return cost


@dataclass(frozen=True)
class PlanSolver:
    """One of POT's solvers and its options; ``reg`` and ``reg_m`` are relative to a cost."""

    method: str
    reg: float
    reg_m: float
    mass: float

    def solve(self, cost: Tensor, scale: float) -> Tensor:
        """Logarithm of a plan with uniform marginals, float64 ``[B, B]`` on the CPU; −inf where it is empty.

        Mass that an unbalanced or partial plan leaves out is put back by :func:`complete_plan`.

        Args:
            cost: float64 ``[B, B]``.
            scale: the cost that ``reg`` and ``reg_m`` are relative to.

        Raises:
            CouplingError: POT did not converge, or its plan is non-finite, empty or off its marginals.
                A failed plan is never replaced by another one.
        """
        matrix = cost.cpu().numpy().astype(np.float64, copy=False)
        if scale == 0.0:
            return torch.zeros(matrix.shape, dtype=torch.float64)
        weights = np.full(len(matrix), 1.0 / len(matrix))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            log_plan = getattr(self, f"_{self.method}")(weights, matrix / scale)
        for warning in caught:
            if issubclass(warning.category, (UserWarning, RuntimeWarning)):
                raise self._failure(str(warning.message))
        self._require_mass(np.exp(log_plan), weights)
        if self.method != "sinkhorn":
            log_plan = _log(complete_plan(np.exp(log_plan), weights))
        return torch.from_numpy(log_plan)

    def _sinkhorn(self, weights: Array, cost: Array) -> Array:
        """Log-domain Sinkhorn (Cuturi 2013, Feydy et al. 2019)."""
        from ot.bregman import sinkhorn_log

        _, log = sinkhorn_log(
            weights,
            weights,
            cost,
            self.reg,
            numItermax=MAX_ITERATIONS,
            stopThr=MARGINAL_TOLERANCE / math.sqrt(len(weights)),
            log=True,
        )
        return np.add.outer(log["log_u"], log["log_v"]) - cost / self.reg

    def _unbalanced(self, weights: Array, cost: Array) -> Array:
        """Entropic transport with Kullback-Leibler marginals (Chizat et al. 2018; Séjourné et al. 2022)."""
        from ot.unbalanced import sinkhorn_unbalanced

        plan, log = sinkhorn_unbalanced(
            weights,
            weights,
            cost,
            self.reg,
            self.reg_m,
            method="sinkhorn_translation_invariant",
            numItermax=MAX_ITERATIONS,
            stopThr=UNBALANCED_TOLERANCE,
            log=True,
        )
        if not log["err"] or not log["err"][-1] < UNBALANCED_TOLERANCE:
            raise self._failure(f"POT did not converge in {len(log['err'])} iterations")
        return _log(plan)

    def _partial(self, weights: Array, cost: Array) -> Array:
        """Exact partial transport of ``mass`` (Caffarelli & McCann 2010; Chapel et al. 2020)."""
        from ot.partial import partial_wasserstein

        return _log(np.asarray(partial_wasserstein(weights, weights, cost, m=self.mass * weights.sum())))

    def _require_mass(self, plan: Array, weights: Array) -> None:
        """Refuse a plan that is non-finite, empty, off its mass, or off balanced marginals."""
        total = float(plan.sum())
        if not np.isfinite(plan).all() or total < 1e-8:
            raise self._failure(f"the plan has mass {total:.3g}")
        if self.method == "unbalanced":
            return
        mass = self.mass if self.method == "partial" else 1.0
        rows, columns = plan.sum(1) / weights, plan.sum(0) / weights
        over = max(float(rows.max()), float(columns.max())) - 1.0
        under = 1.0 - min(float(rows.min()), float(columns.min())) if mass == 1.0 else 0.0
        off = max(over, under, abs(total - mass))
        if off > 10 * MARGINAL_TOLERANCE * math.sqrt(len(weights)):
            raise self._failure(f"the plan misses its marginals by {off:.2g} of a weight")

    def _failure(self, what: str) -> CouplingError:
        return CouplingError(
            f"ot: method={self.method} failed with reg={self.reg}, reg_m={self.reg_m}, mass={self.mass}: "
            f"{' '.join(what.split())}; raise reg, or use method=exact"
        )


def complete_plan(plan: Array, weights: Array) -> Array:
    """A plan with both marginals equal to ``weights``, from one that leaves mass out.

    Rows and columns that carry too much are scaled down, then what is missing is coupled
    independently: P + (a − P1)(b − Pᵀ1)ᵀ / missing (Altschuler, Weed & Rigollet 2017, alg. 2).
    """
    plan = plan * np.minimum(1.0, weights / np.maximum(plan.sum(1), 1e-300))[:, None]
    plan = plan * np.minimum(1.0, weights / np.maximum(plan.sum(0), 1e-300))[None, :]
    rows, columns = weights - plan.sum(1), weights - plan.sum(0)
    missing = rows.sum()
    return plan if missing < 1e-12 else plan + np.outer(rows, columns) / missing


EMPTY = -1e4
"""Log-mass given to empty entries: far below any other, so that they are used only where they must be."""


def assign(cost: Tensor) -> Tensor:
    """Permutation ``[B]`` int64 on the CPU that minimises Σ_i cost[i, permutation[i]], cost ``[B, B]``.

    With uniform weights an optimal plan is a permutation (Birkhoff), so scipy's assignment
    (Crouse 2016) gives what POT's network simplex gives, faster. Taking the least of each row, then of
    each column, off the cost leaves the minimiser alone and makes the search about four times shorter.
    """
    from scipy.optimize import linear_sum_assignment

    matrix = cost.cpu().numpy()
    if not matrix.size:
        return torch.arange(0)
    reduced = matrix - matrix.min(1, keepdims=True)
    reduced -= reduced.min(0)
    _, columns = linear_sum_assignment(reduced)
    return torch.from_numpy(columns.astype(np.int64, copy=False))


def round_plan(log_plan: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A random permutation ``[B]`` that follows the plan, from its logarithm ``[B, B]``.

    Perturb-and-MAP (Papandreou & Yuille 2011): the assignment that maximises Σ_i (log P + G)[i, π(i)]
    with standard Gumbel noise G. Without the constraint each row would be drawn exactly from the plan
    (Gumbel-max); with it every source sample is used once, where drawing with replacement keeps only
    63 % of them. Factors of rows and columns of P, such as Sinkhorn's scalings, do not change the result.

    Args:
        log_plan: float64, −inf where the plan is empty.
        generator: source of the noise, on any device.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    exponential = torch.empty(log_plan.shape, dtype=torch.float64, device=device)
    exponential.exponential_(generator=generator)
    gumbel = -exponential.cpu().clamp_min(1e-300).log()
    return assign(-(log_plan.clamp_min(EMPTY) + gumbel))


DENSE_ROWS = 2048
"""Rows up to which a plan is held as one float64 matrix, of 32 MiB, and rounded to a permutation."""
BLOCK_NUMBERS = 1 << 22
"""Costs that are held at once beyond that: 16 MiB in float32, and a few times as much on the way."""
MOST_ITERATIONS = 2_000
"""Of the Sinkhorn that computes the costs anew."""


@dataclass(frozen=True)
class LargePlan:
    """The entropic plan of N data and N source samples, for squared Euclidean cost and uniform weights.

    Attributes:
        data, sources: float32 ``[N, F]``, about one centre, on the CPU.
        potentials: logarithms ``[N]`` of the sources' scalings.
        scale: the cost that is one unit of the regularisation.
    """

    data: Tensor
    sources: Tensor
    potentials: Tensor
    scale: float

    @classmethod
    def of(cls, x1: Tensor, x0: Tensor, reg: float) -> LargePlan:
        """The plan between data x1 ``[N, F]`` and source samples x0 ``[N, F]``.

        By POT's log-domain Sinkhorn (Cuturi 2013), which computes the costs anew, some rows at a time.

        Args:
            x1, x0: the rows.
            reg: entropic regularisation relative to the mean cost.

        Raises:
            CouplingError: rows that are not finite, or Sinkhorn did not converge.
        """
        scale, centre = reg * mean_squared_distance(x1, x0), x1.mean(0)
        data, sources = ((x - centre).detach().cpu().float() for x in (x1, x0))
        if scale == 0:  # all rows are one
            return cls(data, sources, data.new_zeros(len(data)), 1.0)
        from ot.bregman import empirical_sinkhorn

        rows = max(1, BLOCK_NUMBERS // len(data))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = empirical_sinkhorn(
                data / scale**0.5,
                sources / scale**0.5,
                1.0,
                isLazy=True,
                batchSize=rows,
                numIterMax=MOST_ITERATIONS,
                stopThr=MARGINAL_TOLERANCE,
            )
        potentials = cast("tuple[Tensor, Tensor]", found)[1]
        if caught or not bool(torch.isfinite(potentials).all()):
            why = " ".join(str(caught[0].message).split()) if caught else "the potentials are not finite"
            raise CouplingError(f"ot: method=sinkhorn failed with reg={reg}: {why}; raise reg")
        return cls(data, sources, potentials, scale)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """For each datum a source sample from its row of the plan: indices ``[N]``, int64, on the CPU.

        By the row's distribution function. Draws of different data do not know of each other, so that a
        source sample may come twice or never; each comes once on average.
        """
        count = len(self.data)
        device = generator.device if generator is not None else torch.device("cpu")
        uniform = torch.rand(count, 1, generator=generator, dtype=torch.float64, device=device).cpu()
        heights = self.potentials - self.sources.square().sum(1) / self.scale
        chosen, rows = [], max(1, BLOCK_NUMBERS // count)
        for some, u in zip(self.data.split(rows), uniform.split(rows), strict=True):
            mass = torch.addmm(heights, some, self.sources.T, alpha=2 / self.scale).double().softmax(1)
            reached = mass.cumsum(1)
            chosen.append(torch.searchsorted(reached, u * reached[:, -1:]).clamp_max(count - 1))
        return torch.cat(chosen)[:, 0]


def _log(plan: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(plan, 0.0))
