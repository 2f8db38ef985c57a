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
from torch import Tensor

from flowprior import Flow, train
from flowprior.data import load_data
from flowprior.metrics import wasserstein2_per_condition
from flowprior.pictures import save_figure, trajectory_panels

PICTURE = Path(__file__).parent / "images" / "trajectories.png"
NFE = 4
POINTS = 2000
SHOWN = 800
LINES = 128
REACH = 8.0
SETTINGS = {
    "gaussian + condot": ("gaussian", "condot"),
    "gmm + ot": ("gmm:covariance=spherical", "ot"),
}


def main() -> None:
    """Train both flows and draw them beside each other."""
    real, cond = load_data("eight-modes:n=2000", split="test").batch(torch.arange(POINTS))
    assert isinstance(cond, Tensor)
    found = {}
    for setting, (prior, coupling) in SETTINGS.items():
        flow = train("eight-modes", prior=prior, coupling=coupling, steps=2000, batch_size=256, seed=0)
        paths = states(flow, cond)
        distances = wasserstein2_per_condition(paths[-1], cond, real, cond)
        distance = sum(distances.values()) / len(distances)
        found[f"{setting}:  W2² = {distance:.3f} with {NFE} evaluations"] = paths
    panels = {name: (paths[:, :LINES], cond[:LINES]) for name, paths in found.items()}
    frame = torch.tensor([[-REACH, -REACH], [REACH, REACH]])
    title = "Eight modes: source samples (rings), their way, samples (dots)"
    save_figure(trajectory_panels(panels, real=real[:SHOWN], title=title, frame=frame), PICTURE)


def states(flow: Flow, cond: Tensor) -> Tensor:
    """Where samples are at each of the sampler's times, ``[T, N, 2]``."""
    generator = torch.Generator().manual_seed(0)
    solution = flow.solve(cond, nfe=NFE, sampler="euler", generator=generator, trajectory=True)
    assert solution.trajectory is not None
    return solution.trajectory


if __name__ == "__main__":
    main()
