"""Transport plans by POT between data and source samples of equal weight, and permutations that follow them.

Small plans are held as matrices. That of N source samples and N data follows from two potentials of N numbers
each, and a pair from one row of it, so that the memory of a large one grows with N and not with its square
(Zhang et al. 2025, arXiv 2506.05526).

POT is imported when a plan is first solved, which takes two seconds; ``ot.lp`` by itself takes no less.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from flowprior.couplings.costs import centred
from flowprior.errors import CouplingError

SOLVERS = ("pot", "scipy")
"""Solvers of assignments: POT's network simplex, or scipy's, which takes a half to a tenth of its time."""
MOST_PIVOTS = 10_000_000
"""The largest number of pivots of the network simplex; 1,024 pairs take about 50,000."""
MAX_ITERATIONS = 10_000
"""The largest number of iterations of a Sinkhorn on a matrix."""
MOST_ITERATIONS = 2_000
"""The largest number of iterations of a Sinkhorn that computes the costs anew."""
MARGINAL_TOLERANCE = 1e-3
"""Relative violation of the marginals at which Sinkhorn stops; ten times as much is a failed plan."""
UNBALANCED_TOLERANCE = 1e-6
"""Relative change of the scalings at which the unbalanced solver stops."""
EMPTY = -1e4
"""Log-mass given to empty entries: far below any other, so that they are used only where they must be."""
DENSE_ROWS = 2048
"""The number of rows up to which a plan is held as one float64 matrix, of 32 MiB, and rounded."""
BLOCK_NUMBERS = 1 << 22
"""The number of costs that are held at once beyond that: 16 MiB in float32, and a few times as much."""

Array = np.ndarray


def assignment(cost: Tensor, solver: str = "pot") -> Tensor:
    """Return the permutation ``[B]``, int64 on the CPU, that minimises Σ_i cost[i, permutation[i]].

    With uniform weights an optimal plan is a permutation (Birkhoff). Both solvers give the same one, except
    among several of equal cost. Taking the least of each row, then of each column, off the cost leaves the
    minimiser alone and makes the search shorter, by scipy about four times.

    Args:
        cost: float64 ``[B, B]``.
        solver: ``"pot"`` (network simplex, Bonneel et al. 2011) or ``"scipy"`` (Crouse 2016).

    Raises:
        CouplingError: POT did not reach the optimum.
    """
    if len(cost) < 2:
        return torch.arange(len(cost))
    matrix = np.ascontiguousarray(cost.cpu().numpy())
    reduced = matrix - matrix.min(1, keepdims=True)
    reduced -= reduced.min(0)
    columns = _by_scipy(reduced) if solver == "scipy" else _by_pot(reduced)
    return torch.from_numpy(columns.astype(np.int64, copy=False))


def _by_scipy(cost: Array) -> Array:
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(cost)[1]


def _by_pot(cost: Array) -> Array:
    from ot.lp.emd_wrap import check_result, emd_c  # what ot.emd calls, whose checks take longer on few rows

    ones = np.ones(len(cost))  # whole numbers, so that the plan is one of zeros and ones
    plan, *_, status = emd_c(ones, ones, cost, MOST_PIVOTS, 1)
    if failure := check_result(status):
        raise CouplingError(f"ot: method=exact failed: {failure}; use solver=scipy")
    return plan.argmax(1)


@dataclass(frozen=True)
class PlanSolver:
    """One of POT's solvers and its options; ``reg`` and ``reg_m`` are relative to a cost."""

    method: str
    reg: float
    reg_m: float
    mass: float

    def solve(self, cost: Tensor, scale: float) -> Tensor:
        """Return the logarithm of a plan with uniform marginals, float64 ``[B, B]`` on the CPU.

        Mass that an unbalanced or partial plan leaves out is put back by :func:`complete_plan`.

        Args:
            cost: float64 ``[B, B]``.
            scale: the cost that ``reg`` and ``reg_m`` are relative to.

        Raises:
            CouplingError: POT did not converge, or its plan is non-finite, empty or off its marginals.
                A failed plan is never replaced by another one.
        """
        if scale == 0.0:
            return torch.zeros(cost.shape, dtype=torch.float64)
        weights = np.full(len(cost), 1.0 / len(cost))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                log_plan = getattr(self, f"_{self.method}")(weights, cost.cpu().numpy() / scale)
            except (UserWarning, RuntimeWarning) as warning:
                raise self._failure(str(warning)) from warning
        self._check_mass(np.exp(log_plan), weights)
        if self.method != "sinkhorn":
            log_plan = _log(complete_plan(np.exp(log_plan), weights))
        return torch.from_numpy(log_plan)

    def _sinkhorn(self, weights: Array, cost: Array) -> Array:
        """Return the logarithm of the entropic plan (Cuturi 2013, Feydy et al. 2019)."""
        from ot.bregman import sinkhorn_log

        stop = MARGINAL_TOLERANCE / math.sqrt(len(weights))
        options = {"numItermax": MAX_ITERATIONS, "stopThr": stop}
        _, log = sinkhorn_log(weights, weights, cost, self.reg, log=True, **options)
        return np.add.outer(log["log_u"], log["log_v"]) - cost / self.reg

    def _unbalanced(self, weights: Array, cost: Array) -> Array:
        """Return that with Kullback-Leibler marginals (Chizat et al. 2018; Séjourné et al. 2022)."""
        from ot.unbalanced import sinkhorn_unbalanced

        options = {"numItermax": MAX_ITERATIONS, "stopThr": UNBALANCED_TOLERANCE}
        method = "sinkhorn_translation_invariant"
        plan, log = sinkhorn_unbalanced(
            weights, weights, cost, self.reg, self.reg_m, method=method, log=True, **options
        )
        if not log["err"] or not log["err"][-1] < UNBALANCED_TOLERANCE:
            raise self._failure(f"POT did not converge in {len(log['err'])} iterations")
        return _log(plan)

    def _partial(self, weights: Array, cost: Array) -> Array:
        """Return that of the exact transport of ``mass`` (Caffarelli & McCann 2010; Chapel et al. 2020)."""
        from ot.partial import partial_wasserstein

        return _log(np.asarray(partial_wasserstein(weights, weights, cost, m=self.mass * weights.sum())))

    def _check_mass(self, plan: Array, weights: Array) -> None:
        """Refuse a plan that is non-finite, empty, off its mass, or off balanced marginals."""
        total = float(plan.sum())
        if not np.isfinite(plan).all() or total < 1e-8:
            raise self._failure(f"the plan has mass {total:.3g}")
        if self.method == "unbalanced":
            return
        mass = self.mass if self.method == "partial" else 1.0
        shares = np.stack([plan.sum(1), plan.sum(0)]) / weights
        under = 1.0 - shares.min() if mass == 1.0 else 0.0
        off = max(shares.max() - 1.0, under, abs(total - mass))
        if off > 10 * MARGINAL_TOLERANCE * math.sqrt(len(weights)):
            raise self._failure(f"the plan misses its marginals by {off:.2g} of a weight")

    def _failure(self, reason: str) -> CouplingError:
        return CouplingError(
            f"ot: method={self.method} failed with reg={self.reg}, reg_m={self.reg_m}, mass={self.mass}: "
            f"{' '.join(reason.split())}; raise reg, or use method=exact"
        )


