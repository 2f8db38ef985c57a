"""Draw the pictures of docs/pictures.md, from trained flows and the results of the headline study.

flowprior train --data digits --prior gmm --coupling ot --steps 800 --out runs/digits
flowprior train --data eight-modes --prior gmm:covariance=spherical --coupling ot --steps 600 \\
    --set training.batch_size=256 --out runs/designed
python -m docs.make_paper_pictures runs

Trajectories are drawn by docs/make_pictures.py, forecasts by docs/make_forecast_picture.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.studies.headline.comparison import results
from flowprior import Flow
from flowprior.data import load_data
from flowprior.evaluation.result import REAL_DATA
from flowprior.pictures import (
    animate,
    beside,
    densities,
    first_of_each,
    quality,
    save_animation,
    save_figure,
    trajectories,
)

IMAGES = Path(__file__).parent / "images"
EACH = 4
SETTINGS = {
    "default": "latent-gmm + posterior",
    "gmm+condot": "gmm + condot",
    "gaussian+ot8192": "gaussian + ot",
}
"""Methods of the study that are drawn, and what they are called."""


def main(runs: str) -> None:
    """All pictures."""
    draw_digits(Flow.load(f"{runs}/digits"))
    draw_densities(Flow.load(f"{runs}/designed"))
    draw_quality()


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


def draw_densities(flow: Flow) -> None:
    """The densities of a flow of eight modes and of its prior."""
    x, cond = load_data("eight-modes:n=2000", "test").batch(torch.arange(800))
    of_one = {"prior, class 1": under(flow.prior.log_prob, 1), "flow, class 1": under(flow.log_prob, 1)}
    save_figure(densities(of_one, x[cond == 1], side=50), IMAGES / "densities.png")


def under(log_prob: Callable[[Tensor, Tensor], Tensor], label: int) -> Callable[[Tensor], Tensor]:
    """log p of points under one label."""
    return lambda x: log_prob(x, torch.full((len(x),), label))


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


if __name__ == "__main__":
    main(sys.argv[1])
