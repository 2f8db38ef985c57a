"""Source samples re-paired with data by optimal transport inside the batch, within the condition."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.conditions import Conditions, Parts
from flowprior.conditions.rows import as_value, choose_parts, label_groups, numbers_in
from flowprior.conditions.values import describe_value
from flowprior.couplings.base import Coupling, PairingCoupling
from flowprior.couplings.costs import centred, distances_between, weighted_cost
from flowprior.couplings.plans import DENSE_ROWS, SOLVERS, LargePlan, PlanSolver, assignment, round_plan
from flowprior.errors import CouplingError
from flowprior.mixtures.grouped import sorted_by
from flowprior.registry.options import check_counts, check_numbers, choose

OWNER = "coupling 'ot'"
CONDITIONS = ("auto", "within", "ignore", "weighted")
METHODS = ("exact", "sinkhorn", "unbalanced", "partial")


@Coupling.register("ot", aliases=("minibatch-ot", "batchot"))
class OTCoupling(PairingCoupling):
    """x0 ~ p0(·|c), re-paired with the data by optimal transport in the batch (squared Euclidean cost).

    Pairing across conditions bends the distribution of x0 given c away from where sampling starts (C²OT,
    arXiv 2503.10636), so by default equal labels are paired among themselves.

    Args:
        method: POT's ``"exact"`` plan, which is a permutation, or its ``"sinkhorn"``, ``"unbalanced"`` or
            ``"partial"`` plan rounded to a random permutation; mass that the last two leave out is paired at
            random. Beyond 2,048 rows ``sinkhorn`` holds no plan: each datum draws from its own row of it, so
            that a source sample may come twice (:mod:`flowprior.couplings.plans`).
        condition: ``"within"`` equal conditions; ``"ignore"`` them (the BatchOT baseline); ``"weighted"``
            (C²OT's cost, for embeddings); ``"auto"``: within labels, weighted for embeddings.
        reg: entropic regularisation, relative to the mean cost (``sinkhorn``, ``unbalanced``).
        reg_m: weight of the marginals, relative to the mean cost (``unbalanced``).
        mass: share of the mass that is transported (``partial``).
        kept_share: share of pairs that stay candidates under the ``weighted`` cost.
        ot_batch: pairs to draw and solve at once, for several training batches; None for one.
        reads: name of the part that it pairs by, where a condition has several, or some with ``+`` between
            them; empty for all. Under ``auto`` rows of equal labels are paired among themselves, by the
            weighted cost where there is an embedding, too; token states count by their mean.
        solver: ``"pot"``, or ``"scipy"`` for its assignment, which is quicker: of the exact plan, and of the
            rounding of the others.
    """

    def __init__(
        self,
        method: str = "exact",
        condition: str = "auto",
        reg: float = 0.05,
        reg_m: float = 1.0,
        mass: float = 0.9,
        kept_share: float = 0.01,
        ot_batch: int | None = None,
        reads: str = "",
        solver: str = "pot",
    ) -> None:
        check_numbers(OWNER, reg=(reg, 1e-12, 1e12), reg_m=(reg_m, 1e-12, 1e12))
        check_numbers(OWNER, mass=(mass, 1e-12, 1), kept_share=(kept_share, 0, 1))
        check_counts(OWNER, ot_batch=1 if ot_batch is None else ot_batch)
        self.method = choose(OWNER, "method", method, METHODS)
        self.condition = choose(OWNER, "condition", condition, CONDITIONS)
        self.reg = reg
        self.reg_m = reg_m
        self.mass = mass
        self.kept_share = kept_share
        self.ot_batch = ot_batch
        self.reads = reads
        self.solver = choose(OWNER, "solver", solver, SOLVERS)

    def draw_size(self, batch_size: int) -> int:
        """Return ``ot_batch`` rounded up to a multiple of ``batch_size``."""
        return batch_size if self.ot_batch is None else -(-self.ot_batch // batch_size) * batch_size

    def pair(
        self, x0: Tensor, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return which x0 each datum starts at, ``[B]``, int64 on the device of x0.

        A permutation, but where ``method="sinkhorn"`` meets more than 2,048 rows of one condition.

        Raises:
            CouplingError: shapes that do not fit, non-finite costs, or a plan that failed.
            InputError: ``reads`` names no part of the condition.
        """
        cond = as_value(cond)
        if x0.shape != x1.shape or x1.dim() < 2:
            raise CouplingError(
                f"ot.pair: expected x0 and x1 of one shape [B, *event], got {list(x0.shape)} and "
                f"{list(x1.shape)}"
            )
        if cond is not None and len(cond) != len(x1):
            raise CouplingError(
                f"ot.pair: expected one condition for each of {len(x1)} rows, got {len(cond)}"
            )
        labels, weighing = self._split(cond)
        if labels is None or not len(x1):
            return self._pair(*centred(x1, x0), weighing, generator).to(x0.device)
        keys = labels.unique(dim=0, return_inverse=True)[1] if labels.dim() > 1 else labels
        _, counts, order = sorted_by(keys.cpu())
        rows = order.to(x1.device)
        data, sources = centred(x1.index_select(0, rows), x0.index_select(0, rows))
        parts = [order, data, sources, *([] if weighing is None else [weighing.index_select(0, rows)])]
        permutation = torch.empty_like(order)
        for own, part1, part0, *near in zip(*(part.split(counts) for part in parts), strict=True):
            permutation[own] = own[self._pair(part1, part0, *near, generator=generator)]
        return permutation.to(x0.device)

    def _pair(
        self,
        x1: Tensor,
        x0: Tensor,
        weighing: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return which x0 ``[M]`` each of some rows takes, on the CPU; any of them may be paired.

        Args:
            x1, x0: float64 ``[M, D]``.
            weighing: embeddings ``[M, E]`` whose distances add to the cost.
            generator: of the rounding.
        """
        if self.method == "exact" and weighing is None:
            # The squared distance up to one number a row and one a column, to which an assignment is blind.
            return assignment(-(x1 @ x0.T), self.solver)
        if self.method == "sinkhorn" and weighing is None and len(x1) > DENSE_ROWS:
            return LargePlan.of(x1, x0, self.reg).draw(generator)
        cost = distances_between(x1, x0)
        scale = float(cost.mean())
        if weighing is not None:
            cost = weighted_cost(cost, weighing, self.kept_share)
        if len(cost) < 2 or self.method == "exact":
            return assignment(cost, self.solver)
        plan = PlanSolver(self.method, self.reg, self.reg_m, self.mass).solve(cost, scale)
        return round_plan(plan, generator, self.solver)

    def _split(self, cond: Conditions | None) -> tuple[Tensor | None, Tensor | None]:
        """Split the condition ``[B, …]``: rows pair within equal values; what is left adds to the cost."""
        if isinstance(cond, Parts):
            cond = cond.only(choose_parts(cond.names, self.reads, "ot.pair"))
        elif self.reads and cond is not None:
            choose_parts((), self.reads, "ot.pair")
        if cond is None or self.condition == "ignore":
            return None, None
        labels, numbers = label_groups(cond), numbers_in(cond)
        if self.condition == "within":
            labels, numbers = numbers if labels is None else labels, None
        elif self.condition == "weighted":
            labels, numbers = None, labels if numbers is None else numbers
        if labels is None and numbers is None:
            raise CouplingError(
                f"ot.pair: expected labels, embeddings or token states, got {describe_value(cond)}; set "
                "reads= to one of these parts, or condition=ignore"
            )
        return labels, numbers
