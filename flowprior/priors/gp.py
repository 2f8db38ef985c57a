"""A Gaussian process over the axes of an event, alone or given observed numbers.

With the covariance K of :mod:`flowprior.priors.kernels`, the mean μ of the data, observed numbers o of the
grid and their values y under noise of variance s²,

    x0 ~ N(μ + K_{·o} (K_oo + s² I)⁻¹ (y − μ_o),  K − K_{·o} (K_oo + s² I)⁻¹ K_{o·})

(Rasmussen & Williams 2006, eq. 2.25 and 2.26). A window that is whole along all axes but one changes the
factor of that axis alone, so that gain and covariance stay products. Of a mask, K_oo is dense; source
samples are those of Matheron's rule, and the density is p(x) p(y | x) / p(y).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeGuard

import torch
from torch import Tensor, nn

from flowprior.display.shown import shape_of
from flowprior.errors import InputError, OptionError
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import thinned
from flowprior.ops.last_results import LastResults
from flowprior.ops.operators import normal
from flowprior.priors.base import Prior
from flowprior.priors.kernels import SPECTRUM, WHITE, KernelNoise, rows_to_read
from flowprior.priors.kronecker import KroneckerRoot, along
from flowprior.priors.mean_prior import check_condition_shape
from flowprior.priors.seen_conditions import SeenConditions
from flowprior.streams.batches import Batch, CheckedBatches, refuse_float_labels

OWNER = "prior 'gp'"
OBSERVED = ("embeddings", "tensor")
"""The kinds of condition that observed values are."""
MOST_OBSERVED = 2000
"""The largest number of observed numbers of a mask, whose covariance is dense."""
OBSERVED_NOISE = 1e-4
"""s² of numbers within the event, over their mean variance. Without it they would have no density."""
AT_ONCE = 1 << 24
"""The largest number of numbers in the columns of K that are found at once."""


@Prior.register("gp", aliases=("gaussian-process",))
class GaussianProcessPrior(Prior):
    """A Gaussian process along the axes of an event: structured noise, also given the past or a mask.

    Args:
        kernels: one an axis, joined by hyphens: ``rbf``, ``ou``, ``matern``, ``periodic``, ``white``, or
            ``spectrum``, a power law of the frequencies of all axes that have it; axes that follow are
            white. ``rbf@3`` fixes the scale in steps of the grid (of ``spectrum`` the exponent), and
            ``periodic@1@24`` the period, too. What is not fixed is estimated by maximum likelihood.
        window: observed positions along the first axis that is not white: ``"0:24"``, or ``"-24:0"`` for
            the 24 before the event. Their values are the condition, in the order of the event's axes.
            Empty: nothing is observed.
        mask: the observed numbers of an event, bool ``[*event]``, at most 2,000; the condition is an event,
            or these numbers alone. The mask is saved with the prior.
    """

    unwritten = ("mask",)

    def __init__(self, kernels: str = "ou", window: str = "", mask: Tensor | None = None) -> None:
        super().__init__(SeenConditions(keep_centres=False))
        self.noise = KernelNoise(OWNER, kernels)
        self.kernels, self.window = kernels, window
        self._window = _ends(window)
        if mask is not None and (window or not isinstance(mask, Tensor) or mask.dtype != torch.bool):
            got = f"window='{window}', too" if window else type(mask).__name__
            raise OptionError(f"{OWNER}: expected mask as a bool tensor without a window, got {got}")
        names = [kernel.name for kernel in self.noise.named]
        self._axis = next((axis for axis, name in enumerate(names) if name != WHITE), 0)
        if window and names[self._axis] == SPECTRUM:
            raise OptionError(f"{OWNER}: a window has no 'spectrum' along its axis; give a mask")
        self.mask = nn.Buffer(torch.zeros(0, dtype=torch.bool) if mask is None else mask.clone())
        self.loc = nn.Buffer(torch.empty(0))  # mean of the grid, flat: of a window before the event, too
        self.condition_dims = nn.Buffer(torch.empty(0, dtype=torch.long))
        # Pairs under different observations would have source samples that sampling does not have.
        self.suited_coupling = "condot" if window or mask is not None else Prior.suited_coupling
        self._given = LastResults()
        self._make_parts({"mask": self.mask}, "")

    @property
    def _is_before(self) -> bool:
        """True if the window lies before the event."""
        return self._window[0] < 0

    # -- fit ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        event = first.shape[1:]
        self.noise.check_axes(len(event))
        self._check_observed(event)
        if self.takes:
            if cond is None or not cond.is_floating_point():
                got = "None" if cond is None else "labels"
                raise InputError(f"gp.fit: expected the observed values as the condition, got {got}")
            dims = cond.shape[1:] if cond.dim() > 2 else torch.Size()
            self._check_observed_shape(dims, event)
            self.condition_dims = torch.tensor(dims, dtype=torch.long, device=self.event_dims.device)
            self.seen.learn(data, generator)
            self._values(cond.flatten(1), event)

        def grid(batches: Iterable[Batch]) -> Iterable[Tensor]:
            for x, c in batches:
                past = [self._values(c, event).to(x)] if self._is_before and c is not None else []
                parts = [self._shaped(part, event) for part in (*past, x)]
                yield torch.cat(parts, self._axis + 1).flatten(1)

        self.loc = ConditionMoments.over((row, None) for row in grid(data)).mean[0].to(first)
        some = thinned(lambda: data, rows_to_read(len(self.loc)))
        rows = torch.cat(list(grid(some))).to(self.loc) - self.loc
        grid_rows, before = self._shaped(rows, event), self._window if self._is_before else (0, 0)
        size = grid_rows.shape[self._axis + 1] - before[1] + before[0]
        self.noise.learn(grid_rows, self._axis, torch.tensor([*range(*before), *range(size)]))

    def _check_observed(self, event: torch.Size) -> None:
        """Check that window or mask leaves some of an event.

        Raises:
            InputError: what was expected, and what came.
        """
        count, most = int(self.mask.sum()), min(MOST_OBSERVED, event.numel() - 1)
        if self.mask.numel() and (self.mask.shape != event or not 0 < count <= most):
            raise InputError(
                f"gp.fit: expected a mask of shape {shape_of(event)} with 1 to {most:,} observed numbers, "
                f"got {count:,} in shape {shape_of(self.mask.shape)}"
            )
        size = event[self._axis]
        if self.window and (self._window[1] > size or self._window == (0, size)):
            raise InputError(
                f"gp.fit: expected a window that leaves some of {size} positions, got '{self.window}'"
            )

    def _check_observed_shape(self, dims: torch.Size, event: torch.Size) -> None:
        """Check that conditions of shape ``dims``, if they are not flat, lie as an event or its window does.

        Raises:
            InputError: another shape, such as axes in another order.
        """
        known = list(event)
        known[self._axis] = self._window[1] - self._window[0]
        shapes = ([known] if self.window else []) + ([] if self._is_before else [list(event)])
        if dims and list(dims) not in shapes:
            expected = " or ".join(map(shape_of, shapes))
            raise InputError(f"gp.fit: expected conditions of shape {expected}, got {shape_of(dims)}")

    # -- what is observed -----------------------------------------------------------------------

    def _shaped(self, rows: Tensor, event: torch.Size) -> Tensor:
        """Return rows ``[B, n]`` as events of any size along the axis of the window."""
        return rows.unflatten(1, [*event[: self._axis], -1, *event[self._axis + 1 :]])

    @property
    def _observed(self) -> slice:
        """The observed positions along the axis of the window, of the grid."""
        begin, end = self._window
        return slice(0, end - begin) if self._is_before else slice(begin, end)

    def _index(self, event: torch.Size) -> Tensor:
        """Return the places of the observed numbers in flat rows of the grid."""
        if self.mask.numel():
            return self.mask.flatten().nonzero()[:, 0]
        observed, others = self._observed, event.numel() // event[self._axis]
        size = event[self._axis] + (observed.stop if self._is_before else 0)
        places = torch.arange(size * others, device=self.mask.device)
        return (
            self._shaped(places[None], event)
            .narrow(self._axis + 1, observed.start, observed.stop - observed.start)
            .flatten()
        )

    def _values(self, cond: Tensor, event: torch.Size) -> Tensor:
        """Return the observed values ``[B, m]`` of conditions ``[B, E]``.

        Raises:
            InputError: conditions of another size.
        """
        index = self._index(event)
        if cond.shape[1] == len(index):
            return cond
        if cond.shape[1] == event.numel() and not self._is_before:
            return cond[:, index.to(cond.device)]
        raise InputError(
            f"gp: expected the {len(index):,} observed numbers of an event of shape {shape_of(event)} as the "
            f"condition, got {cond.shape[1]:,}"
        )

    def _deviation(self, cond: Tensor) -> Tensor:
        """Return y − μ_o ``[B, m]``."""
        event = self.event_shape
        return self._values(cond.to(self.loc), event) - self.loc[self._index(event)]

    def _window_tables(self, *_: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain ``[T, P]`` and factor ``[T, T]`` of the axis of the window, float64."""
        factor, observed = self.noise.root.factors[self._axis], self._observed
        size = int(self.noise.sizes[self._axis])
        whole = factor @ factor.mT if len(factor) else torch.eye(size).to(self.loc.device).double()
        rest = slice(observed.stop if self._is_before else 0, None)
        known = whole[observed, observed]
        if not self._is_before:
            known = known + OBSERVED_NOISE * whole.diagonal().mean() * torch.eye(len(known)).to(known)
        gain = torch.linalg.solve(known, whole[observed, rest]).mT
        return gain, torch.linalg.cholesky(whole[rest, rest] - gain @ whole[observed, rest])

    def _mask_tables(self, *_: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Cholesky factor of K_oo + s² I ``[m, m]``, and s; float64."""
        root, index = self.noise.root, self._index(self.event_shape)
        variance = OBSERVED_NOISE * root.variances().mean()
        places = torch.eye(len(index)).to(variance).split(max(1, AT_ONCE // len(self.loc)))
        columns = [self._spread_out(part, root).flatten(1)[:, index] for part in places]
        dense = torch.cat(columns) + variance * torch.eye(len(index)).to(variance)
        return torch.linalg.cholesky(dense), variance.sqrt()

    def _spread_out(self, weights: Tensor, root: KroneckerRoot) -> Tensor:
        """Return K_{·o} times weights ``[B, m]``, as events ``[B, *event]``."""
        rows = weights.new_zeros(len(weights), self.event_shape.numel())
        rows[:, self._index(self.event_shape)] = weights
        return root.times(root.transposed_times(rows.view(-1, *self.event_shape)))

    def _tables(self) -> tuple[Tensor, Tensor]:
        find = self._mask_tables if self.mask.numel() else self._window_tables
        return self._given.of(find, self.noise.values, self.noise.variance)

    # -- the distribution -------------------------------------------------------------------------

    def _moved(self, deviation: Tensor) -> Tensor:
        """Return K_{·o} (K_oo + s² I)⁻¹ times ``deviation`` ``[B, m]``, as rows ``[B, D]``."""
        table, _ = self._tables()
        if not self.mask.numel():
            return along(table, self._shaped(deviation, self.event_shape), self._axis).flatten(1)
        weights = torch.cholesky_solve(deviation.double().mT, table).mT
        return self._spread_out(weights, self.noise.root).flatten(1).to(deviation)

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        event = self.event_shape
        begin = self._observed.stop if self._is_before else 0
        loc = self._shaped(self.loc[None], event).narrow(self._axis + 1, begin, event[self._axis]).flatten(1)
        return loc + self._moved(self._deviation(cond)) if self._reads(cond) else loc.repeat(n, 1)

    def _reads(self, cond: Tensor | None) -> TypeGuard[Tensor]:
        return cond is not None and bool(self.takes)

    @property
    def _root(self) -> KroneckerRoot:
        """The root of the covariance of an event; given a window, of what that leaves."""
        root = self.noise.root
        if not self.window:
            return root
        factors = list(root.factors)
        factors[self._axis] = self._tables()[1]
        deviation = root.deviation.narrow(self._axis, 0, 1).expand(self.event_shape)
        return replace(root, factors=tuple(factors), deviation=deviation)

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        drawn = self._root.draw(n, self.loc, generator).flatten(1)
        if not self._reads(cond) or self.window:
            return self._mean(cond, n) + drawn
        _, deviation = self._tables()
        y = self._deviation(cond)
        noise = deviation.to(y) * normal(*y.shape, like=y, generator=generator)
        return self.loc + drawn + self._moved(y - drawn[:, self._index(self.event_shape)] - noise)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        if self.window:
            return self._log_density(x - self._mean(cond, len(x)).to(x))
        x0 = x - self.loc.to(x)
        density = self._log_density(x0)
        if not self._reads(cond):
            return density
        factor, deviation = self._tables()
        y = self._deviation(cond).double()
        apart = (y - x0[:, self._index(self.event_shape)].double()) / deviation
        white = torch.linalg.solve_triangular(factor, y.mT, upper=False)
        change = apart.square().sum(1) - white.square().sum(0)
        log_dets = factor.diagonal().log().sum() - len(factor) * deviation.log()
        return density + (log_dets - 0.5 * change).to(x)

    def _log_density(self, x: Tensor) -> Tensor:
        """Return the log-density ``[B]`` of rows ``[B, D]`` around their means."""
        return self._root.log_prob(x.double().view(-1, *self.event_shape)).to(x)

    # -- conditions and files ---------------------------------------------------------------------

    def _check_cond(self, cond: Tensor | None, method: str) -> Tensor | None:
        if self.takes:
            return super()._check_cond(cond, method)
        refuse_float_labels(cond, f"gp.{method}")
        return cond

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        mask = state_dict.get(prefix + "mask")
        self.takes = OBSERVED if self.window or (mask is not None and mask.numel()) else ()
        self.takes_events = bool(self.takes)

    def _check_shape(self, part: Tensor, method: str) -> None:
        check_condition_shape(part, self.condition_dims, f"gp.{method}")


def _ends(window: str) -> tuple[int, int]:
    """Read ``BEGIN:END`` of a window; (0, 0) of none.

    Raises:
        OptionError: it is no window, is empty, or reaches from before the event into it.
    """
    if not window:
        return 0, 0
    found = re.fullmatch(r"(-?\d{1,6}):(-?\d{1,6})", str(window))
    begin, end = map(int, found.groups()) if found else (0, 0)
    if begin >= end or begin < 0 < end:
        raise OptionError(
            f"{OWNER}: expected window as BEGIN:END, such as '0:24' in the event or '-24:0' before it, got "
            f"'{window}'"
        )
    return begin, end
