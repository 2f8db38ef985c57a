"""The linear part of a prior: Subspace, its tables of all conditions, and Frame, the rows of one batch.

A subspace prior is x = m + ψ^½ (Q U λ^½ h + (I − Q Qᵀ) ε), with ε standard normal and h of mean 0 and
covariance I, but of any distribution. Q ``[D, r]`` is orthonormal; U ``[r, r]`` turns it to the principal
axes of the row's own latent covariance, where it is not there already, and λ are the variances along them in
units of ψ.
Of a wider Q ``[D, R]`` U ``[R, r]`` takes the leading axes alone; then Q stands for Q U in I − Q Qᵀ.

A basis that conditions share spans one subspace of events, whatever their noise: what is shared is B = φ^½ Q,
with a common noise φ. In the row's own whitened coordinates that subspace is spanned by ρ ⊙ Q with
ρ = (φ/ψ)^½, which is not orthonormal, and U then holds (Qᵀ ρ² Q)^(-1/2), too. Were Q itself taken there, the
subspace would turn with ψ, and strong latents would leak out of it. So, with ρ ⊙ Q U in place of Q U,

    y = ψ^(-1/2) (x − m),   h = λ^(-1/2) Uᵀ Qᵀ y,   y = Q U λ^(1/2) h + (I − Q Qᵀ) ε.

Latents inferred from a datum with coordinates h1 and then noised, as under the low-rank Gaussian, have

    h0 | h1 ~ N((1 − 1/λ) h1, (2 − 1/λ)/λ),

which over the data has mean 0 and variance 1 again (Tipping & Bishop 1999), but is not Gaussian.

A prior without latents is x = m + ψ^½ ε, and its frame a :class:`DiagonalFrame`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from flowprior.mixtures.grouped import Grouping, by_group, times_table
from flowprior.ops.last_results import LastResults
from flowprior.ops.mixture import LOG_2PI
from flowprior.ops.operators import normal, serves_values
from flowprior.ops.subspace import (
    LEAST_ROOM,
    MOST_AXES,
    SubspaceTables,
    subspace_source,
    transposed_bases,
)

TRANSPOSED_NUMBERS = 1 << 24
"""Most numbers in bases that are kept transposed, too, for the native operators: 64 MiB in float32."""


@dataclass(frozen=True)
class Axes:
    """The orthonormal axes Q of each row in its whitened coordinates: those of its group of conditions.

    A row may have k vectors: :meth:`into`, :meth:`out_of` and :meth:`diagonal` then take and return
    ``[B, k, …]``, in less than k times the time.

    Attributes:
        basis: Q ``[G, D, r]`` of G groups.
        group: the group of each row, ``[B]``.
        lengths: returns the squared lengths of the rows of Q, ``[G, D]``.
        transposed: returns ``basis`` as the native operators take it; None where they do not serve it.
    """

    basis: Tensor
    group: Tensor
    lengths: Callable[[], Tensor]
    transposed: Callable[[], Tensor] | None = None

    @cached_property
    def _of_basis(self) -> Grouping:
        return Grouping(self.group)

    def into(self, white: Tensor) -> Tensor:
        """Return Qᵀ y ``[B, r]`` of y ``[B, D]``: the coordinates along the axes."""
        return times_table(white, self._of_basis, self.basis)

    def out_of(self, along: Tensor) -> Tensor:
        """Return Q a ``[B, D]`` of a ``[B, r]``: the transpose of :meth:`into`."""
        return times_table(along, self._of_basis, self.basis.mT)

    def exchanged(self, along: Tensor, white: Tensor) -> Tensor:
        """Return y ``[B, D]`` with the coordinates a ``[B, r]`` in place of its own along the axes."""
        return white + self.out_of(along - self.into(white))

    def diagonal(self, weights: Tensor) -> Tensor:
        """Return the diagonal ``[B, D]`` of Q diag(w) Qᵀ for w ``[B, r]``."""
        return by_group(_times_squares, self._of_basis, self.basis.mT, weights)

    @property
    def leverage(self) -> Tensor:
        """The squared length of each coordinate's row of Q, ``[B, D]``, in [0, 1]."""
        return self.lengths().index_select(0, self.group)


