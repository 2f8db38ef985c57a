"""One prior, fitted: how close it is to data it has not seen, whether it copies, its cost, its picture."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import rows as take
from flowprior.couplings import Coupling, transport_cost
from flowprior.errors import InputError
from flowprior.inspection.examples import Examples, draw_pairs
from flowprior.mixtures.averaging import nearer_share
from flowprior.pictures import beside, first_of_each
from flowprior.pictures.grid import is_drawable
from flowprior.priors import Prior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DENSITY_ROWS = 2000
"""The largest number of held-out rows whose density is taken."""
PAIRS = 2048
"""The largest number of pairs of which the transport cost is the mean."""
BATCH = 256
"""The number of pairs that a coupling draws at once."""
HALVED = 4000
"""The largest number of rows that are halved."""
FEWEST_HALVED = 4
"""The fewest rows that are halved."""
MOST_CONDITIONS, SAMPLES, POINTS = 10, 4, 2000
"""The largest numbers of labels, samples of each and points of a figure."""


@dataclass(frozen=True)
class FittedPrior:
    """A prior after its fit.

    Attributes:
        prior: specification.
        seconds: of the fit.
        state_bytes: of everything that it keeps.
        explained_variance: 1 − E‖x1 − E[x0 | c]‖² / E‖x1 − m‖² of held-out data, with m the mean of all data.
        log_density: mean of log p0(x1 | c) of held-out data, nats per dimension; a lower bound for a prior
            without a tractable density (``vae``).
        half_share: how many draws of the prior, fitted on one half, lie nearer to that half than to the other
            (:func:`half_share`); 1 where it copies; nan where there is too little data.
        picture: file, or None.
    """

    prior: str
    seconds: float
    state_bytes: int
    explained_variance: float
    log_density: float
    half_share: float
    picture: str | None = None


def fit_prior(spec: str, examples: Examples, seed: int) -> tuple[Prior, FittedPrior]:
    """Return the prior of a specification, fitted and measured.

    Raises:
        FlowpriorError: an unknown name, or a prior that cannot serve these data.
    """
    generator = torch.Generator().manual_seed(seed)
    prior: Prior = Prior.registry.resolve(spec)
    start = time.perf_counter()
    prior.fit((examples.x, examples.cond), generator=generator)
    seconds, rows = time.perf_counter() - start, slice(0, DENSITY_ROWS)
    return prior, FittedPrior(
        prior=spec,
        seconds=seconds,
        state_bytes=sum(value.numel() * value.element_size() for value in prior.state_dict().values()),
        explained_variance=explained_variance(prior, examples),
        log_density=log_density(prior, examples.held_out[rows], take(examples.held_out_cond, rows)),
        half_share=_share_of_copies(spec, examples, seed),
    )


def _share_of_copies(spec: str, examples: Examples, seed: int) -> float:
    """Return the half share of at most 4,000 examples, or nan where half of these are too few."""
    rows, generator = slice(0, HALVED), torch.Generator().manual_seed(seed)
    with warnings.catch_warnings(), suppress(InputError):
        warnings.simplefilter("ignore", RuntimeWarning)  # of few examples, as the fit on all of them warns
        make = partial(Prior.registry.resolve, spec)
        return half_share(make, examples.x[rows], take(examples.cond, rows), generator=generator)
    return float("nan")


@torch.no_grad()
def explained_variance(prior: Prior, examples: Examples) -> float:
    """Return the share of the held-out data's variance that the prior's mean of their condition explains."""
    x1 = examples.held_out.double()
    left = x1 - prior.mean(examples.held_out_cond, len(x1)).double().cpu()
    total = x1 - examples.x.double().mean(0)
    return 1 - float(left.square().sum()) / max(float(total.square().sum()), 1e-300)


@torch.no_grad()
def log_density(prior: Prior, x: Tensor, cond: Conditions | None) -> float:
    """Return the mean of log p0(x | c) over rows x ``[n, *event]``, in nats per dimension.

    Raises:
        InputError: the prior cannot serve these conditions.
    """
    return float(prior.log_prob(x, cond).double().mean()) / x[0].numel()


def mean_transport_cost(
    prior: Prior, coupling: Coupling, examples: Examples, generator: torch.Generator
) -> float:
    """Return E‖x1 − x0‖² of at most 2,048 pairs, drawn 256 at once, or as many as the coupling asks for."""
    x, cond = examples.x[:PAIRS], take(examples.cond, slice(0, PAIRS))
    pairs = draw_pairs(prior, coupling, x, cond, BATCH, generator)
    return sum(float(transport_cost(x0, x1)) * len(x1) for x0, x1 in pairs) / len(x)


def half_share(
    make: Callable[[], Prior],
    x: Tensor,
    cond: Conditions | None = None,
    *,
    generator: torch.Generator | None = None,
) -> float:
    """Return the share of draws of a prior of one half of x that lie nearer to that half than to the other.

    0.5 where it has learned what the halves have in common, 1 where it copies. Each label is halved by itself
    and a draw compared with its own label's data; one with a single example is left out.

    Args:
        make: the prior, not fitted.
        x: data ``[N, *event]``.
        cond: labels ``[N]``, embeddings ``[N, E]``, token states, parts, or None.
        generator: source of the halves, the fit and the draws.

    Raises:
        InputError: fewer than four rows, or labels with one example only.
    """
    own, other = _halves(x, cond, generator)
    if len(own) < FEWEST_HALVED // 2:
        raise InputError(
            f"half_share: expected {FEWEST_HALVED} rows or more, two of a label, got {len(x)}; give more data"
        )
    chosen = take(cond, own)
    prior = make().fit((x[own], chosen), generator=generator)
    drawn = prior.sample(chosen, len(own), generator=generator)
    rows = [part.flatten(1) for part in (drawn, x[own], x[other])]
    groups = _groups(cond, len(x))[own]
    members = [(groups == label).nonzero()[:, 0] for label in groups.unique()]
    shares = [(mine, nearer_share(*(part[mine] for part in rows))) for mine in members]
    return sum(len(mine) * share for mine, share in shares) / len(own)


def _groups(cond: Conditions | None, count: int) -> Tensor:
    """Return the groups that are halved by themselves: labels ``[N]``, or zeros."""
    if not isinstance(cond, Tensor) or cond.is_floating_point() or cond.dim() != 1:
        return torch.zeros(count, dtype=torch.long)
    return cond.cpu()


def _halves(x: Tensor, cond: Conditions | None, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return two lists of as many rows, whose labels agree place by place."""
    order = torch.randperm(len(x), generator=generator)
    groups = _groups(cond, len(x))
    parts = [order[groups[order] == label] for label in groups.unique()]
    halves = [(part[: len(part) // 2], part[len(part) // 2 :][: len(part) // 2]) for part in parts]
    own, other = zip(*halves, strict=True) if halves else ((order,), (order,))
    return torch.cat(own), torch.cat(other)


@torch.no_grad()
def prior_picture(
    prior: Prior, examples: Examples, seed: int, *, names: list[str] | None = None, title: str = ""
) -> Figure | None:
    """Return samples of a prior beside its data; None for events that cannot be drawn.

    Images: one row for each of at most ten labels, with the mean of the data, the mean of the prior, four
    samples of the prior and four held-out examples. Points: samples of the prior over the data in grey.

    Args:
        prior: fitted on ``examples.x``.
        examples: its data.
        seed: of the samples.
        names: of the classes.
        title: of the picture.
    """
    if not is_drawable(examples.x.shape[1:]):
        return None
    generator = torch.Generator().manual_seed(seed)
    if examples.x.dim() == 2:
        cond = take(examples.held_out_cond, slice(0, POINTS))
        x0 = prior.sample(cond, min(POINTS, len(examples.held_out)), generator=generator)
        shown = cond if isinstance(cond, Tensor) else None
        return beside({"prior": (x0, shown)}, names=names, title=title, real=examples.x[:POINTS])
    labels = examples.held_out_labels
    rows = first_of_each(labels, len(examples.held_out), SAMPLES, MOST_CONDITIONS)
    own, cond = take(labels, rows), take(examples.held_out_cond, rows)
    classes = None if own is None else own.unique()
    means = [examples.x[fit].mean(0) for _, fit, _ in islice(examples.groups(), MOST_CONDITIONS)]
    prior_means = prior.mean(take(cond, slice(0, 1)) if classes is None else classes, len(means))
    panels = {
        "mean of data": (torch.stack(means), classes),
        "mean of prior": (prior_means, classes),
        "samples of prior": (prior.sample(cond, len(rows), generator=generator), own),
        "held-out data": (examples.held_out[rows], own),
    }
    return beside(panels, names=names, title=title, columns=SAMPLES)
