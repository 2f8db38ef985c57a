"""Gaussian noise with structure: a kernel an axis, multiplied over the axes of an event.

    K = σ² K_1 ⊗ … ⊗ K_A,   K_a[i, j] = k_a(|i − j|; ℓ_a) + η_a 1[i = j]

with distances in steps of the grid. The kernels are those of Rasmussen & Williams 2006, chapter 4: ``rbf``
(squared exponential), ``ou`` (Matérn ½, Ornstein–Uhlenbeck), ``matern`` (Matérn 3/2), ``periodic`` and
``white``. The axes named ``spectrum`` have one power law together, in the orthonormal cosine basis (DCT-II):
coefficients of the radial frequency k, in half cycles, are independent with variance max(k, 1)^(−ℓ) + η.

Scales ℓ, periods, noises η and σ² are those of largest likelihood. One axis is fitted at a time to the second
moments of rows that the others have whitened, in float64, until all have been fitted a few times (Dutilleul
1999, "The MLE algorithm for the matrix normal distribution"); given an axis' kernel, σ² has a closed form.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from flowprior.errors import OptionError
from flowprior.ops.last_results import LastResults
from flowprior.priors.kronecker import KroneckerRoot
from flowprior.registry.options import choose

WHITE, PERIODIC, SPECTRUM = "white", "periodic", "spectrum"
KERNELS = ("rbf", "ou", "matern", PERIODIC, WHITE, SPECTRUM)
AXES = 4
"""The largest number of axes."""
ROWS, NUMBERS = 2048, 1 << 21
"""The largest number of rows, and of numbers in them, that kernels are fitted to."""
MOST_POSITIONS = 8192
"""The largest number of positions along an axis that is not white: its factor is dense."""
SWEEPS = 4
"""The number of times that each of several axes is fitted."""
LEAST_VARIANCE = 1e-6
"""The least σ², in squared units of the rows."""
NAMES = ("scale", "period", "noise")
"""The parameters of a kernel, in their order."""
NOISES = (1e-6, 1e2)
"""The range of η."""
STARTS = {"scale": 4, "noise": 2}
"""The number of values of each parameter that the search may start from; of a period it is one."""
PERIODIC_SCALES = (0.3, 1.0, 3.0)
"""The scales with which periods are compared."""
PERIODS_AT_ONCE = 256
"""The number of periods that are compared at once."""
INSIDE = 0.1
"""The least distance from a bound at which the search starts, in logarithms of parameters."""
TOLERANCES = {"xatol": 1e-4, "fatol": 1e-9, "maxiter": 400}
"""The tolerances of the search: of logarithms of parameters, of nats a number, and its most steps."""


def rows_to_read(dim: int) -> int:
    """Return how many rows of ``dim`` numbers kernels are fitted to."""
    return max(1, min(ROWS, NUMBERS // dim))


@dataclass(frozen=True)
class AxisKernel:
    """The kernel of one axis; a scale or a period of None is estimated."""

    name: str
    scale: float | None = None
    period: float | None = None

    def search(self, size: int) -> dict[str, tuple[float, float]]:
        """Return the parameters to estimate along an axis of this size, each with its range."""
        if self.name == WHITE:
            return {}
        ranges = {"noise": NOISES}
        if self.scale is None:
            relative = self.name in (PERIODIC, SPECTRUM)
            ranges["scale"] = (0.1, 10.0) if relative else (0.1, 10.0 * size)
        if self.name == PERIODIC and self.period is None:
            ranges["period"] = (2.0, max(float(size), 2.5))
        return ranges


def are_kernels(text: object) -> bool:
    """Return whether a text begins with the name of a kernel."""
    return isinstance(text, str) and re.split("[-@]", text)[0] in KERNELS


def parse_kernels(owner: str, text: str) -> tuple[AxisKernel, ...]:
    """Read kernels ``NAME``, ``NAME@SCALE`` or ``periodic@SCALE@PERIOD``, one an axis, joined by hyphens.

    Raises:
        OptionError: an unknown kernel, more than four, or a scale or period that is no positive number.
    """
    found = []
    for part in str(text).split("-"):
        name, *numbers = part.split("@")
        choose(owner, "kernel", name, KERNELS)
        known = 2 if name == PERIODIC else int(name != WHITE)
        values = [float(number) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", number) else 0.0 for number in numbers]
        if len(values) > known or not all(0 < value < 1e6 for value in values):
            expected = "NAME" + "@SCALE" * (known > 0) + "@PERIOD" * (known > 1)
            raise OptionError(
                f"{owner}: expected kernel '{name}' as {expected}, positive numbers, got '{text}'"
            )
        found.append(AxisKernel(name, *values))
    if len(found) > AXES:
        raise OptionError(f"{owner}: expected kernels for {AXES} axes at most, got {len(found)}")
    return tuple(found)


def correlation(name: str, positions: Tensor, scale: float, period: float, noise: float) -> Tensor:
    """Return K_a ``[n, n]`` of the kernel of this name between positions ``[n]``, float64."""
    apart = (positions[:, None] - positions).abs().double()
    if name == "rbf":
        found = (-0.5 * (apart / scale).square()).exp()
    elif name == PERIODIC:
        found = (-2 * ((math.pi * apart / period).sin() / scale).square()).exp()
    elif name == "ou":
        found = (-apart / scale).exp()
    else:
        scaled = math.sqrt(3) * apart / scale
        found = (1 + scaled) * (-scaled).exp()
    return found + noise * torch.eye(len(positions), dtype=torch.float64)


def power_law(shape: Sequence[int], exponent: float, noise: float) -> Tensor:
    """Return the variances of the coefficients of a field of this shape, float64."""
    steps = [torch.arange(size, dtype=torch.float64) * max(shape) / size for size in shape]
    square = torch.stack(torch.meshgrid(*steps, indexing="ij")).square().sum(0)
    return square.sqrt().clamp_min(1) ** -exponent + noise


def cosine_basis(size: int) -> Tensor:
    """Return the orthonormal DCT-II ``[size, size]``, a basis function a column, float64."""
    places = torch.arange(size, dtype=torch.float64)
    basis = (math.pi / size * (places[:, None] + 0.5) * places).cos() * (2 / size) ** 0.5
    basis[:, 0] *= 0.5**0.5
    return basis


class KernelNoise(nn.Module):
    """The kernels of the axes of a grid, once :meth:`learn` has seen rows.

    Args:
        owner: for messages.
        kernels: as :func:`parse_kernels` reads them; axes beyond those that are named are white.
    """

    def __init__(self, owner: str, kernels: str) -> None:
        super().__init__()
        self.named = parse_kernels(owner, kernels)
        self.owner = owner
        # Scale, period and η of each axis [A, 3], σ² [1], the sizes of the axes, and positions along them.
        self.values = nn.Buffer(torch.ones(0, 3))
        self.variance = nn.Buffer(torch.ones(0))
        self.sizes = nn.Buffer(torch.empty(0, dtype=torch.long))
        self.positions = nn.Buffer(torch.empty(0, dtype=torch.long))
        self._made = LastResults()

    @property
    def kernels(self) -> tuple[AxisKernel, ...]:
        """The kernels of all axes of the grid."""
        return (*self.named, *[AxisKernel(WHITE)] * (len(self.sizes) - len(self.named)))

    @property
    def field(self) -> list[int]:
        """The axes of the power law."""
        return [axis for axis, kernel in enumerate(self.kernels) if kernel.name == SPECTRUM]

    @property
    def root(self) -> KroneckerRoot:
        """K^½, float64."""
        *factors, deviation = self._made.of(self._factors, self.values, self.variance)
        return self._root(factors, deviation)

    def check_axes(self, axes: int) -> None:
        """Refuse grids of fewer axes than kernels, or of more than there may be.

        Raises:
            OptionError: what was expected, and what came.
        """
        if not len(self.named) <= axes <= AXES:
            raise OptionError(
                f"{self.owner}: expected events of {len(self.named)} to {AXES} axes for {len(self.named)} "
                f"kernels, got {axes}"
            )

    @torch.no_grad()
    def learn(self, rows: Tensor, axis: int = 0, along: Tensor | None = None) -> None:
        """Estimate all parameters from residuals ``[N, *grid]`` of mean 0.

        Args:
            rows: of the grid.
            axis: one of its axes.
            along: the positions along that axis; None counts them.

        Raises:
            OptionError: as of :meth:`check_axes`.
        """
        sizes, device = rows.shape[1:], self.sizes.device
        self.check_axes(len(sizes))
        places = [torch.arange(size) for size in sizes]
        places[axis] = places[axis] if along is None else along
        self.sizes = torch.tensor(sizes, device=device)
        self.positions = torch.cat(places).to(device)
        known = [(kernel.scale or 1.0, kernel.period or 1.0, NOISES[0]) for kernel in self.kernels]
        self.values = torch.tensor(known, dtype=torch.float64)
        axes = [axis for axis, kernel in enumerate(self.kernels) if kernel.name not in (WHITE, SPECTRUM)]
        groups = [*[[axis] for axis in axes], *([self.field] if self.field else [])]
        x = rows.detach().cpu().double()
        variance = float(x.square().mean())
        for sweep, group in itertools.product(range(SWEEPS if len(groups) > 1 else 1), groups):
            variance = self._fit_group(group, x, anew=not sweep)
        self.values = self.values.to(rows)
        self.variance = rows.new_tensor([max(variance, LEAST_VARIANCE)])

    def _fit_group(self, group: list[int], x: Tensor, anew: bool) -> float:
        """Fit the parameters of these axes to rows that the others whiten, and return σ².

        The search starts from what was found before, or ``anew``.
        """
        *factors, deviation = self._factors(self.values, x.new_ones(1))
        kernel, size = self.kernels[group[0]], len(factors[group[0]])
        ranges = kernel.search(size)
        if kernel.name == SPECTRUM:
            rest = self._root(factors, torch.ones_like(deviation)).solve(x)
            power = rest.square().mean([0, *[a + 1 for a in range(x.dim() - 1) if a not in group]])
            objective = partial(_spectral_loss, power)
        else:
            factors[group[0]] = x.new_empty(0)
            columns = torch.movedim(self._root(factors, deviation).solve(x), group[0] + 1, 0).flatten(1)
            moments, place = columns @ columns.T / columns.shape[1], self._places[group[0]]
            objective = partial(_kernel_loss, moments, kernel.name, place)
            if anew and "period" in ranges:
                self.values[group[0], 1] = _likely_period(moments, place, ranges["period"])
        known = self.values[group[0]].tolist()
        best, variance = _search(objective, known, ranges, anew)
        self.values[group] = torch.tensor(best, dtype=torch.float64)
        return variance

    @property
    def _places(self) -> tuple[Tensor, ...]:
        return self.positions.cpu().split(self.sizes.tolist())

    def _root(self, factors: Sequence[Tensor], deviation: Tensor) -> KroneckerRoot:
        bases = tuple(kernel.name == SPECTRUM for kernel in self.kernels)
        return KroneckerRoot(tuple(factors), bases, deviation)

    def _factors(self, values: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
        """Return the factor of each axis, ``[0]`` of a white one, and last the deviations; float64."""
        found, sizes = [], self.sizes.tolist()
        dense = [s for s, kernel in zip(sizes, self.kernels, strict=True) if kernel.name != WHITE]
        longest = max(dense, default=0)
        if longest > MOST_POSITIONS:
            raise OptionError(
                f"{self.owner}: expected at most {MOST_POSITIONS:,} positions an axis, got {longest:,}; "
                "let it be white, or shorten it"
            )
        for kernel, place, row in zip(self.kernels, self._places, values.double().tolist(), strict=True):
            if kernel.name == SPECTRUM:
                found.append(cosine_basis(len(place)))
            elif kernel.name == WHITE:
                found.append(torch.empty(0, dtype=torch.float64))
            else:
                found.append(torch.linalg.cholesky(correlation(kernel.name, place, *row)))
        deviation = variance.double().cpu().sqrt().view([1] * len(sizes)).expand(sizes)
        if self.field:
            exponent, _, noise = values[self.field[0]].double().tolist()
            law = power_law([sizes[axis] for axis in self.field], exponent, noise).sqrt()
            shape = [size if axis in self.field else 1 for axis, size in enumerate(sizes)]
            deviation = deviation * law.view(shape)
        return tuple(part.to(values.device) for part in (*found, deviation))


def _kernel_loss(moments: Tensor, name: str, places: Tensor, values: Sequence[float]) -> tuple[float, float]:
    """Return −2 log-likelihood a number, and σ², of rows of these second moments ``[n, n]``."""
    factor = torch.linalg.cholesky(correlation(name, places, *values))
    variance = max(float((torch.cholesky_inverse(factor) * moments).sum()) / len(places), LEAST_VARIANCE)
    return 2 * float(factor.diagonal().log().mean()) + math.log(variance), variance


def _likely_period(moments: Tensor, places: Tensor, ends: tuple[float, float]) -> float:
    """Return the period whose kernel is most like the second moments ``[n, n]`` at each distance.

    The likelihood has a maximum near each multiple of a period, which no search leaves.
    """
    apart = (places[:, None] - places).abs().flatten()
    counts, sums = torch.bincount(apart).double(), torch.bincount(apart, moments.flatten())
    lags, best = torch.arange(len(counts)).double(), (-math.inf, ends[0])
    tried = torch.linspace(1 / ends[0], 1 / ends[1], 4 * len(lags)).double()
    for frequencies in tried.split(PERIODS_AT_ONCE):
        sines = (math.pi * lags * frequencies[:, None]).sin()[:, 1:]
        for scale in PERIODIC_SCALES:
            kernels = (-2 * (sines / scale).square()).exp()
            like = kernels @ sums[1:] / (kernels.square() @ counts[1:]).sqrt()
            best = max(best, (float(like.max()), 1 / float(frequencies[like.argmax()])))
    return best[1]


def _spectral_loss(power: Tensor, values: Sequence[float]) -> tuple[float, float]:
    """Return −2 log-likelihood a number, and σ², of coefficients of the mean square ``power``."""
    law = power_law(power.shape, values[0], values[2])
    variance = max(float((power / law).mean()), LEAST_VARIANCE)
    return float(law.log().mean()) + math.log(variance), variance


def _search(
    objective: Callable[[Sequence[float]], tuple[float, float]],
    known: list[float],
    ranges: Mapping[str, tuple[float, float]],
    anew: bool,
) -> tuple[list[float], float]:
    """Minimise over the logarithms of the parameters in ``ranges``, from the others' ``known`` values.

    Returns:
        Scale, period and η of the least objective, and σ² there.
    """
    from scipy.optimize import minimize  # takes a while, and sampling needs none

    chosen = [NAMES.index(name) for name in ranges]

    def filled(logs: Sequence[float]) -> list[float]:
        values = list(known)
        for place, value in zip(chosen, np.exp(logs).tolist(), strict=True):
            values[place] = value
        return values

    def loss(logs: Sequence[float]) -> float:
        return objective(filled(logs))[0]

    bounds = [(math.log(low), math.log(high)) for low, high in ranges.values()]
    # Away from the bounds, at which the simplex would be flat.
    inner = zip(chosen, bounds, strict=True)
    start: Sequence[float] = [
        min(max(math.log(known[place]), low + INSIDE), high - INSIDE) for place, (low, high) in inner
    ]
    if anew:
        ends = zip(ranges, bounds, start, strict=True)
        grids = [
            np.linspace(low, high, STARTS[name] + 2)[1:-1] if name in STARTS else [first]
            for name, (low, high), first in ends
        ]
        start = min(itertools.product(*grids), key=loss)
    found = minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=TOLERANCES)
    best = filled(found.x)
    return best, objective(best)[1]
