"""An average of Gaussian mixtures for each condition, as rich as held-out rows and the lack of copies allow.

p(x | c) = (1/M) Σ_m Σ_k π_cmk N(x; μ_cmk, S_cmk): M mixtures of full Gaussians from different starts
(:mod:`flowprior.mixtures.averaging`). Made for events of some tens of numbers, such as the latents of a
subspace prior: a component has D(D + 1)/2 numbers in its covariance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from flowprior.mixtures.averaging import (
    Blur,
    Components,
    Regularisation,
    fit_average,
    nearer_share,
)
from flowprior.mixtures.grouped import by_group
from flowprior.mixtures.samples import PIECE, Reservoirs
from flowprior.ops.gmm_sample import draw_component
from flowprior.ops.mixture import triangular_log_density
from flowprior.ops.operators import normal
from flowprior.priors.base import Prior
from flowprior.priors.checks import check_fit_labels, explaining_degenerate
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers
from flowprior.streams.batches import CheckedBatches, FitData

OWNER = "prior 'averaged-gmm'"
ROWS = 8192
"""Most rows of a condition that are looked at; a uniform sample where there are more."""
BUDGET = 1 << 26
"""Most numbers held in those rows of all conditions."""
ONE = 2 * ROWS
"""Rows a component that make one component of each condition."""
ROWS_EACH = (400, 200, 140, 100, 70, 50, 35, 25)
"""Rows a component, from few components to many, that a fit chooses among."""
SLACK = 0.004
"""Nats a dimension below the best held-out density at which more components are taken: they draw better."""
MOST_COPIES = 0.61
"""Share of draws nearer to the half that was fitted than to the other from which on a choice is refused.

On Fashion-MNIST's latents, twice as many components (0.64) draw no better than those chosen (0.60)."""
LOOKED_AT = 16
"""Conditions that the choice is made on, spread evenly."""
FEWEST = 4
"""Rows of a condition that are halved."""
POINTS = 16
"""Most dimensions of points, of which every number of components is tried, on several halvings. Of more, such
as a picture's latents, a fit takes long, and the first number that is clearly worse is the last one tried."""
HALVED, HALVINGS = 2048, 8
"""Rows of a condition of points that are halved, counted as often as they are, and how often at the most: on
one halving of 210 points two Gaussians were by chance worse than one, and sixteen were not tried."""
MEMBERS = 2
"""Mixtures in an average: more of them gain density, and draw no better."""


@dataclass(frozen=True)
class _Task:
    """The fit of one condition: its rows ``[n, D]``, its Gaussian, what happens to draws of it."""

    x: Tensor
    mean: Tensor
    covariance: Tensor
    blur: Blur


