"""Which prior and coupling to train from on data that are new: few rules, read from stored results.

| the data | the choice | read from |
|---|---|---|
| labels, or none, with few examples | ``gmm:shrinkage=2`` + ``ot`` | cells, few-labels |
| labels, or none, whose Gaussians have the law of held-out rows | ``gmm`` + ``ot`` | eight-modes |
| labels, or none, of any other law | ``latent-gmm`` + ``posterior`` | digits, fashion-mnist, moons |
| pictures of captions that repeat | ``kernel-mean`` + ``leave-one-out`` | emoji |
| pictures under a picture | ``learned-mean:covariance=diagonal`` + ``condot`` | super-resolution |
| other numbers as the condition | the best of two low-rank ``learned-mean`` + ``posterior`` | forecasting |
| numbers that foretell nothing | ``gaussian:moments=diagonal`` + ``ot`` | none: a guard |

docs/choosing.md has the data sets that the rules were frozen on, and what they got wrong on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.data.base import Data
from flowprior.errors import FlowpriorError, InputError
from flowprior.inspection.examples import Examples
from flowprior.inspection.held_out_score import held_out_score
from flowprior.inspection.misfit import LEVEL, Misfit, misfit
from flowprior.priors import Prior

MOST_EXAMPLES = 4000
"""Of data with labels or no condition that are looked at; a fifth is held out."""
MOST_FORETOLD = 1500
"""The same of data under numbers, where networks are fitted."""
FEW_EXAMPLES = 64
"""Examples of the median label below which a Gaussian is all that they can tell: with 20 digits of each label
``gmm`` is ahead of ``latent-gmm`` (few-labels), with 24 cells of each type too, with 100 digits no more."""
TOLD_APART = 0.65
"""Share of pairs in which a held-out row must be told from a draw for a Gaussian to be wrong enough: of
eight true Gaussians one was flagged at 0.58 (eight-modes), moons, digits and wines all at 0.80 and more."""
MARGIN = 0.01
"""Share of its score by which a later candidate must be better than an earlier, simpler one."""
SHRINKAGE = 2.0
"""Examples of the pooled moments that a label with few examples borrows (cells). With many, and labels far
apart, they would widen each Gaussian for nothing (eight-modes)."""
MOST_FULL_DIMENSIONS = 16
"""Up to which a Gaussian's covariance is tried in full."""
REPEATS = 2.0
"""Pictures of one caption, on average, from which on the mean of the others foretells each (emoji: 3.9)."""
MOST_CONDITIONS = 8192
"""Rows whose embeddings are looked through for ones that repeat."""

FEW = f"gmm:shrinkage={SHRINKAGE}"
GAUSSIANS = ("gmm", "gmm:covariance=full")
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
    """A Gaussian for each label where the data do not speak against it, else the latent mixture."""
    examples = Examples.of(data, MOST_EXAMPLES, seed)
    count = examples.summary(len(data)).get("median", float(len(data)))
    of = "of the data" if examples.labels is None else "of each label"
    gaussian, told = _best_gaussian(examples, seed)
    if count < FEW_EXAMPLES or not told:
        few = f"{count:g} examples {of} tell little more than mean and variance"
        return _Found(FEW, "ot", f"gmm + ot: {few}, and borrow from all (cells, few-labels)")
    flagged = [label for label, one in told.items() if one.p_value < LEVEL and one.told_apart > TOLD_APART]
    if not flagged:
        gaussian = FEW if examples.summary(len(data)).get("min", count) < FEW_EXAMPLES else gaussian
        cannot = f"held-out rows {of} are hardly told from draws of a Gaussian"
        return _Found(gaussian, "ot", f"{gaussian} + ot: {cannot} (eight-modes)")
    worst = max(told[label].told_apart for label in flagged)
    share = "" if examples.labels is None else f" of {len(flagged)} of {len(told)} labels"
    can = f"held-out rows{share} are told from draws of a Gaussian in {worst:.0%} of pairs"
    return _Found(LATENT, "posterior", f"{LATENT} + posterior: {can} (digits, fashion-mnist, moons)")


def _best_gaussian(examples: Examples, seed: int) -> tuple[str, dict[int, Misfit]]:
    """The Gaussian with the least held-out score, and how well rows are told from its draws."""
    small = examples.x[0].numel() <= MOST_FULL_DIMENSIONS
    spec, prior, _ = _best(GAUSSIANS if small else GAUSSIANS[:1], examples, seed)
    return spec, misfit(prior, examples, torch.Generator().manual_seed(seed))


def _of_numbers(data: Data, seed: int) -> _Found:
    """What foretells held-out events best from embeddings, pictures, series or a part of a condition."""
    if data.is_image and _repeats(data) >= REPEATS:
        means = f"{_repeats(data):.1f} pictures of each caption, so the others' mean foretells one (emoji)"
        return _Found(CAPTIONS, "leave-one-out", f"kernel-mean + leave-one-out: {means}; try temperature 0.4")
    if data.is_image and data.condition.is_picture:
        says = "pictures under pictures, which say nearly everything (super-resolution)"
        return _Found(PICTURES, "condot", f"learned-mean + condot: {says}")
    examples = Examples.of(data, MOST_FORETOLD, seed)
    spec, _, score = _best(FORETELLING, examples, seed)
    blind = _best((BLIND,), examples, seed)[2]
    scores = f"energy score {score:.3g} on held-out rows, {blind:.3g} without the condition"
    if score >= blind:
        return _Found(BLIND, "ot", f"gaussian + ot: the condition foretells nothing, {scores}")
    mapper = "ridge regression" if spec == LINEAR else "a network"
    return _Found(
        spec, "posterior", f"learned-mean + posterior: {mapper} foretells best, {scores} (forecasting)"
    )


def _best(specs: Sequence[str], examples: Examples, seed: int) -> tuple[str, Prior, float]:
    """The prior of the least held-out energy score, fitted, and its score; the first of those about equal."""
    found = []
    for spec in specs:
        generator = torch.Generator().manual_seed(seed)
        prior: Prior = Prior.registry.resolve(spec)
        prior.fit((examples.x, examples.cond), generator=generator)
        found.append((spec, prior, held_out_score(prior, examples, generator)))
    least = min(score for _, _, score in found)
    return next(one for one in found if one[2] <= (1 + MARGIN) * least)


def _repeats(data: Data) -> float:
    """How often embeddings come again, on average; 1 where the condition is no embedding."""
    if data.condition.kind != "embeddings":
        return 1.0
    cond = data.conditions(torch.arange(min(len(data), MOST_CONDITIONS)))
    return len(cond) / len(cond.unique(dim=0)) if isinstance(cond, Tensor) else 1.0
