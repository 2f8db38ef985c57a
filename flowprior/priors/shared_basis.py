"""A basis that labels share: fitted in a few passes, without a basis a label.

The basis Q and the pooled noise ψ are those of the maximum-likelihood low-rank Gaussian of the residuals
x − m_c within labels, found by subspace iteration on a sample of rows (randomised range finder: Halko,
Martinsson & Tropp 2011). Labels then differ in three things, each of one pass:

- their mean m_c;
- their noise ψ_c, what each of them varies by outside of the basis;
- the covariance S_c of their coordinates. What labels share is the subspace of events, spanned by ψ^½ Q;
  a basis of it that is orthonormal in the label's whitened coordinates is ρ ⊙ Q G_c^(-1/2), with
  ρ = (ψ/ψ_c)^½ and G_c = Qᵀ ρ² Q. S_c has eigenvectors V and eigenvalues λ_c, at least 1; with
  U_c = G_c^(-1/2) V, h is white in the label's own axes.

A basis may have more dimensions than a label has latents: R of them hold the leading r directions of every
label better than r do. Then the first r columns of U_c are kept, and what varies along the others is noise of
the label.

Labels of few examples are drawn to the pooled moments. S_c becomes (1 − w) S_c + w S, with S the pooled one
and, as for the identity in Ledoit & Wolf (2004),

    w = min(1, (r² + r)/(n_c ‖S^(-1/2) S_c S^(-1/2) − I‖²)),

what a Gaussian sample of n_c rows is off by over how far the label is off.

The noise follows from R_c, the label's mean squared residual outside the basis, in each coordinate, and
R, the pooled one. With f the variance that is added, V_c and V the label's and the pooled variance and l the
coordinate's leverage, a label that keeps all latents of its basis has

    ψ_c = min(ψ (R_c + f)/(R + f), b_c),   b_c = f + V_c (1 − l + l (ψ − f)/V).

Then the variance outside, ψ_c (1 − l), is R_c + f as ψ's is R + f. Without the bound b_c a coordinate that
the basis holds almost whole (l near 1), where R is next to nothing, would get any noise; with it, there, the
pooled share of its variance at most. A label that keeps the leading latents only has the fixed point of

    ψ_c = min((R_c + f)/(1 − l_c), b_c),

with R_c and l_c outside of these and in their leverage, which follow from ψ_c in turn: the equations of
factor analysis within the shared subspace (Jöreskog 1967). R_c and V_c get ``PRIOR_ROWS`` examples' worth of
the pooled ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.families import LEAST_NOISE
from flowprior.mixtures.grouped import segments
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import PIECE, first_rows, in_pieces, sample_rows
from flowprior.priors.frame import Subspace
from flowprior.priors.subspace import canonical_basis, fit_rows
from flowprior.streams.batches import Batch, CheckedBatches

SAMPLE = 65_536
"""Rows, at most, that the basis is found on."""
ROUNDS = 3
"""Of the fixed point of the noise beside latents that are fewer than the basis has dimensions."""
ROWS_OF_NOISE = 200
"""Rows of each label, at least, whose residuals outside the basis are looked at; ``SAMPLE`` in all."""
PRIOR_ROWS = 16.0
"""How many examples' worth of the pooled moments a label's noise is given."""
LEAST_RESIDUAL = 1e-12
Aim = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of some labels ``[n]`` the noise before the bound ``[n, D]``, and the leverage ``[n, D]`` or ``[D]``."""


def fit_shared(
    data: CheckedBatches, moments: ConditionMoments, span: int, rank: int, settings: FitSettings
) -> Subspace:
    """The basis that all labels share, and another one for the null condition.

    Args:
        data: batches (x ``[B, D]``, labels).
        moments: of each label.
        span: R, dimensions of the basis.
        rank: r ≤ R, latents of each label.
        settings: ``reg_covar`` is added to the noise.

    Raises:
        InputError: no spread in some dimension, and no ``reg_covar``.
    """
    rows, labels = sample_rows(data, SAMPLE)
    like = data.peek()[0]
    null = fit_rows(rows, rank, settings, data.owner)
    # About its own mean one example has no spread, which would make that of the others, pooled with it, less.
    loc = torch.where((moments.count == 1)[:, None], moments.pooled().mean, moments.mean).to(like)
    for x, c in in_pieces([(rows, labels)]):
        x -= loc[c]
    table = fit_rows(rows, span, settings, data.owner)
    del rows
    span = table["basis"].shape[2]
    subspace = Subspace.of(
        like,
        loc=loc,
        noise=table["noise"].expand(len(loc), -1),
        basis=table["basis"],
        spread=torch.ones(len(loc), span),
        group=torch.zeros(len(loc), dtype=torch.long),
        rotation=torch.zeros(0, span, span),
        common=table["noise"],
    )
    subspace.noise = _noise_outside(data, subspace, moments, settings.reg_covar)
    rank = null["spread"].shape[1]
    rotation, spread = _axes(data, subspace, moments.count, rank)
    for _ in range(ROUNDS if rank < rotation.shape[1] else 0):
        turned = subspace.turned(rotation, spread)
        subspace.noise = _noise_beside(data, turned, moments, settings.reg_covar)
        rotation, spread = _axes(data, subspace, moments.count, rank)
    subspace.loc = moments.mean.to(like)
    return _with_null(subspace, rotation, spread, null)