@Prior.register("averaged-gmm", option_aliases={"shrinkage": "within_shrinkage"})
class AveragedGmmPrior(Prior):
    """An average of Gaussian mixtures of each condition, whose size the fit chooses on held-out rows.

    Conditions are labels, or None for one average of all the data. The rows of each condition are halved;
    mixtures of one half are compared by the other's log-density, from few components to many, and a number
    is refused where draws lie nearer to the fitted half than to the other, as copies do. The most components
    that come within 0.004 nats a dimension of the best are taken, and all rows fitted with as many rows a
    component. Of up to 16 dimensions all numbers are tried, on up to eight halvings of few rows; of more,
    those before the first that is worse. At most 8,192 rows of a condition are kept during the fit.

    Args:
        rows_each: rows that a component has on average; None lets the fit choose.
        members: M, mixtures in the average.
        within_shrinkage: how many examples' worth of the covariance within all components are added to each.
        reg_covar: added to the diagonal of every covariance.
    """

    takes = ("labels",)

    def __init__(
        self,
        rows_each: int | None = None,
        members: int = MEMBERS,
        within_shrinkage: float = 8.0,
        reg_covar: float = 1e-6,
    ) -> None:
        super().__init__()
        check_counts(OWNER, members=members, **({} if rows_each is None else {"rows_each": rows_each}))
        check_numbers(OWNER, within_shrinkage=(within_shrinkage, 0, 1e12), reg_covar=(reg_covar, 0, 1e12))
        self.rows_each = rows_each
        self.members = members
        self.within_shrinkage = within_shrinkage
        self.reg_covar = reg_covar
        self._blur: Blur | None = None
        self.logits = nn.Buffer(torch.empty(0))
        self.loc = nn.Buffer(torch.empty(0))
        self.factors = nn.Buffer(torch.empty(0))

    @staticmethod
    def size_of(rows: Sequence[float], dim: int) -> float:
        """About the most numbers that a fit to so many rows of each condition, ``[dim]`` each, keeps."""
        return MEMBERS * dim * (dim + 1) / 2 * sum(max(min(n, ROWS) / ROWS_EACH[-1], 1) for n in rows)

    # -- fit ----------------------------------------------------------------------------------

    def fit_blurred(
        self, data: FitData, slope: Tensor, variance: Tensor, *, generator: torch.Generator | None = None
    ) -> AveragedGmmPrior:
        """Learn the law of a x + v^½ ε, ε standard normal, from rows x; as :meth:`fit` otherwise.

        The noise is brought in exactly. A subspace prior's inferred latents are such rows of the data's own
        latents, and a fit to noised rows takes the noise that it happens to get for structure.

        Args:
            data: as of :meth:`fit`, of events ``[D]``.
            slope: a ``[C, D]``, one row a label, or one row where there is no condition.
            variance: v ``[C, D]``, at least 0.
            generator: source of the randomness of the fit.

        Raises:
            InputError: as :meth:`fit`.
        """
        self._blur = Blur(slope.cpu(), variance.cpu())
        try:
            self.fit(data, generator=generator)
        finally:
            self._blur = None
        return self

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, cond = data.peek()
        check_fit_labels("averaged-gmm", cond, "embeddings need the prior 'flow'")
        self.seen.learn(data, generator)
        conditions, dim = max(self.seen.condition.size, 1), first[0].numel()
        kept = Reservoirs(conditions, max(min(ROWS, BUDGET // (conditions * dim)), FEWEST), dim, first.dtype)
        for x, cond in data.labelled():
            labels = torch.zeros(len(x), dtype=torch.long) if cond is None else cond.cpu()
            kept.update(x.cpu(), labels, generator)
        # Of no row where a label has none.
        rows = [own[filled] for own, filled in zip(kept.rows, kept.filled, strict=True)]
        no_blur = Blur(torch.ones(len(rows), dim), torch.zeros(len(rows), dim))
        blur = self._blur or no_blur
        laws = zip(rows, *_gaussians(rows), strict=True)
        tasks = [_Task(*law, blur.of(label)) for label, law in enumerate(laws)]
        rows_each = self.rows_each or self._choose(tasks, generator)
        averages = [self._average(task.x, task, rows_each, self.members, generator) for task in tasks]
        self._store(averages, first)

    def _choose(self, tasks: Sequence[_Task], generator: torch.Generator | None) -> int:
        """The fewest rows a component that the half that was not fitted, and the lack of copies, allow."""
        tasks = [task for task in tasks if len(task.x) >= FEWEST]
        tasks = tasks[:: max(len(tasks) // LOOKED_AT, 1)][:LOOKED_AT]
        dim = tasks[0].x.shape[1] if tasks else 0
        halved = [(task, list(_orders(task.x, generator))) for task in tasks]
        scores: dict[int, float] = {}
        before: list[int] = []
        for rows_each in (ONE, *ROWS_EACH):
            sizes = [_components(len(task.x) // 2, rows_each) for task in tasks]
            if sizes == before:
                continue
            score, copies = self._measure(halved, rows_each, generator)
            worse = score < max(scores.values(), default=-torch.inf) - SLACK * dim
            if copies > MOST_COPIES or (worse and dim > POINTS):
                break
            scores[rows_each], before = score, sizes
        least = max(scores.values(), default=-torch.inf) - SLACK * dim
        return min((rows_each for rows_each, score in scores.items() if score >= least), default=ONE)

    def _measure(
        self,
        halved: Sequence[tuple[_Task, Sequence[Tensor]]],
        rows_each: int,
        generator: torch.Generator | None,
    ) -> tuple[float, float]:
        """Mean log-density of the other halves, and the share of draws that lie nearer to the fitted ones.

        All numbers of components see the same orders of a task's rows, which differ by more than they do.
        """
        total, copies, count = 0.0, 0.0, 0
        for task, orders in halved:
            half = len(task.x) // 2
            for x in orders:
                own, other = x[:half], x[half : 2 * half].double()
                fitted = self._average(own, task, rows_each, 1, generator)
                total += float(fitted.log_density(task.blur.apply(other, generator)).sum())
                slope, drawn = task.blur.slope, fitted.draw(half, generator)
                copies += half * nearer_share(drawn, slope * own.double(), slope * other)
                count += half
        return total / max(count, 1), copies / max(count, 1)

    def _average(
        self, x: Tensor, task: _Task, rows_each: int, members: int, generator: torch.Generator | None
    ) -> Components:
        """Return the average for a condition's rows ``[n, D]``, blurred; its Gaussian where it has no row."""
        dim, centre = x.shape[1], task.mean  # float32's sums are taken about the centre
        to = Regularisation(self.within_shrinkage, self.reg_covar, task.covariance)
        components = _components(len(x), rows_each)
        with explaining_degenerate("averaged-gmm", self.reg_covar):
            if len(x):
                fitted = fit_average(x - centre.to(x), components, members, to, generator)
            else:
                floor = self.reg_covar * torch.eye(dim, dtype=torch.float64)
                factor = torch.linalg.cholesky(task.covariance + floor)
                fitted = Components(torch.zeros(1).double(), torch.zeros(1, dim).double(), factor[None])
        return replace(fitted, mean=fitted.mean + centre).blurred(task.blur)

    def _store(self, averages: Sequence[Components], like: Tensor) -> None:
        """Keep the tables ``[C, K, …]``; a condition with fewer components has some of weight 0."""
        most, dim = max(len(a.logits) for a in averages), averages[0].mean.shape[1]
        shape = (len(averages), most)
        self.logits = like.new_full(shape, -torch.inf)
        self.loc = like.new_zeros(*shape, dim)
        self.factors = packed(torch.eye(dim, dtype=like.dtype, device=like.device)).repeat(*shape, 1)
        for row, average in enumerate(averages):
            own = slice(0, len(average.logits))
            self.logits[row, own] = average.logits.to(like)
            self.loc[row, own] = average.mean.to(like)
            self.factors[row, own] = packed(average.cholesky).to(like)

    # -- use ----------------------------------------------------------------------------------

    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        rows = self._rows(cond, n)
        component = draw_component(self.logits, rows, generator)
        epsilon = normal(n, self.loc.shape[2], like=self.loc, generator=generator)
        place, factors = rows * self.logits.shape[1] + component, self.factors.flatten(0, 1)
        size = max(PIECE // factors.shape[1], 1)
        parts = zip(place.split(size), epsilon.split(size), strict=True)
        moved = [times_triangle(factors.index_select(0, own), noise) for own, noise in parts]
        return self.loc.flatten(0, 1).index_select(0, place) + torch.cat(moved)

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        rows = self._rows(cond, len(x))
        return by_group(_log_density, rows, (self.logits, self.loc, self.factors), x)

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        return (self.logits.softmax(1)[..., None] * self.loc).sum(1)[self._rows(cond, n)]

    def _rows(self, cond: Tensor | None, n: int) -> Tensor:
        """Rows ``[n]`` of the tables: labels, or the only row there is."""
        return torch.zeros(n, dtype=torch.long, device=self.loc.device) if cond is None else cond


def packed(triangle: Tensor) -> Tensor:
    """The numbers of lower triangles ``[…, D, D]`` on and below the diagonal, ``[…, D (D + 1)/2]``."""
    row, column = torch.tril_indices(*triangle.shape[-2:], device=triangle.device)
    return triangle[..., row, column]


def _log_density(logits: Tensor, mean: Tensor, factors: Tensor, x: Tensor) -> Tensor:
    """Return log p(x) ``[n]`` of one condition's average, or ``[n, 1]`` of x ``[n, 1, D]`` of as many."""
    if logits.dim() > 1:
        joint = triangular_log_density(x, mean, unpacked(factors)) + logits[:, None]
        return joint.logsumexp(-1)
    own = logits > -torch.inf
    return Components(logits[own], mean[own], unpacked(factors[own])).log_density(x)


def unpacked(numbers: Tensor) -> Tensor:
    """The lower triangles ``[…, D, D]`` that :func:`packed` gives these numbers of."""
    count, dim = numbers.shape[-1], math.isqrt(2 * numbers.shape[-1])
    row, column = torch.tril_indices(dim, dim, device=numbers.device)
    flat = numbers.reshape(-1, count)
    triangles = flat.new_zeros(len(flat), dim * dim).index_copy_(1, row * dim + column, flat)
    return triangles.view(*numbers.shape[:-1], dim, dim)


def times_triangle(numbers: Tensor, x: Tensor) -> Tensor:
    """Return L x ``[n, D]`` of x ``[n, D]`` and triangles L whose numbers :func:`packed` gives ``[n, …]``."""
    _, column = torch.tril_indices(x.shape[1], x.shape[1], device=x.device)
    products = x.index_select(1, column).mul_(numbers).T.contiguous()
    lengths = torch.arange(1, x.shape[1] + 1, device=x.device)
    return torch.segment_reduce(products, "sum", lengths=lengths, axis=0).T


def _orders(x: Tensor, generator: torch.Generator | None) -> Iterator[Tensor]:
    """The rows x ``[n, D]`` as they are and, of few points, in some random orders, each to be halved."""
    yield x
    if x.shape[1] <= POINTS:
        for _ in range(min(HALVED // len(x), HALVINGS) - 1):
            yield x[torch.randperm(len(x), generator=generator)]


def _components(rows: int, rows_each: int) -> int:
    return max(round(rows / rows_each), 1)


def _gaussians(rows: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Each condition's mean ``[D]`` and covariance ``[D, D]``, of the rows ``[n, D]`` of all conditions.

    Its mean is given one example's worth of the mean of all rows, its covariance D examples' worth of the
    covariance within conditions, and that one D examples' worth of the covariance of all rows.
    """
    everything = torch.cat(list(rows)).double()
    dim, mean = everything.shape[1], everything.mean(0)
    scatters, means = [], []
    for x in rows:
        own = (x.double().sum(0) + mean) / (len(x) + 1)
        deviation = x.double() - own
        means.append(own)
        scatters.append(deviation.T @ deviation)
    deviation = everything - mean
    whole = deviation.T @ deviation / len(everything)
    within = (torch.stack(scatters).sum(0) + dim * whole) / (len(everything) + dim)
    return means, [(s + dim * within) / (len(x) + dim) for s, x in zip(scatters, rows, strict=True)]
