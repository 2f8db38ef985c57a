"""How much of `posterior`'s error comes from its starts: sample the trained flows from inferred starts.

    python -m benchmarks.studies.posterior_gap

Takes the runs of one setting that fashion_mnist.py left. Training starts are inferred from data, sampling
starts are drawn from the prior; the difference of the two Fréchet distances is what a better law of the
latents could win.
"""

from __future__ import annotations

import torch
import typer

from benchmarks.studies.fashion_mnist import CHOSEN, DATA, make_judge, make_parts, runs_folder
from benchmarks.studies.store import RESULTS, use_threads, write_json
from flowprior import Flow
from flowprior.samplers import Sampler

NFES = (1, 4, 15)


def main(
    setting: str = CHOSEN, steps: int = 1000, seeds: int = 3, samples: int = 2000, threads: int = 0
) -> None:
    """Write one JSON of all seeds."""
    use_threads(threads)
    judge = make_judge(DATA, samples)
    x1, labels = make_parts(DATA)[0].batch(torch.arange(samples))
    assert labels is not None
    sampler = Sampler.create("euler")
    rows = []
    for seed in range(seeds):
        flow = Flow.load(runs_folder(DATA, steps) / f"{setting}-seed{seed}" / "flow").eval()
        for nfe in NFES:
            generator = torch.Generator().manual_seed(seed)
            inferred = flow.prior.infer(x1, labels, generator=generator)
            drawn = flow.prior.sample(labels, generator=generator)
            figures = {}
            for name, x0 in (("inferred", inferred), ("drawn", drawn)):
                with torch.no_grad():
                    parts = zip(x0.split(250), labels.split(250), strict=True)
                    x = torch.cat([sampler.integrate(flow.velocity, a, c, nfe=nfe) for a, c in parts])
                figures[name] = judge.figures(x, labels)["test"]["fid-cnn128"]
            rows.append({"seed": seed, "nfe": nfe, **figures})
            typer.echo(rows[-1])
    features = {"features": judge.identities}
    result = features | {"setting": setting, "samples": samples, "steps": steps, "rows": rows}
    write_json(RESULTS / "posterior-gap" / f"{setting}.json", result)


if __name__ == "__main__":
    typer.run(main)
