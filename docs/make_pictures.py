"""Draw docs/images/trajectories.png: where flows start and how they travel, from really trained flows.

    python docs/make_pictures.py

Two flows learn the same eight modes, with the same network, steps and seed. One starts from N(0, I) and
pairs at random (``gaussian`` + ``condot``), the other from one round Gaussian for each class and pairs by
optimal transport within the class (``gmm`` + ``ot``). Both are sampled with 4 evaluations. W2² is the
exact squared 2-Wasserstein distance to held-out points, averaged over the classes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from flowprior import Flow, train
from flowprior.data import Data, load_data
from flowprior.metrics import wasserstein2_per_condition

PICTURE = Path(__file__).parent / "images" / "trajectories.png"
NFE = 4
POINTS = 2000
LINES = 160
SETTINGS = {
    "gaussian + condot": ("gaussian", "condot"),
    "gmm + ot": ("gmm:covariance=spherical", "ot"),
}


def main() -> None:
    """Train both flows and draw them beside each other."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    test = load_data("eight-modes:n=2000", split="test")
    for axes, (title, (prior, coupling)) in zip(figure.subplots(1, 2), SETTINGS.items(), strict=True):
        flow = train("eight-modes", prior=prior, coupling=coupling, steps=2000, batch_size=256, seed=0)
        distance = draw(axes, flow, test)
        axes.set_title(f"{title}:  W2² = {distance:.3f} with {NFE} evaluations")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=90)


def draw(axes: Axes, flow: Flow, test: Data) -> float:
    """Starts, trajectories and ends of one flow over the data in grey; the W2² per class of its ends."""
    real, cond = test.batch(torch.arange(POINTS))
    generator = torch.Generator().manual_seed(0)
    solution = flow.solve(cond, nfe=NFE, sampler="euler", generator=generator, trajectory=True)
    assert solution.trajectory is not None
    assert cond is not None
    paths = solution.trajectory
    axes.scatter(*real.T, s=4, color="0.82", linewidths=0, label="data")
    colours = [f"C{label}" for label in cond[:LINES].tolist()]
    for path, colour in zip(paths[:, :LINES].unbind(1), colours, strict=True):
        axes.plot(*path.T, color=colour, linewidth=0.6, alpha=0.6)
    starts, ends = paths[0, :LINES], paths[-1, :LINES]
    axes.scatter(*starts.T, s=9, facecolors="none", edgecolors="0.2", linewidths=0.6, label="starts")
    axes.scatter(*ends.T, s=7, c=colours, label="samples")
    axes.set_aspect("equal")
    axes.set_xlim(-9, 9)
    axes.set_ylim(-9, 9)
    axes.legend(loc="upper right", fontsize=8)
    distances = wasserstein2_per_condition(paths[-1], cond, real, cond)
    return sum(distances.values()) / len(distances)


if __name__ == "__main__":
    main()
