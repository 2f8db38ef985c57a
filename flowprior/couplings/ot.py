"""Source samples re-paired with data by optimal transport inside the batch, within the condition."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from flowprior.conditions import (
    Conditions,
    Parts,
    TokenStates,
    as_value,
    choose_parts,
    describe_value,
    flat,
    label_groups,
    numbers_in,
)
from flowprior.couplings.base import Coupling, PairingCoupling
from flowprior.couplings.plans import (
    DENSE_ROWS,
    LargePlan,
    PlanSolver,
    assign,
    inner_costs,
    round_plan,
    squared_distances,
    weighted_cost,
)
from flowprior.errors import CouplingError, OptionError
from flowprior.mixtures.grouped import groups
from flowprior.registry import choose

V = TypeVar("V")

CONDITIONS = ("auto", "within", "ignore", "weighted")
METHODS = ("exact", "sinkhorn", "unbalanced", "partial")


@Coupling.register("ot", aliases=("minibatch-ot", "batchot"))
class OTCoupling(PairingCoupling):
    """x0 ~ p0(·|c), re-paired with the data by optimal transport in the batch (squared Euclidean cost).

    Pairing across conditions bends the law of x0 given c away from where sampling starts (C²OT,
    arXiv 2503.10636), so equal labels are paired among themselves unless told otherwise.

    Args:
        method: ``"exact"`` (assignment), or POT's ``"sinkhorn"``, ``"unbalanced"`` or ``"partial"`` plan
            rounded to a random permutation; mass that the last two leave out is paired at random. Beyond
            2,048 rows ``sinkhorn`` holds no plan: each datum draws from its own row of it, so that a source
            sample may come twice (:mod:`flowprior.couplings.plans`).
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
    ) -> None:
        self.method = choose("coupling 'ot'", "method", method, METHODS)
        self.condition = choose("coupling 'ot'", "condition", condition, CONDITIONS)
        self.kept_share = _within("kept_share", kept_share, 0.0 <= kept_share <= 1.0, "in [0, 1]")
        self.reg = _within("reg", reg, reg > 0, "above 0")
        self.reg_m = _within("reg_m", reg_m, reg_m > 0, "above 0")
        self.mass = _within("mass", mass, 0.0 < mass <= 1.0, "in (0, 1]")
        self.ot_batch = _within("ot_batch", ot_batch, ot_batch is None or ot_batch >= 1, "1 or more")
        self.reads = _within("reads", reads, isinstance(reads, str), "a part's name")

    def draw_size(self, batch_size: int) -> int:
        """``ot_batch`` rounded up to a multiple of ``batch_size``."""
        return batch_size if self.ot_batch is None else -(-self.ot_batch // batch_size) * batch_size

    def pair(
        self, x0: Tensor, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Which x0 each datum starts at, ``[B]``, int64 on the device of x0; see :class:`PairingCoupling`.

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
        within, weighted = self._seen(cond)
        if within is None:
            permutation = self._pair_rows(x1, x0, weighted, generator)
        else:
            permutation = torch.empty(len(x1), dtype=torch.long)
            keys = (within.unique(dim=0, return_inverse=True)[1] if within.dim() > 1 else within).cpu()
            for rows, _, _ in groups(keys, torch.zeros_like(keys)):
                here = rows.to(x1.device)
                near = None if weighted is None else weighted.index_select(0, here)
                part = self._pair_rows(x1.index_select(0, here), x0.index_select(0, here), near, generator)
                permutation[rows] = rows[part]
        return permutation.to(x0.device)

    def _pair_rows(
        self, x1: Tensor, x0: Tensor, near: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """The permutation ``[M]`` for rows that may all be paired; those of ``near`` conditions rather."""
        if near is None:
            return self._solve(x1, x0, generator)
        cost = squared_distances(x1, x0)
        return self._solve_cost(weighted_cost(cost, near, self.kept_share), float(cost.mean()), generator)

    def _seen(self, cond: Conditions | None) -> tuple[Tensor | None, Tensor | None]:
        """Split the condition ``[B, …]``: rows pair within equal values; what is left adds to the cost."""
        if isinstance(cond, Parts):
            cond = cond.only(choose_parts(cond.names, self.reads, "ot.pair"))
        elif self.reads and cond is not None:
            choose_parts((), self.reads, "ot.pair")
        if cond is None or self.condition == "ignore":
            return None, None
        if isinstance(cond, Tensor):
            mode = "weighted" if cond.is_floating_point() else "within"
            mode = mode if self.condition == "auto" else self.condition
            return (cond, None) if mode == "within" else (None, flat(cond))
        return self._seen_parts(cond)

    def _seen_parts(self, cond: Parts | TokenStates) -> tuple[Tensor | None, Tensor | None]:
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

    def _solve(self, x1: Tensor, x0: Tensor, generator: torch.Generator | None) -> Tensor:
        """Which x0 ``[M]`` each of some rows takes that may all be paired, on the CPU."""
        if self.method == "exact":
            return assign(inner_costs(x1, x0))
        if self.method == "sinkhorn" and len(x1) > DENSE_ROWS:
            return LargePlan.of(x1, x0, self.reg).draw(generator)
        cost = squared_distances(x1, x0)
        return self._solve_cost(cost, float(cost.mean()), generator)

    def _solve_cost(self, cost: Tensor, scale: float, generator: torch.Generator | None) -> Tensor:
        """The permutation for a cost matrix ``[M, M]``; ``scale`` is what ``reg`` is relative to."""
        if len(cost) < 2 or self.method == "exact":
            return assign(cost)
        plan = PlanSolver(self.method, self.reg, self.reg_m, self.mass).solve(cost, scale)
        return round_plan(plan, generator)


def _within(option: str, value: V, possible: bool, expected: str) -> V:
    if not possible:
        raise OptionError(f"coupling 'ot': {option}={value} is not possible; choose it {expected}")
    return value
