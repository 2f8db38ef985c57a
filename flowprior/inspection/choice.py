"""Which prior and coupling to train from on data that are new: few rules, read from stored results.

| the data | the choice | read from |
|---|---|---|
| pictures under labels with few examples each | ``gmm:shrinkage=2`` + ``ot`` | few-labels |
| pictures or their latents, under labels or none | ``latent-gmm`` + ``posterior`` | digits, fashion-mnist |
| thousands of points | what comes nearest in short trainings | letters, pen digits |
| fewer, where it is far ahead on held-out rows | ``latent-gmm`` + ``posterior`` | moons |
| other points: the best Gaussians | ``gmm``, diagonal or full, + ``ot`` | eight-modes, biopsies |
| points that no prior foretells better than N(0, I) | ``gaussian`` + ``ot`` | none: a guard |
| pictures of captions that repeat | ``kernel-mean`` + ``leave-one-out`` | emoji |
| pictures under a picture | ``learned-mean:covariance=diagonal`` + ``condot`` | super-resolution |
| other numbers as the condition | the best of two low-rank ``learned-mean`` + ``posterior`` | forecasting |
| numbers that foretell nothing | ``gaussian:moments=diagonal`` + ``ot`` | none: a guard |

What *best* is, :mod:`flowprior.inspection.comparison` says: surely better than what is safer. *Far ahead* is
by two standard errors and not by one. Of thousands of points the nearest is taken, sure or not: to keep what
is safer was a third behind on pen digits, and flows that are compared themselves need no caution.
docs/automatic.md has the data sets that the rules were frozen on, and what they got wrong on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.data.base import Data
from flowprior.data.splits import labels_of
from flowprior.errors import FlowpriorError, InputError
from flowprior.inspection.comparison import Comparison, compare_priors, design_name
from flowprior.inspection.examples import Examples
from flowprior.priors import Prior

MOST_EXAMPLES = 4000
"""Of data with labels or no condition that are looked at; a fifth at a time is held out."""
MANY_POINTS = 2000
"""From which on small flows are trained: what priors foretell is not the flows' order where one of them has
many Gaussians (letters). Of 1,400 points the held-out fifth does not tell flows apart (a roll)."""
MOST_FORETOLD = 1500
"""The same of data under numbers, where networks are fitted; a fifth is held out."""
FEW_EXAMPLES = 64
"""Pictures of the median label below which a Gaussian is all that they tell: with 20 digits of each label
``gmm`` leads ``latent-gmm``, with 100 they are level (few-labels)."""
MOST_FULL_DIMENSIONS = 64
"""Up to which a Gaussian's covariance is tried in full."""
LATENT_ERRORS = 2.0
"""Standard errors by which ``latent-gmm`` must be ahead of the best Gaussians. Where these are a little off,
a flow under ``ot`` mends it; under ``posterior`` it keeps what the prior has wrong (two rings, a roll)."""
REPEATS = 2.0
"""Pictures of one caption, on average, from which on the mean of the others foretells each (emoji: 3.9)."""
MOST_CONDITIONS = 8192
"""Rows whose embeddings are looked through for ones that repeat."""

NORMAL = "gaussian"
BASE = NORMAL, "condot"
FEW = "gmm:shrinkage=2.0"
"""Two examples of the pooled moments are borrowed (cells). With many, and labels far apart, they would widen
each Gaussian for nothing (eight-modes)."""
FULL = "gmm:covariance=full,shrinkage=2.0"
LABELLED = (FEW, "gmm"), (FULL, "gmm:covariance=full")
UNLABELLED = ("gmm", "gmm:components=8"), ("gmm:covariance=full",)
"""Diagonal and full Gaussians of each label, and of all data; the safe ones first."""
LATENT = "latent-gmm"
CAPTIONS = "kernel-mean:neighbours=4,sigma=0.4"
PICTURES = "learned-mean:covariance=diagonal,depth=1,steps=500"
BLIND = "gaussian:moments=diagonal"
NETWORK = "learned-mean:covariance=lowrank"
LINEAR = (
    "learned-mean:covariance=lowrank,mapper=linear,hidden=64,depth=1,reg_covar=0.001,components=8,holdout=0.3"
)
"""Ridge regression for the mean, and a small network for the covariance about it (forecasting)."""
FORETELLING = (BLIND, LINEAR, NETWORK)


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


