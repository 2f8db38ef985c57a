"""Frame: the linear part of a subspace prior for the rows of one batch, and the algebra that stands on it.

A subspace prior is x = m + ψ^½ (Q U λ^½ h + (I − Q Qᵀ) ε), with ε standard normal and h of mean 0 and
covariance I, but of any law. Q ``[D, r]`` is orthonormal; U ``[r, r]`` turns it to the principal axes of the
row's own latent covariance, where it is not there already, and λ are the variances along them in units of ψ.
Of a wider Q ``[D, R]`` U ``[R, r]`` takes the leading axes alone; then Q stands for Q U in I − Q Qᵀ.

A basis that conditions share spans one subspace of events, whatever their noise: what is shared is B = φ^½ Q,
with a common noise φ. In the row's own whitened coordinates that subspace is spanned by ρ ⊙ Q with
ρ = (φ/ψ)^½, which is not orthonormal, and U then holds (Qᵀ ρ² Q)^(-1/2), too. Were Q itself taken there, the
subspace would turn with ψ, and strong latents would leak out of it. So, with ρ ⊙ Q U in place of Q U,

    y = ψ^(-1/2) (x − m),   h = λ^(-1/2) Uᵀ Qᵀ y,   y = Q U λ^(1/2) h + (I − Q Qᵀ) ε.

Latents inferred from a datum with coordinates h1 and then noised, as under the low-rank Gaussian, have

    h0 | h1 ~ N((1 − 1/λ) h1, (2 − 1/λ)/λ),

which over the data has mean 0 and variance 1 again (Tipping & Bishop 1999), but not a Gaussian law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from flowprior.mixtures.grouped import Grouping, by_group, there_and_back, times_table
from flowprior.ops.mixture import LOG_2PI
from flowprior.ops.operators import serves_values
from flowprior.ops.subspace import LEAST_ROOM, SubspaceTables, subspace_source


@dataclass(frozen=True)
class Frame:
    """The linear part under the condition of each of B rows; nothing here says what the condition is.

    Attributes:
        loc: m ``[B, D]``.
        noise: ψ ``[B, D]``, which holds the variance floor.
        spread: λ ``[B, r]``, at least 1.
        basis: Q ``[G, D, r]``, of G groups of conditions; with ``rotation`` ``[G, D, R]``, R ≥ r.
        group: row of ``basis`` for each row, ``[B]``.
        lengths: squared lengths of the rows of ``basis``, ``[G, D]``; with ``stretch`` those of ρ ⊙ Q U,
            ``[M, D]``. Or a function that gives them, for whoever asks.
        rotation: U ``[M, R, r]``, or None where Q is in principal axes.
        turn: row of ``rotation`` for each row, ``[B]``.
        floor: the variance floor f that is part of ψ.
        stretch: ρ ``[B, D]``, or None for 1.
        datum: variance of the data outside of the subspace, in units of ψ, ``[B, D]``; None where it follows
            from ψ and the floor.
        shared: covariance of source sample and datum there, in units of ψ, ``[B, D]``; None for 0.
        given: share of the condition's law that is the prior's own, ``[B, 1]``; None for 0
            (:mod:`flowprior.priors.few_examples`).
        transposed: gives ``basis`` as the native operators take it; None where they do not serve it.
    """

    loc: Tensor
    noise: Tensor
    spread: Tensor
    basis: Tensor
    group: Tensor
    lengths: Tensor | Callable[[], Tensor]
    rotation: Tensor | None = None
    turn: Tensor | None = None
    floor: float = 0.0
    stretch: Tensor | None = None
    datum: Tensor | None = None
    shared: Tensor | None = None
    given: Tensor | None = None
    transposed: Callable[[], Tensor] | None = None

    @classmethod
    def without_axes(cls, loc: Tensor, noise: Tensor, datum: Tensor, shared: Tensor) -> Frame:
        """Of a source m + ψ^½ ε without latents: every coordinate is on its own."""
        group = torch.zeros(len(loc), dtype=torch.long, device=loc.device)
        none, dim = loc.new_zeros(len(loc), 0), loc.shape[1]
        basis, lengths = loc.new_zeros(1, dim, 0), loc.new_zeros(1, dim)
        return cls(loc, noise, none, basis, group, lengths, datum=datum, shared=shared)

    @cached_property
    def of_basis(self) -> Grouping:
        """Which basis each row takes."""
        return Grouping(self.group)

    @cached_property
    def of_rotation(self) -> Grouping:
        """Which rotation each row takes, where there are some."""
        assert self.turn is not None
        return Grouping(self.turn)

    def into(self, white: Tensor) -> Tensor:
        """Uᵀ Qᵀ y ``[B, r]`` of y ``[B, D]``: coordinates along the principal axes, before λ^(-1/2).

        Here, in :meth:`out_of` and in :meth:`diagonal`, a row may have k vectors: ``[B, k, r]`` of
        ``[B, k, D]``, which takes less than k times as long.
        """
        if self.stretch is not None:
            white = white * _for_each(self.stretch, white)
        along = times_table(white, self.of_basis, self.basis)
        return along if self.rotation is None else times_table(along, self.of_rotation, self.rotation)

    def out_of(self, along: Tensor) -> Tensor:
        """Q U a ``[B, D]`` of a ``[B, r]``: the transpose of :meth:`into`."""
        if self.rotation is not None:
            along = times_table(along, self.of_rotation, self.rotation.mT)
        white = times_table(along, self.of_basis, self.basis.mT)
        return white if self.stretch is None else white * _for_each(self.stretch, white)

    @property
    def leverage(self) -> Tensor:
        """Squared length of each coordinate's row of Q, ``[B, D]``, in [0, 1]."""
        return self.squared_lengths.index_select(
            0, self.group if self.stretch is None or self.turn is None else self.turn
        )

    @property
    def squared_lengths(self) -> Tensor:
        """``lengths``, whatever gives them."""
        return self.lengths if isinstance(self.lengths, Tensor) else self.lengths()

    def tables(self, *given: Tensor) -> SubspaceTables | None:
        """The rows' linear part as the native operators take it, beside what else they are ``given``.

        None where they do not serve it: in another dtype, where a derivative may be asked, and where the
        frame has parts that they do not know.
        """
        unknown = (self.rotation, self.stretch, self.datum, self.shared)
        if self.transposed is None or any(part is not None for part in unknown):
            return None
        if any(part.dtype != self.basis.dtype for part in given):
            return None
        if not serves_values(*given, self.loc, self.noise, self.spread, self.basis):
            return None
        return SubspaceTables(self.loc, self.noise, self.spread, self.transposed(), self.group)

    def diagonal(self, weights: Tensor) -> Tensor:
        """The diagonal ``[B, D]`` of Q U diag(w) Uᵀ Qᵀ for w ``[B, r]``.

        Exact where there is no rotation. With one, U diag(w) Uᵀ is taken by its diagonal alone, an
        approximation: ρ_d² Σ_k Q_dk² Σ_j U_kj² w_j.
        """
        if self.rotation is not None:
            weights = by_group(_times_squares, self.of_rotation, self.rotation.mT, weights)
        diagonal = by_group(_times_squares, self.of_basis, self.basis.mT, weights)
        return diagonal if self.stretch is None else diagonal * _for_each(self.stretch.square(), diagonal)

    def variance_outside(self) -> Tensor:
        """The data's variance over the source samples' in every coordinate outside the subspace, ``[B, D]``.

        ψ − f is what the factor leaves of the data's variance. The factor holds only what exceeds ψ, so that
        is the variance outside and a share l of ψ, where l is the coordinate's leverage, the squared length
        of its row in the basis: (ψ − f)/ψ = l + (1 − l) v1/v0. A prior without axes says v1/v0 itself.
        """
        if self.datum is not None:
            return self.datum
        leverage = self.leverage
        left = (self.noise - self.floor) / self.noise
        return ((left - leverage) / (1 - leverage).clamp_min(LEAST_ROOM)).clamp(0, 1)

    def coordinates(self, x: Tensor) -> Tensor:
        """h ``[B, r]`` of events x ``[B, D]``."""
        return self.into((x - self.loc) * self.noise.rsqrt()) * self.spread.rsqrt()

    def infer(self, x: Tensor, noise: Tensor) -> Tensor:
        """h0 ``[B, r]`` of a source sample with latents inferred from x, by normal ``noise`` ``[B, r]``."""
        return self.noised(self.coordinates(x), noise)

    def noised(self, h: Tensor, noise: Tensor) -> Tensor:
        """As :meth:`infer`, of the data's own coordinates h1 ``[B, r]``."""
        slope, variance = latent_noise(self.spread)
        return slope * h + variance.sqrt() * noise

    def place(self, h: Tensor, epsilon: Tensor) -> Tensor:
        """Return events ``[B, D]`` with coordinates h and, outside the subspace, noise from ε ``[B, D]``."""
        tables = self.tables(h, epsilon)
        if tables is not None:
            return subspace_source(None, h, epsilon, tables)
        along = self.exchanged(h * self.spread.sqrt(), epsilon)
        white = times_table(along, self.of_basis, self.basis.mT)
        white = epsilon + white if self.stretch is None else torch.addcmul(epsilon, white, self.stretch)
        return torch.addcmul(self.loc, self.noise.sqrt(), white)

    def source(self, x: Tensor, latent: Tensor, epsilon: Tensor) -> Tensor:
        """:meth:`place` of what :meth:`infer` gives: x0 ``[B, D]`` of data x ``[B, D]`` and normal noise."""
        tables = self.tables(x, latent, epsilon)
        if tables is None:
            return self.place(self.infer(x, latent), epsilon)
        return subspace_source(x, latent, epsilon, tables)

    def exchanged(self, along: Tensor, white: Tensor) -> Tensor:
        """U (a − Uᵀ Qᵀ y) ``[B, R]``, along Q: what puts a ``[B, r]`` in the place of y ``[B, D]`` there."""
        stretched = white if self.stretch is None else white * self.stretch
        inside = times_table(stretched, self.of_basis, self.basis)
        if self.rotation is None:
            return along - inside
        return there_and_back(along, inside, self.of_rotation, self.rotation)

    def log_density_around(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """h ``[B, r]``, and log p(x) − log p(h) ``[B]``: the complement's Gaussian and the Jacobian."""
        noise, spread = self.noise.to(x.dtype), self.spread.to(x.dtype)
        white = (x - self.loc.to(x.dtype)) * noise.rsqrt()
        along = self.into(white)
        residual = white - self.out_of(along)
        log_det = 0.5 * (spread.log().sum(1) + noise.log().sum(1))
        outside = x.shape[1] - along.shape[1]
        density = -0.5 * (residual.square().sum(1) + outside * LOG_2PI) - log_det
        return along * spread.rsqrt(), density


def _times_squares(table: Tensor, weights: Tensor) -> Tensor:
    return weights @ table.square()


def _for_each(values: Tensor, vectors: Tensor) -> Tensor:
    """``values`` ``[B, D]`` shaped for vectors ``[B, D]``, or ``[B, k, D]``."""
    return values if vectors.dim() == 2 else values[:, None]


@runtime_checkable
class TellsMoments(Protocol):
    """A prior that may know mean and variances of its source samples and of the data under a condition."""

    @property
    def tells_moments(self) -> bool:
        """Whether it does with these options, once it is fitted."""
        ...

    def frame(self, cond: Tensor | None, n: int) -> Frame | None:
        """Them, for labels ``[n]``, embeddings ``[n, E]`` or None, null conditions among them."""
        ...


def latent_noise(spread: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and variance of h0 given h1, 1 − 1/λ and (2 − 1/λ)/λ, for spread λ of any shape."""
    return 1 - 1 / spread, (2 - 1 / spread) / spread
