"""What a flow makes of a source that moved after its training: by a shift, or in scale about its own mean.

values = "benchmarks.studies.moved_source:values"
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks.studies import Row, digits, everything, generator, rows_of
from flowprior.flow import Flow
from flowprior.metrics.kernel import polynomial_mmd2
from flowprior.pictures import save_figure
from flowprior.priors import Prior
from flowprior.samplers import Sampler
from flowprior.study.table import DataFrame, trained

NFES = (4, 15)
SAMPLES = 1000
SHIFTS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)
"""Of every pixel, in standard deviations of a pixel within its label, over all pixels."""
SCALES = (0.5, 0.8, 1.0, 1.25, 2.0)
"""Of the source samples about the mean of their label."""
DISTANCE, RECOGNISED = "kernel-distance", "recognised"
SOURCE, PRIOR = "source", "prior"
"""What moves: the samples alone, or the fitted prior, which the velocity of the default reads, too."""
MOVES = {f"shift {shift:g}": (1.0, shift) for shift in SHIFTS} | {
    f"scale {scale:g}": (scale, 0.0) for scale in SCALES if scale != 1
}
UNMOVED = "shift 0"


def moved_prior(prior: Prior, scale: float, shift: float) -> Prior:
    """A copy of a ``latent-gmm`` whose samples are moved: x0 → μ_c + scale (x0 − μ_c) + shift.

    μ_c is the mean of the label's data, from which that of its samples differs by what the law of the
    latents leaves.
    """
    prior = copy.deepcopy(prior)
    subspace: Any = prior.subspace
    subspace.loc.add_(shift)
    subspace.noise.mul_(scale**2)
    return prior


def with_prior(flow: Flow, prior: Prior) -> Flow:
    """The flow with another prior, which its velocity reads from now on."""
    parts = flow.model, prior, flow.coupling, flow.path, flow.condition
    return Flow(*parts, prediction=flow.prediction).eval()


@torch.no_grad()
def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Of every move, at every number of evaluations: distance to test digits, and what the samples show.

    ``kernel-distance``: unbiased squared kernel distance on the classifier's features. ``recognised``: share
    of the samples that the classifier takes for the label that was asked for.
    """
    judge, (test, _) = digits.classifier(), everything(data.test)
    real, unit = judge.features(test), float(digits.within_class_deviation(*everything(data.train)))
    cond = torch.arange(SAMPLES) % digits.CLASSES
    rows = []
    for what in (SOURCE, PRIOR) if flow.prior.name == "latent-gmm" else (SOURCE,):
        for move, (scale, shift) in MOVES.items():
            own = with_prior(flow, moved_prior(flow.prior, scale, shift * unit)) if what == PRIOR else flow
            x0 = own.coupling.source(own.prior, cond, generator=generator(cell.seed))
            if what == SOURCE:
                centre = flow.prior.mean(cond)
                x0 = centre + scale * (x0 - centre) + shift * unit
            for nfe in NFES:
                solver: Sampler = Sampler.registry.resolve(own.default_sampler)
                x = solver.solve(own.velocity, x0, cond, nfe=nfe).x.clamp(-1, 1)
                share = float((judge(x).argmax(1) == cond).float().mean())
                found = {DISTANCE: polynomial_mmd2(judge.features(x), real), RECOGNISED: share}
                told = {"sampler": f"moved {what}", "condition": move, "samples": SAMPLES, "split": "test"}
                rows += rows_of(found, nfe=nfe, **told)
    return rows


def curves(table: DataFrame, metric: str) -> Mapping[int, DataFrame]:
    """NFE -> means over seeds: a row for each (what moved, setting), a column for each move."""
    own = trained(table[table["condition"].isin(list(MOVES))], metric)
    found = own.pivot_table(index=["nfe", "sampler", "flow"], columns="condition", values="value", sort=False)
    found = found[[move for move in MOVES if move in found]]
    return {nfe: found.xs(nfe, level="nfe") for nfe in NFES}


def draw_curves(table: DataFrame, path: Path) -> None:
    """Kernel distance at 15 evaluations against the shift, and against the scale."""
    found = curves(table, DISTANCE)[NFES[-1]]
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    panels = (
        ("shift of every pixel, standard deviations", {f"shift {shift:g}": shift for shift in SHIFTS}),
        ("scale about the label's mean", {UNMOVED: 1.0} | {f"scale {s:g}": s for s in SCALES if s != 1}),
    )
    for axes, (label, places) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        places = dict(sorted(places.items(), key=lambda place: place[1]))
        for (what, flow), row in found.iterrows():
            moved = what.removeprefix("moved ")
            style = {"label": f"{flow}, {moved}", "linestyle": "--" if moved == PRIOR else "-"}
            axes.plot(list(places.values()), [row[move] for move in places], "o", markersize=3, **style)
        axes.set_xlabel(label)
        axes.set_yscale("log")
    figure.axes[0].set_ylabel("kernel distance, NFE 15")
    figure.axes[1].set_xscale("log", base=2)
    figure.axes[1].legend(fontsize=7, frameon=False)
    save_figure(figure, path)
