"""What a training step does around the network, timed: ``python -m benchmarks.step_share`` prints seconds.

For each prior and coupling, a batch of 128 pictures of Fashion-MNIST: starts drawn and coupled, the path's
point and velocity, the loss and its gradient. ``flowprior`` runs the operators that ``FLOWPRIOR_OPS``
chooses; ``eager`` is what one writes without flowprior, where that is a line or two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from benchmarks import compositions
from flowprior import Coupling, Path, Prior
from flowprior.data import load_data
from flowprior.ops import flow_matching_loss

BATCH, FITTED = 128, 10_000
LOWRANK = "gmm:covariance=lowrank,rank=64,reg_covar=0.16"
SPECS = (("gaussian", "condot"), ("gmm", "condot"), (LOWRANK, "posterior"), (LOWRANK, "ot:ot_batch=1024"))


def flowprior_step(prior: Prior, coupling: Coupling, x1: Tensor, cond: Tensor) -> Callable[[], None]:
    """As the training loop does it, for as many pairs as the coupling draws at once."""
    path = Path.create("condot")

    def step() -> None:
        x0 = coupling.draw(prior, x1, cond)
        for start in range(0, len(x1), BATCH):
            rows = slice(start, start + BATCH)
            sample = path.interpolate(x0[rows], x1[rows], torch.rand(BATCH))
            v = sample.x_t.detach().requires_grad_()
            flow_matching_loss(v, sample.u_t).backward()

    return step


def eager_step(prior: Prior, name: str, x1: Tensor, cond: Tensor) -> Callable[[], None] | None:
    """torch alone: randn, or mean and deviation of the class and randn; then the path and the loss."""
    if name not in ("gaussian", "gmm"):
        return None
    moments = None if name == "gaussian" else _class_moments(prior, x1)

    def step() -> None:
        x0 = torch.randn_like(x1)
        if moments is not None:
            mean, std = moments
            x0 = torch.addcmul(mean[cond], std[cond], x0)
        x_t, u_t = compositions.interpolate(x0, x1, torch.rand(BATCH)[:, None, None])
        v = x_t.detach().requires_grad_()
        (v - u_t).square().mean().backward()

    return step


def _class_moments(prior: Prior, x1: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``[C, *event]`` of a fitted mixture of one component."""
    mean, var = prior.get_buffer("loc")[:, 0], prior.get_buffer("var")[:, 0]
    return mean.view(-1, *x1.shape[1:]), var.sqrt().view(-1, *x1.shape[1:])


def seconds_of_each(
    steps: dict[str, Callable[[], None]], rounds: int = 15, in_a_row: int = 6
) -> dict[str, float]:
    """Median seconds of each, taking turns; the first two of a turn do not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            for place in range(in_a_row):
                start = perf_counter()
                step()
                if place >= 2:
                    times[name].append(perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def measure(
    prior: Prior, prior_spec: str, coupling_spec: str, pictures: Tensor, labels: Tensor
) -> dict[str, float]:
    """Seconds per batch of 128 of ``flowprior`` and, where there is one, ``eager``."""
    coupling = Coupling.registry.resolve(coupling_spec)
    size = coupling.draw_size(BATCH)
    steps = {"flowprior": flowprior_step(prior, coupling, pictures[:size], labels[:size])}
    eager = eager_step(prior, prior_spec, pictures[:BATCH], labels[:BATCH])
    if eager is not None:
        steps["eager"] = eager
    measured = seconds_of_each(steps)
    return {**measured, "flowprior": measured["flowprior"] * BATCH / size}


def main() -> None:
    """Print the seconds of every case, in the order of SPECS."""
    torch.set_num_threads(2)
    data = load_data("fashion-mnist", split="train")
    x, y = data.batch(torch.arange(FITTED))
    assert y is not None
    pictures = x.view(-1, 1, 28, 28)
    names = dict.fromkeys(prior for prior, _ in SPECS)
    priors = {name: Prior.registry.resolve(name).fit((pictures, y)) for name in names}
    json.dump([measure(priors[spec[0]], *spec, pictures, y) for spec in SPECS], sys.stdout)


if __name__ == "__main__":
    main()
