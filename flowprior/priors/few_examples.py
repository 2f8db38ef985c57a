"""Labels of few examples: what their Gaussians are drawn to, and what they are given beside their data.

**Covariances.** By themselves n rows span n − 1 directions, and draws are nearly copies of them. So labels
of few examples share a covariance S, the low-rank one of all rows about their label's mean. A row that is
still to come from a label of n_c rows, with mean x̄_c and unbiased covariance Ŝ_c, has about the covariance

    (1 + 1/n_c) ((1 − w_c) Ŝ_c + w_c S),   w_c = ν/(n_c + ν),

where 1/n_c is for not knowing the mean. The strength ν, in examples, is learned: rows of each label are
halved, and that ν is taken under which one half says most of the other, with an S that is other labels'
(empirical Bayes with held-out rows; for the form Ledoit & Wolf 2004). A label with one example has w = 1.

**The law of the data.** A law of latents that is fitted to few of them, and a flow that is trained on few
data, fall back to copies, however wide the Gaussian is. So a label of few examples counts as n_c examples
of its own and E²/n_c of its prior's, with E = ``EQUAL``, where both count the same: a smoothed bootstrap
(Efron 1979; Silverman & Young 1987). Of the latents that their law is fitted to, and of the pairs in
training, a share E²/(n_c² + E²) is given: standard normal latents, and pairs of a source sample drawn from
the prior and a datum that has its coordinates along the leading axes, with new noise outside of them, of the
data's own variance. The share falls with the square because what is given has a price where nothing would
be copied: with as many examples' worth for every count, digits of 143 examples a label came out worse.

Labels with ``FULL`` examples for each latent, or more, are given nothing and fitted by themselves. Bases that
labels share (:mod:`flowprior.priors.shared_basis`) weigh covariances by a rule of their own.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flowprior.mixtures.covariance import FitSettings, ShrunkCovariances
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.samples import first_rows, in_pieces, sample_rows
from flowprior.priors.subspace import NEGLIGIBLE, fit_rows
from flowprior.streams.batches import CheckedBatches

FULL = 8
"""A label with this many examples for each latent, or more, is fitted by itself."""
EQUAL = 10
"""Examples of a label with which its own and what it is given of its prior count the same."""
SAMPLE = 16_384
"""Rows, at most, that the common covariance is learned from."""
ROWS = 64
"""Rows of each label, at most, that the strength is learned from: ``SAMPLE`` in all."""
LEAST_FLOOR = 1e-9
"""Of variances, where half of the labels may have none in a dimension."""
NUMBERS = 1 << 26
"""Numbers, at most, in these rows."""
STRENGTHS = tuple(2.0**power for power in range(-1, 9))
"""The candidates of ν."""
UNKNOWN_STRENGTH = 8.0
"""Where no label has rows enough to tell."""
LEAST_HALVED = 4
"""Rows of a label that are halved at least."""
SEED = 20251127


def are_few(count: Tensor, rank: int) -> Tensor:
    """Return the labels with examples, but few for ``rank`` latents, bool ``[C]``; ``count`` is ``[C]``."""
    return (count > 0) & (count < FULL * rank)


def shares_given(count: Tensor, rank: int) -> Tensor:
    """Share of each label's law that is its prior's, ``[C]``, 0 where examples are many."""
    return torch.where(are_few(count, rank), EQUAL**2 / (count.square() + EQUAL**2), 0.0)


def examples_given(count: Tensor, rank: int) -> Tensor:
    """Return the examples' worth of prior that each label is given, int64 ``[C]``; 0 for many examples."""
    return torch.where(are_few(count, rank), EQUAL**2 / count.clamp_min(1), 0.0).round().long()


def shrunk_covariances(
    data: CheckedBatches, moments: ConditionMoments, rank: int, settings: FitSettings
) -> ShrunkCovariances | None:
    """Return the aim of the covariances of labels with few examples; None without such labels.

    Args:
        data: batches (x ``[B, D]``, labels).
        moments: of each label.
        rank: r of the common covariance.
        settings: ``reg_covar`` is added to the noise.

    Raises:
        InputError: no spread in some dimension, and no ``reg_covar``.
    """
    count, rank = moments.count, min(rank, moments.mean.shape[1])
    few = are_few(count, rank)
    if not bool(few.any()):
        return None
    rows = _rows_about_means(*sample_rows(data, SAMPLE), moments)
    common = {name: table[0].double() for name, table in fit_rows(rows, rank, settings, data.owner).items()}
    strength = learned_strength(data, count, rank, settings)
    weight = torch.where(count > 1, strength / (count + strength), 1.0)
    wider = 1 + 1 / count.clamp_min(1)
    excess = (common["spread"] - 1).clamp_min(0).sqrt()
    return ShrunkCovariances(
        few=few,
        own=wider * (1 - weight) * _unbiased(count),
        common=wider * weight,
        factor=common["noise"].sqrt()[:, None] * common["basis"] * excess,
        noise=(common["noise"] - settings.reg_covar).clamp_min(0),
    )


