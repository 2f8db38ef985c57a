"""Which prior and coupling to train from on data that are new: few rules, read from stored results.

| the data | the choice | read from |
|---|---|---|
| labels with few examples each | ``gmm:shrinkage=2`` + ``ot`` | cells, few-labels |
| pictures or their latents, under labels or none | ``latent-gmm`` + ``posterior`` | digits, fashion-mnist |
| points whose Gaussians have the law of held-out ones | ``gmm`` + ``ot`` | eight-modes |
| points of another law | ``latent-gmm`` + ``posterior`` | moons, awkward-laws |
| the same, where full Gaussians foretell them better | ``gmm:covariance=full`` + ``ot`` | biopsies |
| pictures of captions that repeat | ``kernel-mean`` + ``leave-one-out`` | emoji |
| pictures under a picture | ``learned-mean:covariance=diagonal`` + ``condot`` | super-resolution |
| other numbers as the condition | the best of two low-rank ``learned-mean`` + ``posterior`` | forecasting |
| numbers that foretell nothing | ``gaussian:moments=diagonal`` + ``ot`` | none: a guard |

docs/choosing.md has the data sets that the rules were frozen on, and what they got wrong on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.data.base import Data
from flowprior.data.splits import labels_of
from flowprior.errors import FlowpriorError, InputError
from flowprior.inspection.examples import Examples
from flowprior.inspection.held_out_score import held_out_score
from flowprior.inspection.misfit import LEVEL, Misfit, misfit
from flowprior.priors import Prior

MOST_EXAMPLES = 4000
"""Of data with labels or no condition that are looked at; a fifth is held out."""
MOST_FORETOLD = 1500
"""The same of data under numbers, where networks are fitted."""
DIVISIONS = 3
"""Into rows to fit on and rows held out, over which scores of points are averaged."""
MARGIN = 0.01
"""Share of its score by which a later candidate must be better than an earlier, simpler one."""
FEW_EXAMPLES = 64
"""Examples of the median label below which a Gaussian is all that they tell: with 20 digits of each label
``gmm`` leads ``latent-gmm`` (few-labels), with 24 cells of each type too; with 100 digits they are level."""
TOLD_APART = 0.65
"""Share of pairs in which a held-out row must be told from a draw for a Gaussian to be wrong enough: of
eight true Gaussians one was flagged at 0.58 (eight-modes), moons, digits and wines all at 0.80 and more."""
SMALL_DIMENSIONS, MOST_FULL_DIMENSIONS = 16, 64
"""Up to which a Gaussian's covariance is tried in full: to tell rows from its draws, and to start from it."""
REPEATS = 2.0
"""Pictures of one caption, on average, from which on the mean of the others foretells each (emoji: 3.9)."""
MOST_CONDITIONS = 8192
"""Rows whose embeddings are looked through for ones that repeat."""

FEW = "gmm:shrinkage=2.0"
"""Two examples of the pooled moments are borrowed (cells). With many, and labels far apart, they would widen
each Gaussian for nothing (eight-modes)."""
GAUSSIANS = ("gmm", "gmm:covariance=full")
FULL = "gmm:covariance=full,shrinkage=2.0"
LATENT = "latent-gmm"
CAPTIONS = "kernel-mean:neighbours=4,sigma=0.4"
PICTURES = "learned-mean:covariance=diagonal,depth=1,steps=500"
BLIND = "gaussian:moments=diagonal"
NETWORK = "learned-mean:covariance=lowrank"
LINEAR = (
    "learned-mean:covariance=lowrank,mapper=linear,hidden=64,depth=1,reg_covar=0.001,components=8,holdout=0.3"
)
"""Ridge regression for the mean, and a small network for the covariance about it (forecasting)."""
FORETELLING = (LINEAR, NETWORK)


@dataclass(frozen=True)
class Choice:
    """A prior and a coupling, and why.

    Attributes:
        prior: specification.
        coupling: specification, one that the prior can serve.
        data: what the data are, in one line.
        reason: what was measured, and where the rule was read, in one line.
    """

    prior: str
    coupling: str
    data: str
    reason: str


class _Found(NamedTuple):
    prior: str
    coupling: str
    reason: str


def choose_design(data: Data, seed: int = 0) -> Choice:
    """The prior and the coupling that the rules say for ``data``, after a look at some thousand examples.

    It depends on the data and ``seed`` alone, which is not that of the training: all seeds of a study choose
    alike.

    Args:
        data: to be trained on.
        seed: of the examples that are held out, the fits and the draws.

    Raises:
        InputError: too few examples, or a condition that no rule has a prior for.
    """
    try:
        kind = data.condition.kind
        found = _of_labels(data, seed) if kind in ("labels", "none") else _of_numbers(data, seed)
    except FlowpriorError as error:
        raise InputError(f"prior 'auto': {error}; or name a prior yourself, such as 'gaussian'") from error
    Coupling.registry.resolve(found.coupling).check(Prior.registry.resolve(found.prior))
    return Choice(found.prior, found.coupling, _described(data), found.reason)


def _described(data: Data) -> str:
    """What the data are, in one line."""
    shape, condition = "x".join(map(str, data.event_shape)), data.condition
    told = f"{condition.size} labels" if condition.kind == "labels" else condition.describe()
    return f"data: {len(data):,} examples of shape {shape} under {told}"


