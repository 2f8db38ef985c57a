"""Draw docs/images/trajectories.png and densities.png: where flows start, travel and end.

    python docs/make_pictures.py

Two flows learn the same eight modes, with the same network, steps and seed. One starts from N(0, I) and
pairs at random (``gaussian`` + ``condot``), the other from one round Gaussian for each class and pairs by
optimal transport within the class (``gmm`` + ``ot``). Both are sampled with 4 evaluations. W2² is the
exact squared 2-Wasserstein distance to held-out points, averaged over the classes. The densities are those of
one class, under the prior and the flow of the second setting.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from flowprior import train
from flowprior.data import load_data
from flowprior.metrics import wasserstein2_per_condition
from flowprior.pictures import densities, save_figure, trajectory_panels

IMAGES = Path(__file__).parent / "images"
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
    flows = {
        setting: train("eight-modes", prior=prior, coupling=coupling, steps=2000, batch_size=256, seed=0)
        for setting, (prior, coupling) in SETTINGS.items()
    }
    panels = {}
    for setting, flow in flows.items():
        generator = torch.Generator().manual_seed(0)
        paths = flow.solve(cond, nfe=NFE, sampler="euler", generator=generator, trajectory=True).trajectory
        assert paths is not None
        distance = fmean(wasserstein2_per_condition(paths[-1], cond, real, cond).values())
        panels[f"{setting}:  W2² = {distance:.3f} with {NFE} evaluations"] = (paths[:, :LINES], cond[:LINES])
    frame = torch.tensor([[-REACH, -REACH], [REACH, REACH]])
    title = "Eight modes: source samples (rings), their way, samples (dots)"
    figure = trajectory_panels(panels, real=real[:SHOWN], title=title, frame=frame)
    save_figure(figure, IMAGES / "trajectories.png")
    designed = flows["gmm + ot"]
    of_one = {
        "prior, class 1": lambda x: designed.prior.log_prob(x, torch.ones(len(x)).long()),
        "flow, class 1": lambda x: designed.log_prob(x, torch.ones(len(x)).long()),
    }
    save_figure(densities(of_one, real[cond == 1], side=50), IMAGES / "densities.png")


if __name__ == "__main__":
    main()