def learned_strength(data: CheckedBatches, count: Tensor, rank: int, settings: FitSettings) -> float:
    """ν under which halves of labels say most of each other.

    Labels are of two kinds, at random, and covariances of either are drawn to what the other has in common:
    where rows had a part in the common covariance, they would agree with it too well. At most ``SAMPLE``
    rows are looked at, and ``ROWS`` of each label.

    Args:
        data: batches (x ``[B, D]``, labels).
        count: examples of each label, ``[C]``.
        rank: r of the common covariance.
        settings: ``reg_covar`` is added to the noise.
    """
    able = (count >= LEAST_HALVED).nonzero()[:, 0]
    most = max(2, min(SAMPLE, NUMBERS // data.peek()[0].shape[1]) // ROWS)
    chosen = able[torch.randperm(len(able), generator=torch.Generator().manual_seed(SEED))][:most]
    if len(chosen) < 2:
        return UNKNOWN_STRENGTH
    rows = _rows_of(data, chosen, len(count))
    kinds = rows[::2], rows[1::2]
    settings = replace(settings, reg_covar=max(settings.reg_covar, LEAST_FLOOR))
    total = torch.zeros(len(STRENGTHS), dtype=torch.float64)
    for known, held_out in (kinds, kinds[::-1]):
        centred = torch.cat([(x - x.mean(0)) * (len(x) / (len(x) - 1)) ** 0.5 for x in known])
        common = {name: table[0] for name, table in fit_rows(centred, rank, settings, data.owner).items()}
        varies = common["spread"] > 1 + NEGLIGIBLE
        axes = common["noise"].rsqrt()[:, None] * (common["basis"] * common["spread"].rsqrt())[:, varies]
        for x in held_out:
            one, other = ((x - x.mean(0)).double() @ axes).tensor_split(2)
            total += _log_density(other, one) + _log_density(one, other)
    return STRENGTHS[int(total.argmax())] if bool(total.any()) else UNKNOWN_STRENGTH


def _rows_of(data: CheckedBatches, chosen: Tensor, labels: int) -> list[Tensor]:
    """The first ``ROWS`` rows ``[n, D]`` of each of the ``chosen`` labels, on the CPU."""
    parts: dict[int, list[Tensor]] = {label: [] for label in chosen.tolist()}
    for x, cond in first_rows(data, labels, ROWS):
        for label in cond[torch.isin(cond, chosen)].unique().tolist():
            parts[label].append(x[(cond == label).to(x.device)].cpu())
    return [torch.cat(part) for part in parts.values()]


def _log_density(new: Tensor, known: Tensor) -> Tensor:
    """Log-density of ``new`` rows under the Gaussian of ``known`` ones, but for a constant, for each ν."""
    count, mean = len(known), known.mean(0)
    deviation = known - mean
    values, vectors = torch.linalg.eigh(deviation.T @ deviation / (count - 1))
    strengths = torch.tensor(STRENGTHS, dtype=values.dtype)
    weight = (strengths / (count + strengths))[:, None]
    spread = (1 + 1 / count) * ((1 - weight) * values.clamp_min(0) + weight)
    squares = ((new - mean) @ vectors).square().sum(0)
    return -0.5 * (squares / spread + len(new) * spread.log()).sum(1)


def _rows_about_means(rows: Tensor, labels: Tensor, moments: ConditionMoments) -> Tensor:
    """Rows ``[n, D]`` about their label's mean, of unbiased spread.

    Single examples have none; where all are, it is the mean of all data that they are taken about.
    """
    count = moments.count
    several = count[labels] > 1
    if not bool(several.any()):
        return rows - moments.pooled().mean.to(rows)
    rows, labels = rows[several], labels[several]
    scale = _unbiased(count).sqrt().to(rows)
    for x, c in in_pieces([(rows, labels)]):
        assert c is not None
        x -= moments.mean[c].to(x)
        x *= scale[c, None]
    return rows


def _unbiased(count: Tensor) -> Tensor:
    """n/(n − 1) of counts ``[C]``; n below two."""
    return count / (count - 1).clamp_min(1)
