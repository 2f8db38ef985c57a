"""Labels of few examples: what their Gaussians are drawn to, and what they are given beside their data.

**Covariances.** By themselves n rows span n − 1 directions, and draws are nearly copies of them. So labels
of few examples share a covariance S, the low-rank one of all rows about their label's mean. A row that is
still to come from a label of n_c rows, with mean x̄_c and unbiased covariance Ŝ_c, has about the covariance

    (1 + 1/n_c) ((1 − w_c) Ŝ_c + w_c S),   w_c = ν/(n_c + ν),

where 1/n_c is for not knowing the mean. The strength ν, in examples, is learned: rows of each label are
halved, and that ν is taken under which one half says most of the other (empirical Bayes with held-out rows;
for the form Ledoit & Wolf 2004). A label with one example has its mean halfway to that of all data and
w = 1.

**The law of the data.** A law of latents that is fitted to few of them, and a flow that is trained on few
data, fall back to copies, however wide the Gaussian is. So a label of few examples counts as n_c examples
of its own and ``GIVEN`` of its prior's, a smoothed bootstrap (Efron 1979; Silverman & Young 1987): the law of
the latents is fitted to ``GIVEN`` standard normal ones more, and in training a share GIVEN/(n_c + GIVEN) of
the pairs is made of prior samples, each of which is its own datum, but for noise that is not in the data.

Few are fewer than ``FULL`` examples for each latent; other labels are left alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.data.stream import CheckedBatches
from flowprior.mixtures import FitSettings
from flowprior.mixtures.moments import ConditionMoments
from flowprior.mixtures.shrunk import ShrunkCovariances
from flowprior.priors.lowrank_tables import fit_rows
from flowprior.priors.row_sample import RowSample

FULL = 8
"""Examples for each latent from which on a label is fitted by itself."""
GIVEN = 16
"""Examples' worth of their prior that labels of few examples are given."""
SINGLE = 1.0
"""How many examples' worth of the mean of all data a label with one example is given."""
SAMPLE = 16_384
"""Rows, at most, that the common covariance and the strength are learned from."""
STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
UNKNOWN_STRENGTH = 8.0
"""Where no label has rows enough to tell."""
LEAST_HALVED = 4
"""Rows of a label that are halved at least."""
SEED = 20251127


def are_few(count: Tensor, rank: int) -> Tensor:
    """Which labels, of ``count`` ``[C]`` examples, have few for ``rank`` latents, but some: bool ``[C]``."""
    return (count > 0) & (count < FULL * rank)


def shares_given(count: Tensor, rank: int) -> Tensor:
    """Share of each label's law that is its prior's, ``[C]``, 0 where examples are many."""
    return torch.where(are_few(count, rank), GIVEN / (count + GIVEN), 0.0)


def means_of_few(moments: ConditionMoments) -> Tensor:
    """Means ``[C, D]``: the labels' own, but that of one example is given ``SINGLE`` of all data's mean."""
    one = (moments.count == 1)[:, None]
    halfway = (moments.mean + SINGLE * moments.pooled().mean) / (1 + SINGLE)
    return torch.where(one, halfway, moments.mean)


def shrunk_covariances(
    data: CheckedBatches, moments: ConditionMoments, rank: int, settings: FitSettings
) -> ShrunkCovariances | None:
    """What the covariances of labels with few examples are drawn to; None where there is no such label.

    Args:
        data: batches (x ``[B, D]``, labels).
        moments: of each label.
        rank: r of the common covariance.
        settings: ``reg_covar`` is the variance floor.

    Raises:
        InputError: no spread in some dimension, and no ``reg_covar``.
    """
    count, rank = moments.count, min(rank, moments.mean.shape[1])
    few = are_few(count, rank)
    if not bool(few.any()):
        return None
    rows, labels = _rows_about_means(RowSample.over(data, SAMPLE), moments)
    common = {name: table[0].double() for name, table in fit_rows(rows, rank, settings, data.owner).items()}
    noise = common["noise"]
    white = (rows.double() * noise.rsqrt()) @ common["basis"] * common["spread"].rsqrt()
    strength = learned_strength(white, labels)
    weight = torch.where(count > 1, strength / (count + strength), 1.0)
    wider = 1 + 1 / count.clamp_min(1)
    excess = (common["spread"] - 1).clamp_min(0).sqrt()
    return ShrunkCovariances(
        few=few,
        mean=means_of_few(moments),
        own=wider * (1 - weight) * _unbiased(count),
        common=wider * weight,
        factor=noise.sqrt()[:, None] * common["basis"] * excess,
        noise=(noise - settings.reg_covar).clamp_min(0),
    )


def learned_strength(white: Tensor, labels: Tensor) -> float:
    """ν under which the halves of labels say most of each other.

    Args:
        white: rows about their label's mean ``[n, r]``, of covariance I over all labels.
        labels: of the rows, ``[n]``.
    """
    strengths = torch.tensor(STRENGTHS, dtype=white.dtype)
    total = torch.zeros_like(strengths)
    generator = torch.Generator().manual_seed(SEED)
    ordered, counts = labels.sort(stable=True).indices, torch.bincount(labels)
    for own in ordered.split(counts.tolist()):
        if len(own) < LEAST_HALVED:
            continue
        one, other = white[own[torch.randperm(len(own), generator=generator)]].tensor_split(2)
        total += _said_of(other, one, strengths) + _said_of(one, other, strengths)
    return float(strengths[total.argmax()]) if bool(total.any()) else UNKNOWN_STRENGTH


def _said_of(new: Tensor, known: Tensor, strengths: Tensor) -> Tensor:
    """Log-density of ``new`` rows under the Gaussian of ``known`` ones, but for a constant, for each ν."""
    count, mean = len(known), known.mean(0)
    deviation = known - mean
    values, vectors = torch.linalg.eigh(deviation.T @ deviation / (count - 1))
    weight = (strengths / (count + strengths))[:, None]
    spread = (1 + 1 / count) * ((1 - weight) * values.clamp_min(0) + weight)
    squares = ((new - mean) @ vectors).square().sum(0)
    return -0.5 * (squares / spread + len(new) * spread.log()).sum(1)


def _rows_about_means(sample: RowSample, moments: ConditionMoments) -> tuple[Tensor, Tensor]:
    """Rows ``[n, D]`` about their label's mean, of unbiased spread, and their labels.

    Single examples have none; where all are, it is the mean of all data that they are taken about.
    """
    rows, labels, count = sample.rows, sample.labels, moments.count
    several = count[labels] > 1
    if not bool(several.any()):
        return rows - moments.pooled().mean.to(rows), labels
    rows, labels = rows[several], labels[several]
    scale = _unbiased(count).sqrt().to(rows)
    return (rows - moments.mean.to(rows)[labels]) * scale[labels, None], labels


def _unbiased(count: Tensor) -> Tensor:
    """n/(n − 1) of counts ``[C]``; 1 below two."""
    return torch.where(count > 1, count / (count - 1).clamp_min(1), 1.0)