@dataclass(frozen=True, kw_only=True)
class TurnedAxes(Axes):
    """The axes ρ ⊙ Q U of rows whose groups share a subspace of events.

    Attributes:
        basis: Q ``[G, D, R]``, R ≥ r.
        lengths: returns the squared lengths of the rows of ρ ⊙ Q U, ``[M, D]``.
        rotation: U ``[M, R, r]``.
        turn: row of ``rotation`` for each row, ``[B]``.
        stretch: ρ ``[B, D]``.
    """

    rotation: Tensor
    turn: Tensor
    stretch: Tensor

    @cached_property
    def _of_rotation(self) -> Grouping:
        return Grouping(self.turn)

    def into(self, white: Tensor) -> Tensor:
        along = super().into(white * _for_each(self.stretch, white))
        return times_table(along, self._of_rotation, self.rotation)

    def out_of(self, along: Tensor) -> Tensor:
        white = super().out_of(times_table(along, self._of_rotation, self.rotation.mT))
        return white * _for_each(self.stretch, white)

    def diagonal(self, weights: Tensor) -> Tensor:
        """Return the diagonal with U diag(w) Uᵀ taken by its own alone: ρ_d² Σ_k Q_dk² Σ_j U_kj² w_j."""
        turned = by_group(_times_squares, self._of_rotation, self.rotation.mT, weights)
        diagonal = super().diagonal(turned)
        return diagonal * _for_each(self.stretch.square(), diagonal)

    @property
    def leverage(self) -> Tensor:
        return self.lengths().index_select(0, self.turn)


