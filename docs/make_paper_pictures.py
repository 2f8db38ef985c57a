"""Draw the pictures of docs/pictures.md and docs/results.md, from trained flows and the headline study.

flowprior train --data digits --prior gmm --coupling ot --steps 800 --out runs/digits
python -m benchmarks.studies.headline runs fashion-mnist
python -m docs.make_paper_pictures

Trajectories and densities are drawn by docs/make_pictures.py, forecasts by docs/make_forecast_picture.py.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.studies.headline.comparison import results
from benchmarks.studies.headline.grids import RUNS, study
from benchmarks.studies.headline.runs import run_grid_of
from flowprior import Flow
from flowprior.data import load_data
from flowprior.evaluation.result import REAL_DATA
from flowprior.pictures import (
    animate,
    beside,
    first_of_each,
    quality,
    save_animation,
    save_figure,
    trajectories,
)
from flowprior.study import StudyFolder
from flowprior.study.running import checked_plan

IMAGES = Path(__file__).parent / "images"
EACH = 4
SETTINGS = {
    "default": "latent-gmm + posterior",
    "gmm+condot": "gmm + condot",
    "gaussian+ot8192": "gaussian + ot",
}
"""Methods of the study that are drawn, and what they are called."""


DRAWN = (("fashion-mnist-16000", 1), ("fashion-mnist-16000", 4), ("emoji-64-4000", 4))
"""The runs of the study whose flows are drawn beside each other, and with how many evaluations."""


def main() -> None:
    """All pictures."""
    draw_digits(Flow.load("runs/digits"))
    draw_quality()
    for name, nfe in DRAWN:
        draw_methods(name, nfe)


def draw_digits(flow: Flow) -> None:
    """Stages, a strip along t and an animation."""
    labels = torch.arange(10)
    cond = labels.repeat_interleave(EACH)
    generator = torch.Generator().manual_seed(0)
    solution = flow.solve(cond, nfe=15, generator=generator, trajectory=True)
    states = solution.trajectory
    assert states is not None
    x, y = load_data("digits", "test").batch(torch.arange(200))
    assert isinstance(y, Tensor)
    rows = first_of_each(y, len(y), EACH)
    panels = {
        "prior mean": (flow.prior.mean(labels), labels),
        "prior samples": (states[0], cond),
        "flow samples": (solution.x, cond),
    }
    save_figure(beside(panels | {"data": (x[rows], y[rows])}), IMAGES / "stages.png")
    ones = slice(0, None, 2 * EACH)
    strip = trajectories(states[:, ones], solution.times, cond[ones])
    save_figure(strip, IMAGES / "strip.png")
    moving = animate(states[:, : 5 * EACH], solution.times, cond[: 5 * EACH], title="15 evaluations")
    save_animation(moving, IMAGES / "flow.gif")


def draw_quality() -> None:
    """The Fréchet distance on digits against NFE."""
    rows = results("digits", steps=1000).query("metric == 'fid-cnn128'")
    settings = {
        name: rows[rows["flow"] == flow].groupby("nfe")["value"].agg(list).to_dict()
        for flow, name in SETTINGS.items()
    }
    level = rows.loc[rows["flow"] == REAL_DATA, "value"].mean()
    figure = quality(settings, "Fréchet distance", real_data=level, title="digits, 3 seeds")
    save_figure(figure, IMAGES / "quality.png")


def draw_methods(name: str, nfe: int) -> None:
    """The first samples of every method of a run of the study, of one seed, beside real images."""
    splits, plan = checked_plan(run_grid_of(next(run for run in study()["runs"] if run["name"] == name)))
    x, labels = splits.test.batch(torch.arange(500))
    assert isinstance(labels, Tensor)
    shown = first_of_each(labels, len(labels), 2)
    panels = {"real images": (x[shown], labels[shown])}
    for run in plan.runs():
        flow = Flow.load(StudyFolder(RUNS / name / f"seed{run.seed}").run(*run.place).flow)
        how = {"sampler": run.variant.specs[0], "generator": torch.Generator().manual_seed(0)}
        panels[run.variant.label] = (flow.sample(labels[shown], nfe=nfe, **how), labels[shown])
    figure = beside(panels, title=f"Evaluations of the network: {nfe}")
    save_figure(figure, IMAGES / f"{name}-{nfe}.png")


if __name__ == "__main__":
    main()
