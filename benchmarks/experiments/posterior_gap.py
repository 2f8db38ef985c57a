"""How much of `posterior`'s error comes from its starts: sample the trained flows from inferred starts.

    python -m benchmarks.experiments.posterior_gap

Takes the `lowrank64+posterior` runs that fashion_mnist.py left. Training starts are inferred from data,
sampling starts are drawn from the Gaussian prior; the difference of the two Fréchet distances is what a
better law of the latents could win.
"""

from __future__ import annotations

import json

import torch
import typer

from benchmarks.experiments.fashion_mnist import RESULTS, RUNS, make_judge
from flowprior import Flow
from flowprior.data import load_data
from flowprior.samplers import Sampler

NFES = (1, 4, 15)


def main(seeds: int = 3, samples: int = 2000) -> None:
    """Write one JSON of all seeds."""
    judge = make_judge(samples)
    x1, labels = load_data("fashion-mnist").batch(torch.arange(samples))
    sampler = Sampler.create("euler")
    rows = []
    for seed in range(seeds):
        flow = Flow.load(RUNS / f"lowrank64+posterior-seed{seed}" / "flow").eval()
        for nfe in NFES:
            generator = torch.Generator().manual_seed(seed)
            inferred = flow.prior.infer(x1, labels, generator=generator)
            drawn = flow.prior.sample(labels, generator=generator)
            figures = {}
            for name, x0 in (("inferred", inferred), ("drawn", drawn)):
                with torch.no_grad():
                    parts = zip(x0.split(250), labels.split(250), strict=True)
                    x = torch.cat([sampler.integrate(flow.velocity, a, c, nfe=nfe) for a, c in parts])
                figures[name] = judge.figures(x, labels)["fid-cnn128"]
            rows.append({"seed": seed, "nfe": nfe, **figures})
            typer.echo(rows[-1])
    target = RESULTS.parent / "posterior-gap.json"
    target.write_text(json.dumps({"samples": samples, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
