"""SubspacePrior: a low-rank Gaussian of each condition whose latents have a distribution of their own.

What its subclasses share is the linear part (:mod:`flowprior.priors.frame`) and with it the source samples
that are inferred from data; the distribution of the coordinates h is theirs.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions
from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.families import LowRank
from flowprior.mixtures.grouped import segments
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import first_rows, in_pieces, sample_rows
from flowprior.ops.last_results import LastResults
from flowprior.ops.operators import normal, uniform
from flowprior.priors.base import Prior
from flowprior.priors.checks import explaining_degenerate, warn_of_singles
from flowprior.priors.few_examples import are_few, examples_given, shares_given, shrunk_covariances
from flowprior.priors.frame import DiagonalFrame, Frame, Subspace
from flowprior.priors.seen_conditions import RAISE, UNSEEN, SeenConditions
from flowprior.priors.shared_basis import fit_shared
from flowprior.priors.subspace import (
    covariances_of,
    fit_rows,
    full_rows,
    full_tables,
    lowrank_tables,
)
from flowprior.registry import check_counts
from flowprior.registry.options import choose
from flowprior.streams.batches import Batch, CheckedBatches

SAMPLE_OF_ALL = 8192
"""The largest number of rows that the Gaussian of all data beside labels is fitted to."""
AUTO = "auto"
BASES = (AUTO, "own", "shared")
"""The choice of the fit; a basis of each label's own; one shared by all labels."""
OWN_NUMBERS = 1 << 26
"""Most numbers in bases of the labels' own that a fit chooses: 256 MiB in float32."""
KEPT_BYTES = 256 << 20
"""Most bytes of inferred latents that are kept to fit their law to."""
LEAST_KEPT = 200
"""Latents of each label that are kept at least."""
SIXTEEN = 16
PLACED = 1 << 21
"""Numbers of events that are placed at once where bases are shared."""
MOST_LATENTS = 64
"""The most latents of a label by default."""
WIDER = 4
"""How many times as many dimensions as a label's latents a shared basis has at the most, by default."""
WIDE_NUMBERS = 1 << 20
"""Most numbers in the labels' covariances along a shared basis that is wider than their latents."""


