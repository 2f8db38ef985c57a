"""Tables of every condition's leading subspace, and their maximum-likelihood fit.

With the low-rank fit μ, W, ψ of a condition, W̃ = ψ^(-1/2) W = Q S Vᵀ (Q ``[D, r]`` orthonormal, S the
singular values) and λ = 1 + S². What is done with them is :class:`flowprior.priors.frame.Frame`'s.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from flowprior.mixtures import FitSettings, LowRank
from flowprior.mixtures.em import fit_mixture
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops.subspace import MOST_AXES, transposed_bases
from flowprior.priors.few_examples import are_few, shrunk_covariances
from flowprior.priors.frame import Axes, Frame, TurnedAxes
from flowprior.priors.holdout import sample_rows
from flowprior.priors.last_results import Derived
from flowprior.priors.tables import (
    covariances_of,
    explaining_degenerate,
    fit_rows,
    full_rows,
    full_tables,
    lowrank_tables,
)
from flowprior.streams.batches import CheckedBatches

SAMPLE_OF_ALL = 8192
"""Rows, at most, that the low-rank Gaussian of all data beside labels is fitted to."""
TRANSPOSED_NUMBERS = 1 << 24
"""Most numbers in bases that are kept transposed, too, for the native operators: 64 MiB in float32."""


class Subspace(nn.Module):
    """Of M conditions: ``loc`` m, ``noise`` ψ ``[M, D]``, ``spread`` λ ``[M, r]``; bases Q ``[G, D, r]``.

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
        self._lengths = Derived(squared_lengths)
        self._turned = Derived(self._turned_lengths)
        self._stretch = Derived(self._stretched)
        self._transposed = Derived(transposed_bases)

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

    @classmethod
    def fit(
        cls, data: CheckedBatches, rank: int, settings: FitSettings, labels: ConditionMoments | None = None
    ) -> Subspace:
        """The maximum-likelihood low-rank Gaussian of each label and of all rows, or of all rows alone.

        Where the rank reaches the dimensions and no label has few examples, the latents hold the whole
        covariance (:mod:`flowprior.priors.tables`). The Gaussian of all rows beside labels is fitted to
        a sample of them (:mod:`flowprior.priors.holdout`).

        Args:
            data: batches (x ``[B, D]``, condition).
            rank: r, cut to D.
            settings: ``reg_covar`` is added to the noise.
            labels: moments of each label; None where the condition is no label.

        Raises:
            InputError: no spread in some dimension, and no ``reg_covar``.
        """
        stream = CheckedBatches(data, data.owner, lambda cond: None) if labels is None else data
        moments = ConditionMoments.over(stream) if labels is None else labels
        first, dim = data.peek()[0], moments.mean.shape[1]
        if rank >= dim and not bool(are_few(moments.count, dim).any()):
            return cls.of(first, **_holding_all(stream, data, settings, labelled=labels is not None))
        if labels is not None and not settings.shrinkage:
            settings = replace(settings, shrunk=shrunk_covariances(data, moments, rank, settings))
        with explaining_degenerate(data.owner, settings.reg_covar):
            mixture = fit_mixture(stream, moments, LowRank(rank), 1, tol=0.0, max_iter=1, settings=settings)
            values = lowrank_tables(mixture.mean, mixture.covariance, first)
        if labels is not None:
            null = fit_rows(sample_rows(data, SAMPLE_OF_ALL)[0], rank, settings, data.owner)
            values = {name: torch.cat([value, null[name]]) for name, value in values.items()}
        return cls.of(first, **values)

    def frame(self, rows: Tensor, floor: float) -> Frame:
        """The linear part of ``rows`` ``[B]`` of the tables; ``floor`` is what of ψ is the variance floor."""
        loc, noise, spread = (table.index_select(0, rows) for table in (self.loc, self.noise, self.spread))
        if not self.is_shared:
            lengths = partial(self._lengths.of, self.basis)
            transposed = partial(self._transposed.of, self.basis) if self._is_served else None
            return Frame(loc, noise, spread, Axes(self.basis, rows, lengths, transposed), floor)
        group, stretch = (table.index_select(0, rows) for table in (self.group, self._stretch.of(self.noise)))
        lengths = partial(self._turned.of, self.rotation)
        turned = {"rotation": self.rotation, "turn": rows, "stretch": stretch}
        return Frame(loc, noise, spread, TurnedAxes(self.basis, group, lengths, **turned), floor)

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

    def _stretched(self, noise: Tensor) -> Tensor:
        """ρ ``[M, D]`` of all conditions."""
        return (self.common[self.group] / noise).sqrt()

    def _turned_lengths(self, rotation: Tensor) -> Tensor:
        """Squared lengths ``[M, D]`` of the rows of ρ ⊙ Q U of each condition."""
        turned = zip(self.group.tolist(), rotation, strict=True)
        lengths = torch.stack([(self.basis[g] @ turn).square().sum(1) for g, turn in turned])
        return lengths * self.common[self.group] / self.noise


def squared_lengths(basis: Tensor) -> Tensor:
    """Squared lengths ``[G, D]`` of the rows of bases ``[G, D, r]``."""
    return basis.square().sum(-1)


def _holding_all(
    stream: CheckedBatches, data: CheckedBatches, settings: FitSettings, *, labelled: bool
) -> dict[str, Tensor]:
    """Tables whose latents are as many as the dimensions; beside labels, the last row is of all rows."""
    moments = ConditionMoments.over(stream.labelled(), full=True)
    with explaining_degenerate(data.owner, settings.reg_covar):
        values = full_tables(*covariances_of(moments, settings), settings.reg_covar)
        if not labelled:
            return values
        null = full_rows(sample_rows(data, SAMPLE_OF_ALL)[0], settings.reg_covar)
    return {name: torch.cat([value, null[name]]) for name, value in values.items()}
