"""Draw the pictures of docs/pictures.md, from trained flows and a finished comparison.

flowprior train --data digits --prior gmm --coupling ot --steps 800 --out runs/digits
for SETTING in "gaussian condot from-noise" "gmm:covariance=spherical ot designed"; do
    set -- $SETTING; flowprior train --data eight-modes --prior $1 --coupling $2 --steps 600 \\
        --set training.batch_size=256 --out runs/$3
done
flowprior compare benchmarks/studies/few_labels.toml --data few-digits:count=1000 --seeds 3 \\
    --out runs/digits-quality
python docs/make_paper_pictures.py runs

The picture of forecasts is that of docs/make_forecast_picture.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from flowprior import Flow
from flowprior.data import load_data
from flowprior.pictures import (
    animate,
    beside,
    densities,
    first_of_each,
    quality,
    save_animation,
    save_figure,
    trajectories,
    trajectory_panels,
)

IMAGES = Path(__file__).parent / "images"
EACH = 4
LINES = 96
SETTINGS = {
    "default": "latent-gmm + posterior",
    "gmm+condot": "gmm + condot",
    "gaussian+condot": "gaussian + condot",
}
"""Variants of the study that are drawn, and what they are called."""


def main(runs: str) -> None:
    """All pictures."""
    draw_digits(Flow.load(f"{runs}/digits"))
    draw_plane({"gaussian + condot": f"{runs}/from-noise", "gmm + ot": f"{runs}/designed"})
    draw_quality(Path(runs) / "digits-quality" / "report.json")


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


def draw_plane(runs: dict[str, str]) -> None:
    """Trajectories of two flows, and the densities of one of them and its prior."""
    x, cond = load_data("eight-modes:n=2000", "test").batch(torch.arange(800))
    assert isinstance(cond, Tensor)
    panels = {}
    for name, run in runs.items():
        generator = torch.Generator().manual_seed(0)
        solution = Flow.load(run).solve(cond[:LINES], nfe=4, generator=generator, trajectory=True)
        assert solution.trajectory is not None
        panels[name] = (solution.trajectory, cond[:LINES])
    save_figure(trajectory_panels(panels, real=x), IMAGES / "trajectories-beside.png")
    flow = Flow.load(runs["gmm + ot"])
    of_one = {"prior, class 1": under(flow.prior.log_prob, 1), "flow, class 1": under(flow.log_prob, 1)}
    save_figure(densities(of_one, x[cond == 1], side=50), IMAGES / "densities.png")


def under(log_prob: Callable[[Tensor, Tensor], Tensor], label: int) -> Callable[[Tensor], Tensor]:
    """log p of points under one label."""
    return lambda x: log_prob(x, torch.full((len(x),), label))


def draw_quality(report: Path) -> None:
    """The Fréchet distance of a comparison against NFE."""
    found = json.loads(report.read_text())
    settings: dict[str, dict[float, list[float]]] = {name: {} for name in SETTINGS.values()}
    for row in found["quality"]:
        if row["metric"] == "fid-cnn128" and row["variant"] in SETTINGS:
            settings[SETTINGS[row["variant"]]][row["nfe"]] = list(row["by_seed"].values())
    level = found["metrics"]["fid-cnn128"]["real_data_score"]
    figure = quality(settings, "Fréchet distance", real_data=level, title="digits, 3 seeds")
    save_figure(figure, IMAGES / "quality.png")


if __name__ == "__main__":
    main(sys.argv[1])