@dataclass(frozen=True)
class Frame:
    """The linear part under the condition of each of B rows; nothing here says what the condition is.

    Attributes:
        loc: m ``[B, D]``.
        noise: ψ ``[B, D]``, which holds the covariance regularisation.
        spread: λ ``[B, r]``, at least 1.
        axes: in whitened coordinates.
        floor: f, the covariance regularisation that is part of ψ.
        data_loc: mean of the data ``[B, D]``, where it is not m.
    """

    loc: Tensor
    noise: Tensor
    spread: Tensor
    axes: Axes
    floor: float = 0.0
    data_loc: Tensor | None = None
    shared: ClassVar[float] = 0.0
    """The covariance of source and data sample outside of the axes, in units of ψ."""

    def tables(self, *others: Tensor) -> SubspaceTables | None:
        """Return the linear part as the native operators take it beside the tensors ``others``.

        None where they do not serve it: in another dtype, and where a derivative may be asked.
        """
        if self.axes.transposed is None:
            return None
        if any(part.dtype != self.axes.basis.dtype for part in others):
            return None
        if not serves_values(*others, self.loc, self.noise, self.spread, self.axes.basis):
            return None
        return SubspaceTables(self.loc, self.noise, self.spread, self.axes.transposed(), self.axes.group)

    @property
    def data(self) -> Tensor:
        """The variance of the data outside of the axes, in units of ψ, ``[B, D]``.

        ψ − f is what the factor leaves of the data's variance. The factor holds only what exceeds ψ, so that
        is the variance outside and a share l of ψ, where l is the coordinate's leverage:
        (ψ − f)/ψ = l + (1 − l) v1/v0.
        """
        leverage = self.axes.leverage
        left = (self.noise - self.floor) / self.noise
        return ((left - leverage) / (1 - leverage).clamp_min(LEAST_ROOM)).clamp(0, 1)

    def coordinates(self, x: Tensor) -> Tensor:
        """Return h ``[B, r]`` of events x ``[B, D]``."""
        return self.axes.into((x - self.loc) * self.noise.rsqrt()) * self.spread.rsqrt()

    def noised(self, h: Tensor, noise: Tensor) -> Tensor:
        """Return h0 ``[B, r]`` inferred from the data's own h1 ``[B, r]``, by normal ``noise`` ``[B, r]``."""
        slope, variance = latent_noise(self.spread)
        return slope * h + variance.sqrt() * noise

    def draw_noise(self, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw standard normal noise of the coordinates ``[B, D]`` and of the latents ``[B, r]``."""
        epsilon = normal(*self.loc.shape, like=self.loc, generator=generator)
        return epsilon, normal(*self.spread.shape, like=self.loc, generator=generator)

    def place(self, h: Tensor, epsilon: Tensor) -> Tensor:
        """Return events ``[B, D]`` with coordinates h and, outside of the axes, noise from ε ``[B, D]``."""
        tables = self.tables(h, epsilon)
        if tables is not None:
            return subspace_source(None, h, epsilon, tables)
        white = self.axes.exchanged(h * self.spread.sqrt(), epsilon)
        return torch.addcmul(self.loc, self.noise.sqrt(), white)

    def source(self, x: Tensor, latent: Tensor, epsilon: Tensor) -> Tensor:
        """Return x0 ``[B, D]`` inferred from data x ``[B, D]``, by normal noise ``[B, r]`` and ``[B, D]``."""
        tables = self.tables(x, latent, epsilon)
        if tables is None:
            return self.place(self.noised(self.coordinates(x), latent), epsilon)
        return subspace_source(x, latent, epsilon, tables)

    def log_density_around(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return h ``[B, r]``, and log p(x) − log p(h) ``[B]``: complement's Gaussian and Jacobian."""
        noise, spread = self.noise.to(x.dtype), self.spread.to(x.dtype)
        white = (x - self.loc.to(x.dtype)) * noise.rsqrt()
        along = self.axes.into(white)
        residual = white - self.axes.out_of(along)
        log_det = 0.5 * (spread.log().sum(1) + noise.log().sum(1))
        outside = x.shape[1] - along.shape[1]
        density = -0.5 * (residual.square().sum(1) + outside * LOG_2PI) - log_det
        return along * spread.rsqrt(), density


@dataclass(frozen=True)
class DiagonalFrame:
    """Source samples m + ψ^½ ε without latents: every coordinate is on its own.

    Attributes:
        loc: m ``[B, D]``.
        noise: ψ ``[B, D]``.
        data: the variance of the data in units of ψ, ``[B, D]``.
        shared: the covariance of source and data sample in units of ψ, ``[B, D]``: that of the means where
            the condition is the null condition, else 0.
        data_loc: mean of the data ``[B, D]``, where it is not m.
    """

    loc: Tensor
    noise: Tensor
    data: Tensor
    shared: Tensor
    data_loc: Tensor | None = None
    axes: ClassVar[None] = None

    @property
    def spread(self) -> Tensor:
        """The variances along no axes, ``[B, 0]``."""
        return self.loc[:, :0]


class Subspace(nn.Module):
    """Subspaces of M conditions: ``loc`` m, ``noise`` ψ ``[M, D]``, ``spread`` λ ``[M, r]``, Q ``[G, D, r]``.

    With bases of their own G = M. Where conditions share them, ``basis`` is ``[G, D, R]`` with R ≥ r,
    ``group`` ``[M]`` is the basis of each, ``rotation`` U ``[M, R, r]`` turns it to the leading principal
    axes of the condition's own latent covariance, and ``common`` φ ``[G, D]`` is the noise under which the
    basis is orthonormal; else these three are empty.
    Of labels 0 … C − 1 the last of M = C + 1 rows is that of the null condition, of all data together;
    without labels, or in files from before there was one, M = C.
    """

    loc: Tensor
    noise: Tensor
    basis: Tensor
    spread: Tensor
    group: Tensor
    rotation: Tensor
    common: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("loc", "noise", "basis", "spread", "rotation", "common"):
            self.register_buffer(name, torch.empty(0))
        self.register_buffer("group", torch.empty(0, dtype=torch.long))
        self._lengths, self._transposed = LastResults(), LastResults()
        self._turned, self._stretch = LastResults(), LastResults()

    @classmethod
    def of(cls, like: Tensor, **values: Tensor) -> Subspace:
        """Tables of the given values, in the dtype and on the device of ``like``."""
        subspace = cls().to(like)
        for name, value in values.items():
            setattr(subspace, name, value.to(like).contiguous() if name != "group" else value.to(like.device))
        return subspace

    @property
    def is_shared(self) -> bool:
        """True if conditions share bases."""
        return len(self.group) > 0

    @property
    def rank(self) -> int:
        """The number of latents r."""
        return self.spread.shape[-1]

    def frame(self, rows: Tensor, floor: float) -> Frame:
        """The linear part of ``rows`` ``[B]`` of the tables; ``floor`` is what was added to ψ."""
        loc, noise, spread = (table.index_select(0, rows) for table in (self.loc, self.noise, self.spread))
        if not self.is_shared:
            lengths = partial(self._lengths.of, squared_lengths, self.basis)
            transposed = (
                partial(self._transposed.of, transposed_bases, self.basis) if self._is_served else None
            )
            return Frame(loc, noise, spread, Axes(self.basis, rows, lengths, transposed), floor)
        tables = (self.noise, self.common, self.group)
        ratio = self._stretch.of(stretches, *tables)
        group, stretch = (table.index_select(0, rows) for table in (self.group, ratio))
        lengths = partial(self._turned.of, turned_lengths, self.basis, self.rotation, *tables)
        axes = TurnedAxes(self.basis, group, lengths, rotation=self.rotation, turn=rows, stretch=stretch)
        return Frame(loc, noise, spread, axes, floor)

    @property
    def _is_served(self) -> bool:
        """True if the native operators take such bases, and another copy of them is affordable."""
        _, dim, rank = self.basis.shape
        computed = self.basis.dtype in (torch.float32, torch.float64)
        return computed and dim > 0 and 0 < rank <= MOST_AXES and self.basis.numel() <= TRANSPOSED_NUMBERS

    def turned(self, rotation: Tensor, spread: Tensor) -> Subspace:
        """The same shared bases, with U ``[M, R, r]`` and λ ``[M, r]``."""
        tables = {"loc": self.loc, "noise": self.noise, "basis": self.basis, "spread": spread}
        return Subspace.of(self.loc, **tables, group=self.group, rotation=rotation, common=self.common)


def squared_lengths(basis: Tensor) -> Tensor:
    """Squared lengths ``[G, D]`` of the rows of bases ``[G, D, r]``."""
    return basis.square().sum(-1)


def stretches(noise: Tensor, common: Tensor, group: Tensor) -> Tensor:
    """ρ ``[M, D]`` of all conditions."""
    return (common[group] / noise).sqrt()


def turned_lengths(basis: Tensor, rotation: Tensor, noise: Tensor, common: Tensor, group: Tensor) -> Tensor:
    """Squared lengths ``[M, D]`` of the rows of ρ ⊙ Q U of each condition."""
    turned = zip(group.tolist(), rotation, strict=True)
    lengths = torch.stack([(basis[g] @ turn).square().sum(1) for g, turn in turned])
    return lengths * common[group] / noise


def _times_squares(table: Tensor, weights: Tensor) -> Tensor:
    return weights @ table.square()


def _for_each(values: Tensor, vectors: Tensor) -> Tensor:
    """Return ``values`` ``[B, D]`` shaped for vectors ``[B, D]``, or ``[B, k, D]``."""
    return values if vectors.dim() == 2 else values[:, None]


def latent_noise(spread: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and variance of h0 given h1, 1 − 1/λ and (2 − 1/λ)/λ, for spread λ of any shape."""
    return 1 - 1 / spread, (2 - 1 / spread) / spread