Pilot = Callable[[Sequence[tuple[str, str]], Data, int], Comparison]
"""Designs, the data and a seed -> distances of small flows, each design named ``PRIOR + COUPLING``: see
:func:`flowprior.training.compare_flows`."""


def choose_design(data: Data, pilot: Pilot | None = None, *, seed: int = 0) -> Choice:
    """The prior and the coupling that the rules say for ``data``, after a look at some thousand examples.

    Of 2,000 points or more five small flows are trained on up to 16,000 of them, which takes some minutes.

    It depends on the data and ``seed`` alone, which is not that of the training: all seeds of a study choose
    alike.

    Args:
        data: to be trained on.
        pilot: trains and compares small flows; asked of 2,000 points or more.
        seed: of the examples that are held out, the fits and the draws.

    Raises:
        InputError: too few examples, a condition that no rule has a prior for, or no ``pilot`` where one is
            asked.
    """
    try:
        kind = data.condition.kind
        found = _of_labels(data, pilot, seed) if kind in ("labels", "none") else _of_numbers(data, seed)
    except FlowpriorError as error:
        raise InputError(f"prior 'auto': {error}; or name a prior yourself, such as 'gaussian'") from error
    Coupling.registry.resolve(found.coupling).check(Prior.registry.resolve(found.prior))
    return Choice(found.prior, found.coupling, _described(data), found.reason)


def asks_pilot(data: Data) -> bool:
    """Whether :func:`choose_design` trains small flows on ``data``: points, 2,000 of them or more."""
    points = data.condition.kind in ("labels", "none") and len(data.event_shape) != 3
    return points and len(data) >= MANY_POINTS


def _described(data: Data) -> str:
    """What the data are, in one line."""
    shape, condition = "x".join(map(str, data.event_shape)), data.condition
    told = f"{condition.size} labels" if condition.kind == "labels" else condition.describe()
    return f"data: {len(data):,} examples of shape {shape} under {told}"


def _of_labels(data: Data, pilot: Pilot | None, seed: int) -> _Found:
    """Pictures by what is known of pictures; points by what foretells held-out ones, or by small flows."""
    if len(data.event_shape) != 3:
        return _of_many_points(data, pilot, seed) if asks_pilot(data) else _of_points(data, seed)
    count = _median_count(data)
    if count < FEW_EXAMPLES:
        Examples.of(data, MOST_EXAMPLES, seed)  # refuses what is too few for anything
        few = f"{count:g} pictures of a label tell little more than mean and variance (few-labels)"
        return _Found(FEW, "ot", f"gmm + ot: {few}")
    ahead = "of pictures, it is ahead at few evaluations (digits, fashion-mnist)"
    return _Found(LATENT, "posterior", f"{LATENT} + posterior: {ahead}")


def _median_count(data: Data) -> float:
    """Examples of the median label, of those that have any; of data without labels all."""
    labels = labels_of(data)
    if labels is None:
        return float(len(data))
    counts = torch.bincount(labels)
    return float(counts[counts > 0].double().quantile(0.5))