def complete_plan(plan: Array, weights: Array) -> Array:
    """Return a plan with both marginals equal to ``weights``, from one that leaves mass out.

    Rows and columns that carry too much are scaled down, then what is missing is coupled
    independently: P + (a − P1)(b − Pᵀ1)ᵀ / missing (Altschuler, Weed & Rigollet 2017, alg. 2).
    """
    plan = plan * np.minimum(1.0, weights / np.maximum(plan.sum(1), 1e-300))[:, None]
    plan = plan * np.minimum(1.0, weights / np.maximum(plan.sum(0), 1e-300))[None, :]
    rows, columns = weights - plan.sum(1), weights - plan.sum(0)
    missing = rows.sum()
    return plan if missing < 1e-12 else plan + np.outer(rows, columns) / missing


def _log(plan: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(plan, 0.0))


def round_plan(log_plan: Tensor, generator: torch.Generator | None = None, solver: str = "pot") -> Tensor:
    """Return a random permutation ``[B]`` that follows the plan, from its logarithm ``[B, B]``.

    Perturb-and-MAP (Papandreou & Yuille 2011): the assignment that maximises Σ_i (log P + G)[i, π(i)]
    with standard Gumbel noise G. Without the constraint each row would be drawn exactly from the plan
    (Gumbel-max); with it every source sample is used once, where drawing with replacement keeps only
    63 % of them. Factors of rows and columns of P, such as Sinkhorn's scalings, do not change the result.

    Args:
        log_plan: float64, −inf where the plan is empty.
        generator: source of the noise, on any device.
        solver: of the assignment.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    exponential = torch.empty(log_plan.shape, dtype=torch.float64, device=device)
    exponential.exponential_(generator=generator)
    gumbel = -exponential.cpu().clamp_min(1e-300).log()
    return assignment(-(log_plan.clamp_min(EMPTY) + gumbel), solver)


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
        """Solve for the plan between data x1 ``[N, F]`` and source samples x0 ``[N, F]``.

        By POT's log-domain Sinkhorn (Cuturi 2013), which computes the costs anew, some rows at a time.

        Args:
            x1, x0: the rows.
            reg: entropic regularisation relative to the mean cost.

        Raises:
            CouplingError: rows that are not finite, or Sinkhorn did not converge.
        """
        data, sources = centred(x1, x0)  # the data have mean 0, so that products of the two average to 0
        scale = reg * float(data.square().sum(1).mean() + sources.square().sum(1).mean())
        data, sources = data.cpu().float(), sources.cpu().float()
        if scale == 0:  # all rows are one
            return cls(data, sources, data.new_zeros(len(data)), 1.0)
        from ot.bregman import empirical_sinkhorn

        rows = max(1, BLOCK_NUMBERS // len(data))
        options = {"isLazy": True, "batchSize": rows, "numIterMax": MOST_ITERATIONS}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = empirical_sinkhorn(
                data / scale**0.5, sources / scale**0.5, 1.0, stopThr=MARGINAL_TOLERANCE, **options
            )
        potentials = cast("tuple[Tensor, Tensor]", found)[1]
        if caught or not bool(torch.isfinite(potentials).all()):
            why = " ".join(str(caught[0].message).split()) if caught else "the potentials are not finite"
            raise CouplingError(f"ot: method=sinkhorn failed with reg={reg}: {why}; raise reg")
        return cls(data, sources, potentials, scale)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw for each datum a source sample from its row of the plan: indices ``[N]``, int64, on the CPU.

        By the row's distribution function. Draws of different data do not depend on each other, so that a
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