def _of_labels(data: Data, seed: int) -> _Found:
    """The latent mixture, but for a Gaussian of each label where that is as good or all that can be told."""
    count = _median_count(data)
    if count < FEW_EXAMPLES:
        Examples.of(data, MOST_EXAMPLES, seed)  # refuses what is too few for anything
        few = f"{count:g} examples of a label tell little more than mean and variance (cells, few-labels)"
        return _Found(FEW, "ot", f"gmm + ot: {few}")
    if len(data.event_shape) == 3:  # pictures, or their latents
        ahead = "of pictures, it is ahead at few evaluations (digits, fashion-mnist)"
        return _Found(LATENT, "posterior", f"{LATENT} + posterior: {ahead}")
    examples = [Examples.of(data, MOST_EXAMPLES, seed + division) for division in range(DIVISIONS)]
    return _of_points(examples, seed)


def _median_count(data: Data) -> float:
    """Examples of the median label, of those that have any; of data without labels all."""
    labels = labels_of(data)
    if labels is None:
        return float(len(data))
    counts = torch.bincount(labels)
    return float(counts[counts > 0].double().quantile(0.5))


def _of_points(examples: Sequence[Examples], seed: int) -> _Found:
    """Gaussians that have the law of held-out rows, else the latent mixture or what foretells them better."""
    gaussian, told = _best_gaussian(examples[0], seed)
    flagged = [of.told_apart for of in told.values() if of.p_value < LEVEL and of.told_apart > TOLD_APART]
    if not flagged:
        return _Found(
            gaussian, "ot", f"{gaussian} + ot: held-out rows are hardly told from its draws (eight-modes)"
        )
    apart = f"held-out rows are told from a Gaussian's draws in {max(flagged):.0%} of pairs"
    if examples[0].x[0].numel() <= MOST_FULL_DIMENSIONS:
        scores = _scores((FULL, LATENT), examples, seed)
        compared = f"energy score {scores[LATENT]:.4g}, of full Gaussians {scores[FULL]:.4g}"
        if scores[FULL] < scores[LATENT]:
            return _Found(
                FULL, "ot", f"{FULL} + ot: {apart}, but {LATENT} is no better, {compared} (biopsies)"
            )
        apart = f"{apart}, {compared}"
    return _Found(LATENT, "posterior", f"{LATENT} + posterior: {apart} (moons, awkward-laws)")


def _best_gaussian(examples: Examples, seed: int) -> tuple[str, dict[int, Misfit]]:
    """The Gaussian with the least held-out score, and how well rows are told from its draws."""
    if examples.summary(0).get("min", FEW_EXAMPLES) < FEW_EXAMPLES:
        specs: tuple[str, ...] = (FEW,)
    else:
        specs = GAUSSIANS if examples.x[0].numel() <= SMALL_DIMENSIONS else GAUSSIANS[:1]
    generator, spec = torch.Generator().manual_seed(seed), _first_best(_scores(specs, [examples], seed))
    prior: Prior = Prior.registry.resolve(spec)
    prior.fit((examples.x, examples.cond), generator=generator)
    return spec, misfit(prior, examples, generator)


def _of_numbers(data: Data, seed: int) -> _Found:
    """What foretells held-out events best from embeddings, pictures, series or a part of a condition."""
    if data.is_image and _repeats(data) >= REPEATS:
        means = f"{_repeats(data):.1f} pictures of each caption, so the others' mean foretells one (emoji)"
        return _Found(CAPTIONS, "leave-one-out", f"kernel-mean + leave-one-out: {means}; try temperature 0.4")
    if data.is_image and data.condition.is_picture:
        says = "pictures under pictures, which say nearly everything (super-resolution)"
        return _Found(PICTURES, "condot", f"learned-mean + condot: {says}")
    scores = _scores((*FORETELLING, BLIND), [Examples.of(data, MOST_FORETOLD, seed)], seed)
    blind = scores.pop(BLIND)
    spec = _first_best(scores)
    score = scores[spec]
    told = f"energy score {score:.3g} on held-out rows, {blind:.3g} without the condition"
    if score >= blind:
        return _Found(BLIND, "ot", f"gaussian + ot: the condition foretells nothing, {told}")
    mapper = "ridge regression" if spec == LINEAR else "a network"
    return _Found(
        spec, "posterior", f"learned-mean + posterior: {mapper} foretells best, {told} (forecasting)"
    )


def _scores(specs: Sequence[str], divisions: Sequence[Examples], seed: int) -> dict[str, float]:
    """The held-out energy score of each prior, fitted anew to each division of the data; means over these."""
    found = dict.fromkeys(specs, 0.0)
    for spec in specs:
        for examples in divisions:
            generator = torch.Generator().manual_seed(seed)
            prior: Prior = Prior.registry.resolve(spec)
            prior.fit((examples.x, examples.cond), generator=generator)
            found[spec] += held_out_score(prior, examples, generator) / len(divisions)
    return found


def _first_best(scores: Mapping[str, float]) -> str:
    """The prior of the least score; of those about equal the first."""
    least = min(scores.values())
    return next(spec for spec, score in scores.items() if score <= (1 + MARGIN) * least)


def _repeats(data: Data) -> float:
    """How often embeddings come again, on average; 1 where the condition is no embedding."""
    if data.condition.kind != "embeddings":
        return 1.0
    cond = data.conditions(torch.arange(min(len(data), MOST_CONDITIONS)))
    return len(cond) / len(cond.unique(dim=0)) if isinstance(cond, Tensor) else 1.0