def _axes(data: CheckedBatches, subspace: Subspace, count: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """U ``[C, R, r]`` and λ ``[C, r]``, falling, of each label: see the module.

    The coordinates of a row x are (ρ ⊙ Q)ᵀ y with y = ψ_c^(-1/2) (x − m_c), and G_c = Qᵀ ρ² Q.
    """
    conditions, span = subspace.spread.shape
    scaled = _scaled(data, subspace.loc, subspace.common.sqrt() / subspace.noise)
    scatter = torch.zeros(conditions, span, span, dtype=torch.float64)
    for rows, label in segments(((white @ subspace.basis[0], c) for white, c in scaled), conditions):
        wide = rows.double()
        scatter[label].addmm_(wide.T, wide)
    roots = subspace.loc.new_empty(conditions, span, span)
    rotation = subspace.loc.new_zeros(conditions, span, rank)
    spread = subspace.loc.new_zeros(conditions, rank)
    chunks = torch.arange(conditions).split(max(1, PIECE // subspace.basis[0].numel()))
    for c in chunks:
        ratio = subspace.common / subspace.noise[c]
        gram = subspace.basis.mT @ (subspace.basis * ratio[..., None])
        values, vectors = torch.linalg.eigh(gram.double())
        roots[c] = ((vectors * values.rsqrt()[:, None]) @ vectors.mT).to(roots)
        root = roots[c].double()
        scatter[c] = root @ scatter[c] @ root
    pooled = scatter.sum(0) / count.sum()
    for c in chunks:
        turned, fallen = canonical_basis(*_leading_axes(scatter[c], count[c], pooled, rank))
        rotation[c], spread[c] = roots[c] @ turned.to(roots), fallen.to(spread)
    return rotation, spread


def _leading_axes(scatter: Tensor, count: Tensor, pooled: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The leading axes ``[n, R, r]`` of n labels, and the variances along them ``[n, r]``.

    Their covariances are drawn to the ``pooled`` one ``[R, R]``. Where some axes are left out, the covariance
    along the others is drawn to it by itself: with the weight of r dimensions, not of R.
    """
    own = scatter / count.clamp_min(1)[:, None, None]
    values, vectors = torch.linalg.eigh(_drawn(own, pooled[None], count))
    if rank < vectors.shape[2]:
        axes = vectors[..., -rank:]
        own, pooled = axes.mT @ own @ axes, axes.mT @ pooled @ axes
        values, vectors = torch.linalg.eigh(_drawn(own, pooled, count))
        vectors = axes @ vectors
    return vectors.flip(2), values.flip(1).clamp_min(1)


def _drawn(own: Tensor, pooled: Tensor, count: Tensor) -> Tensor:
    """(1 − w) S_c + w S ``[n, r, r]`` with the module's weights w for labels of ``count`` ``[n]`` rows."""
    rank = own.shape[2]
    values, vectors = torch.linalg.eigh(pooled)
    whitener = vectors * values.clamp_min(values[:, -1:] * LEAST_RESIDUAL).rsqrt()[:, None]
    off = whitener.mT @ own @ whitener
    off.diagonal(dim1=1, dim2=2).sub_(1)
    away = count * off.square().sum((1, 2))
    weight = ((rank * rank + rank) / away.clamp_min(LEAST_RESIDUAL)).clamp_max(1)
    return torch.lerp(own, pooled, weight[:, None, None])


def _with_null(subspace: Subspace, rotation: Tensor, spread: Tensor, null: dict[str, Tensor]) -> Subspace:
    """The tables with the row of the null condition, whose basis is the last one."""
    span, rank = rotation.shape[1:]
    null = null | {"basis": torch.nn.functional.pad(null["basis"], (0, span - rank))}
    tables = {"loc": subspace.loc, "noise": subspace.noise, "basis": subspace.basis, "spread": spread}
    tables = {name: torch.cat([table, null[name].to(table)]) for name, table in tables.items()}
    tables["common"] = torch.cat([subspace.common, null["noise"].to(subspace.common)])
    tables["group"] = torch.cat([subspace.group, torch.tensor([len(subspace.basis)])])
    tables["rotation"] = torch.cat([rotation, torch.eye(span, rank).to(rotation)[None]])
    return Subspace.of(subspace.loc, **tables)


class _Shrunk:
    """Mean squares of labels from sums ``[C, D]``, drawn to the ``pooled`` ones ``[D]`` of all rows."""

    def __init__(self, total: Tensor, count: Tensor) -> None:
        self.total, self.count = total, count
        self.pooled = total.sum(0) / count.sum()

    def of(self, c: Tensor) -> Tensor:
        """Those of the labels c ``[n]``, ``[n, D]``, with ``PRIOR_ROWS`` examples of the pooled ones."""
        return (self.total[c] + PRIOR_ROWS * self.pooled) / (self.count[c] + PRIOR_ROWS)[:, None]


def _scaled(data: Iterable[Batch], loc: Tensor, scale: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows s_c (x − m_c) ``[n, D]`` with their labels, a few at a time; tables ``[C, D]``."""
    for x, cond in in_pieces(data):
        assert cond is not None
        c = cond.cpu()
        yield (x.detach().cpu() - loc[c]).mul_(scale[c]), c


def _noise_outside(
    data: CheckedBatches, subspace: Subspace, moments: ConditionMoments, floor: float
) -> Tensor:
    """ψ_c ``[C, D]`` of labels that keep all latents of the basis, whose noise is the pooled one as yet."""
    basis, common = subspace.basis[0], subspace.common[0].double()

    def outside(white: Tensor, c: Tensor) -> Tensor:
        return white - (white @ basis) @ basis.mT

    residual = _residuals(data, subspace, outside)
    leverage = basis.double().square().sum(1)

    def aim(c: Tensor) -> tuple[Tensor, Tensor]:
        ratio = (residual.of(c) + floor) / (residual.pooled + floor).clamp_min(LEAST_RESIDUAL)
        return common * ratio, leverage

    return _bounded(aim, subspace, moments, floor)


def _noise_beside(data: CheckedBatches, turned: Subspace, moments: ConditionMoments, floor: float) -> Tensor:
    """The next ψ_c ``[C, D]`` of the fixed point, of labels that keep the latents that ``turned`` has."""

    def outside(white: Tensor, c: Tensor) -> Tensor:
        axes = turned.frame(c, floor).axes
        return white - axes.out_of(axes.into(white))

    residual = _residuals(data, turned, outside)

    def aim(c: Tensor) -> tuple[Tensor, Tensor]:
        leverage = turned.frame(c, floor).axes.leverage.double()
        return (residual.of(c) + floor) / (1 - leverage).clamp_min(LEAST_RESIDUAL), leverage

    return _bounded(aim, turned, moments, floor)


def _residuals(
    data: CheckedBatches, subspace: Subspace, outside: Callable[[Tensor, Tensor], Tensor]
) -> _Shrunk:
    """R_c of every label, from its first rows; ``outside`` takes away what whitened rows have inside."""
    labels = len(subspace.loc)
    total = torch.zeros(subspace.loc.shape, dtype=torch.float64)
    count = torch.zeros(labels, dtype=torch.float64)
    few = first_rows(data, labels, max(ROWS_OF_NOISE, SAMPLE // labels))
    for white, c in _scaled(few, subspace.loc, subspace.noise.rsqrt()):
        residual = outside(white, c).mul_(subspace.noise[c].sqrt())
        total.index_add_(0, c, residual.double().square_())
        count += torch.bincount(c, minlength=labels)
    return _Shrunk(total, count)


def _bounded(aim: Aim, subspace: Subspace, moments: ConditionMoments, floor: float) -> Tensor:
    """ψ_c ``[C, D]`` of every label: what is aimed at, at most b_c."""
    variance = _Shrunk(moments.scatter, moments.count)
    share = (subspace.common[0].double() - floor) / variance.pooled.clamp_min(LEAST_RESIDUAL)
    share = share.clamp(0, 1)
    noise = torch.empty_like(subspace.loc)
    for c in torch.arange(len(noise)).split(max(1, PIECE // noise.shape[1])):
        own, leverage = aim(c)
        bound = variance.of(c) * (1 - leverage + leverage * share)
        own = torch.minimum(bound, (own - floor).clamp_min(0))
        noise[c] = (torch.maximum(own, LEAST_NOISE * own.mean(1, keepdim=True)) + floor).to(noise)
    return noise