def _of_points(data: Data, seed: int) -> _Found:
    """The latent mixture where it is far ahead on held-out rows, else the best Gaussians, else N(0, I)."""
    safer = NORMAL, *sum(_gaussians(data), ())
    found = compare_priors((*safer, LATENT), Examples.folds(data, MOST_EXAMPLES, seed), seed)
    safe = found.best_for_sure(safer)
    lead = found.lead(LATENT, safe)
    told = f"on {len(found.scores[safe])} held-out rows"
    apart = f"{abs(lead.gain):.3g} ± {lead.error:.2g} {'less' if lead.gain > 0 else 'more'}"
    if lead.is_sure(LATENT_ERRORS):
        score = f"energy score {found.mean(LATENT):.4g} {told}, {apart} than {safe}"
        return _Found(LATENT, "posterior", f"{LATENT} + posterior: {score}")
    beside = "no prior surely less" if safe == NORMAL else f"N(0, I) {found.mean(NORMAL):.4g}"
    score = f"energy score {found.mean(safe):.4g} {told}, {beside}, {LATENT} {apart}"
    return _Found(safe, "ot", f"{safe} + ot: {score}")


def _of_many_points(data: Data, pilot: Pilot | None, seed: int) -> _Found:
    """What comes nearest in short trainings; of each kind of Gaussians the one that foretells rows best."""
    if pilot is None:
        trained = "short trainings choose for so many points"
        raise InputError(f"{trained}; pass pilot=flowprior.training.compare_flows")
    kinds = _gaussians(data)
    fitted = compare_priors(sum(kinds, ()), Examples.folds(data, MOST_EXAMPLES, seed), seed)
    gaussians = [(fitted.best_for_sure(kind), "ot") for kind in kinds]
    designs = {
        design_name(*design): design for design in (BASE, (NORMAL, "ot"), *gaussians, (LATENT, "posterior"))
    }
    found = pilot(list(designs.values()), data, seed)
    best, *others = sorted(found.scores, key=found.mean)
    told = [f"{found.mean(name):.3g} of {name}" for name in others[:1]]
    told += [
        f"{found.mean(name):.3g} of N(0, I) + condot" for name in others[1:] if name == design_name(*BASE)
    ]
    distances = ", ".join([f"{found.mean(best):.3g} after a short training", *told])
    return _Found(*designs[best], f"{best}: sliced W2² {distances}")


def _gaussians(data: Data) -> tuple[tuple[str, ...], ...]:
    """Gaussians with diagonal covariances, and with full ones where these have few numbers."""
    diagonal, full = LABELLED if data.condition.kind == "labels" else UNLABELLED
    return (diagonal, full) if data.event_shape.numel() <= MOST_FULL_DIMENSIONS else (diagonal,)


def _of_numbers(data: Data, seed: int) -> _Found:
    """What foretells held-out events best from embeddings, pictures, series or a part of a condition."""
    if data.is_image and _repeats(data) >= REPEATS:
        means = f"{_repeats(data):.1f} pictures of each caption, so the others' mean foretells one (emoji)"
        return _Found(CAPTIONS, "leave-one-out", f"kernel-mean + leave-one-out: {means}; try temperature 0.4")
    if data.is_image and data.condition.is_picture:
        says = "pictures under pictures, which say nearly everything (super-resolution)"
        return _Found(PICTURES, "condot", f"learned-mean + condot: {says}")
    found = compare_priors(FORETELLING, [Examples.of(data, MOST_FORETOLD, seed)], seed)
    spec = found.best_for_sure(FORETELLING)
    own, blind = found.mean(spec), found.mean(BLIND)
    told = f"energy score {own:.3g} on held-out rows, {blind:.3g} without the condition"
    if spec == BLIND:
        least = min(map(found.mean, FORETELLING))
        nothing = f"energy score {blind:.3g} on held-out rows, with the condition {least:.3g}"
        return _Found(BLIND, "ot", f"gaussian + ot: the condition foretells nothing for sure, {nothing}")
    mapper = "ridge regression" if spec == LINEAR else "a network"
    return _Found(
        spec, "posterior", f"learned-mean + posterior: {mapper} foretells best, {told} (forecasting)"
    )


def _repeats(data: Data) -> float:
    """How often embeddings come again, on average; 1 where the condition is no embedding."""
    if data.condition.kind != "embeddings":
        return 1.0
    cond = data.conditions(torch.arange(min(len(data), MOST_CONDITIONS)))
    return len(cond) / len(cond.unique(dim=0)) if isinstance(cond, Tensor) else 1.0