def default_span(rank: int, labels: int, dim: int) -> int:
    """Dimensions R of a basis that labels share: 4 r, at most D/2 and what can be afforded; or r."""
    span = min(WIDER * rank, dim // 2, math.isqrt(WIDE_NUMBERS // max(labels, 1)))
    return span if span >= 2 * rank else rank


def default_rank(count: Tensor) -> int:
    """Return the largest power of two not above the root of the mean rows of a label, at most 64.

    More latents hold more of the covariance, but their distribution is harder to fit.

    Args:
        count: rows of each label, ``[C]``; labels without rows do not count.
    """
    root = math.isqrt(int(count[count > 0].double().mean()))
    return min(1 << (root.bit_length() - 1), MOST_LATENTS)


class SubspacePrior(Prior, abc.ABC):
    """The base class of low-rank Gaussians whose latents have a distribution of their own.

    ``subspace`` has the mean, the axes and the noise of every label, or one of each where the condition is
    no label.

    Args:
        owner: whose options these are, for messages.
        rank: r; None takes :func:`default_rank`, but at most ``span``.
        added: the variance that is added to that of the noise.
        basis: of :data:`BASES`.
        span: R, dimensions of a basis that labels share; None for :func:`default_span`.
        unseen: of :data:`flowprior.priors.seen_conditions.UNSEEN`.
    """

    has_latents: bool = True
    has_spread: bool = True
    suited_coupling: str = "posterior"

    def __init__(
        self, owner: str, rank: int | None, added: float, basis: str, span: int | None, unseen: str = RAISE
    ) -> None:
        super().__init__(SeenConditions(choose(owner, "unseen", unseen, UNSEEN)))
        check_counts(owner, rank=1 if rank is None else rank)
        if span is not None:
            check_counts(owner, rank or 1, span=span)
        self.rank = rank
        self.added = added
        self.basis = choose(owner, "basis", basis, BASES)
        self.span = span
        self.subspace = Subspace()
        # Of each row of the subspace's tables; see flowprior.priors.few_examples.
        self.given = nn.Buffer(torch.empty(0))
        self._gives = LastResults()

    def spread(self, cond: Tensor | None, n: int) -> Frame:
        return self.subspace.frame(self._rows(cond, n), self.added)

    def inferred_slope(self, frame: Frame | DiagonalFrame, cond: Tensor | None) -> Tensor:
        """Return 1 − (1 − g)/λ ``[B, r]``, with g the share of the pairs that are the prior's own."""
        if not self._smooths:
            return super().inferred_slope(frame, cond)
        return 1 - (1 - self.given[self._rows(cond, len(frame.loc)), None]) / frame.spread

    @property
    def _smooths(self) -> bool:
        """True if some label has so few examples that it is given pairs of the prior's own."""
        return len(self.given) > 0 and bool(self._gives.of(_any_above_zero, self.given))

    @torch.no_grad()
    def smoothed(
        self,
        x0: Tensor,
        x1: Tensor,
        cond: Conditions | Mapping[str, Any] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Replace as many pairs, and by what, as :mod:`flowprior.priors.few_examples` says."""
        if not self._smooths:
            return x0, x1
        read = self._checked(cond, "smoothed")
        share = self.given[self._rows(read, len(x1))]
        rows = (uniform(len(x1), share.device, generator) < share).nonzero()[:, 0]
        labels = self.seen.with_null_drawn(None if read is None else read[rows], generator)
        drawn = self._sample(labels, len(rows), generator)
        frame = self.spread(labels, len(rows))
        noise = normal(len(rows), drawn.shape[1], like=drawn, generator=generator)
        clean = frame.place(frame.coordinates(drawn), noise * frame.data.sqrt())
        return _replaced(x0, rows, drawn), _replaced(x1, rows, clean)

    def _fit_subspace(self, data: CheckedBatches, settings: FitSettings) -> None:
        """Learn the conditions and the linear part from the same generator.

        Labels of few examples are drawn to what labels have in common (:mod:`flowprior.priors.few_examples`),
        those of one example with a warning.
        """
        first, cond = data.peek()
        self.given = self.subspace.loc.new_empty(0)
        if cond is None or cond.is_floating_point() or cond.dim() != 1:
            self.seen.learn(data, settings.generator)
            self.subspace = fit_own(data, self.rank, settings)
            return
        moments = ConditionMoments.over(data.labelled())
        self.seen.learn_labels(moments, first, cond)
        warn_of_singles(data.owner, self.seen.rows, self.seen.weight)
        labels, dim = moments.mean.shape
        rank = self.rank or min(default_rank(moments.count), self.span or MOST_LATENTS)
        span = default_span(rank, labels, dim) if self.span is None else self.span
        is_large = labels * dim * min(rank, dim) > OWN_NUMBERS and span < dim
        if self.basis == "shared" or (self.basis == AUTO and is_large):
            self.subspace = fit_shared(data, moments, span, rank, settings)
        else:
            self.subspace = fit_own(data, rank, settings, moments)
        self._give(first)

    def _give(self, like: Tensor) -> None:
        """Set what labels are given; the null condition gets what examples of all labels get on average."""
        count = self.seen.counts.cpu()
        share = shares_given(count, self.subspace.rank)
        null = (share * count).sum(0, keepdim=True) / count.sum()
        self.given = torch.cat([share, null]).to(like)

    def _with_given(self, h: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Latents ``[n, r]`` to fit a law to, with standard normal ones as what labels are given."""
        if not self._smooths:
            return h
        share = self.given[self._rows(cond, len(h)), None]
        chosen = torch.rand(len(h), 1, generator=generator).to(h.device) < share
        normal = torch.randn(h.shape, generator=generator, dtype=h.dtype).to(h.device)
        return torch.where(chosen, normal, h)

    def _given_latents(self, seed: int) -> list[Batch]:
        """Standard normal latents ``[n, r]`` of the labels with few examples, beside their own."""
        if not self._smooths:
            return []
        rank, like = self.subspace.rank, self.subspace.spread
        given = examples_given(self.seen.counts.cpu(), rank)
        most = max(1, KEPT_BYTES // (len(given) * rank * like.element_size()))
        generator = torch.Generator().manual_seed(seed + 1)
        labels = torch.arange(len(given)).repeat_interleave(given.clamp_max(most)).to(like.device)
        normal = torch.randn(len(labels), rank, generator=generator, dtype=like.dtype).to(like)
        return list(in_pieces([(normal, labels)]))

    def _latents_of(
        self, data: CheckedBatches, seed: int, *, noised: bool = True, given: bool = True
    ) -> Iterable[Batch]:
        """The data as latents to fit a law to, (h0 ``[B, r]``, condition), the same ones at every pass.

        Without noise they are the data's own, h1, for a law that brings the noise in by itself.

        Each pass infers them anew. Where bases are shared, which costs more, latents of ``KEPT_BYTES`` at
        the most are kept in memory: all, or the first ones of each label, as many as fit and at least 200.
        """
        more = self._given_latents(seed) if given else []

        def infer(x: Tensor, cond: Tensor | None, generator: torch.Generator) -> Batch:
            if noised:
                return self._source_coordinates(x, cond, generator), cond
            return self.spread(cond, len(x)).coordinates(x), cond

        rows, each = int(self.seen.weight.sum()), self.subspace.rank * self.subspace.spread.element_size()
        if not rows or not self.subspace.is_shared:
            return InferredLatents(data, infer, seed, more)
        if rows * each <= KEPT_BYTES:
            latents = InferredLatents(data, infer, seed, more)
            return list(latents) if noised else latents  # a fit without noise looks at them twice
        labels = max(self.seen.condition.size, 1)
        few = in_pieces(first_rows(data, labels, max(LEAST_KEPT, KEPT_BYTES // (labels * each))))
        return list(InferredLatents(few, infer, seed, more))

    def _source_coordinates(
        self, x: Tensor, cond: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """h0 ``[n, r]`` of samples inferred from x ``[n, D]``, from ``generator`` alone: to fit a law to."""
        frame = self.spread(cond, len(x))
        h = frame.coordinates(x)
        return frame.noised(h, normal_rows(h, generator))

    @torch.no_grad()
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """h0 ~ p(h0 | x1, c) under the low-rank Gaussian, then x0 = μ_c + ψ_c^½ (Q λ^½ h0 + (I − QQᵀ) ε)."""
        frame, like = self.spread(cond, len(x1)), self.subspace.loc
        epsilon, latent = frame.draw_noise(generator)
        return frame.source(x1.to(like), latent, epsilon)

    def _placed(self, cond: Tensor | None, h: Tensor, epsilon: Tensor) -> Tensor:
        """Events ``[n, D]`` of coordinates h ``[n, r]``; of shared bases some rows at a time."""
        if cond is None or not self.subspace.is_shared:
            return self.spread(cond, len(h)).place(h, epsilon)
        size = max(1, PLACED // epsilon.shape[1])
        parts = zip(cond.split(size), h.split(size), epsilon.split(size), strict=True)
        placed = [self.spread(c, len(c)).place(coordinates, noise) for c, coordinates, noise in parts]
        return torch.cat(placed) if len(placed) > 1 else placed[0] if placed else epsilon

    def _rows(self, cond: Tensor | None, n: int) -> Tensor:
        """Rows ``[n]`` of the subspace's tables: labels, the null label's last, or the only row there is."""
        if cond is not None and self.seen.has_labels:
            last = len(self.subspace.loc) - 1
            known = torch.isin(cond, self.seen.rows)
            return torch.where(known, cond, last)
        return torch.zeros(n, dtype=torch.long, device=self.subspace.loc.device)


def fit_own(
    data: CheckedBatches, rank: int | None, settings: FitSettings, labels: ConditionMoments | None = None
) -> Subspace:
    """The maximum-likelihood low-rank Gaussian of each label and of all rows, or of all rows alone.

    Where the rank reaches the dimensions and no label has few examples, the latents hold the whole
    covariance (:mod:`flowprior.priors.subspace`). The Gaussian of all rows beside labels is fitted to
    a sample of them.

    Args:
        data: batches (x ``[B, D]``, condition).
        rank: r, cut to D; None takes :func:`default_rank`.
        settings: ``reg_covar`` is added to the noise.
        labels: moments of each label; None where the condition is no label.

    Raises:
        InputError: no spread in some dimension, and no ``reg_covar``.
    """
    stream = CheckedBatches(data, data.owner, lambda cond: None) if labels is None else data
    moments = ConditionMoments.over(stream) if labels is None else labels
    first, dim, rank = data.peek()[0], moments.mean.shape[1], rank or default_rank(moments.count)
    if rank >= dim and not bool(are_few(moments.count, dim).any()):
        return Subspace.of(first, **_holding_all(stream, data, settings, labelled=labels is not None))
    if labels is not None and not settings.shrinkage:
        settings = replace(settings, shrunk=shrunk_covariances(data, moments, rank, settings))
    with explaining_degenerate(data.owner, settings.reg_covar):
        fitter = LowRank(rank).fitter(moments, 1, dtype=first.dtype, settings=settings)
        fitter.fit_single(partial(segments, stream, len(moments.count)), moments)
        values = lowrank_tables(fitter.mean, fitter.covariance, first)
    if labels is not None:
        null = fit_rows(sample_rows(data, SAMPLE_OF_ALL)[0], rank, settings, data.owner)
        values = {name: torch.cat([value, null[name]]) for name, value in values.items()}
    return Subspace.of(first, **values)


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


class InferredLatents:
    """The data of a fit as latents inferred from them, one for each datum, to fit a distribution to.

    Every pass yields the same ones.

    Args:
        data: batches (x ``[B, D]``, condition).
        infer: from x, its condition and a generator to latents ``[B, r]`` and their condition.
        seed: of the generator, at the beginning of each pass.
        more: latents that no datum has, which come last.
    """

    def __init__(
        self,
        data: Iterable[Batch],
        infer: Callable[[Tensor, Tensor | None, torch.Generator], Batch],
        seed: int,
        more: Sequence[Batch] = (),
    ) -> None:
        self.data, self.infer, self.seed, self.more = data, infer, seed, more

    @torch.no_grad()
    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        for x, cond in self.data:
            yield self.infer(x, cond, generator)
        yield from self.more


def normal_rows(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Normal noise shaped like h ``[n, r]``, of which each row is the same however rows are cut into batches.

    torch draws normal numbers sixteen at a time, so each row takes whole sixteens.
    """
    width = -(-like.shape[1] // SIXTEEN) * SIXTEEN
    noise = torch.randn(len(like), width, generator=generator, dtype=like.dtype)
    return noise[:, : like.shape[1]].to(like.device)


def _any_above_zero(values: Tensor) -> Tensor:
    """Return whether any is, as a tensor on the CPU."""
    return (values > 0).any().cpu()


def _replaced(x: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """A copy of ``x`` ``[B, *event]`` with ``new`` ``[n, D]`` in its ``rows``."""
    x = x.clone()
    x[rows.to(x.device)] = new.view(-1, *x.shape[1:]).to(x)
    return x
