"""Sources fitted to the data without a condition, paired independently: where the literature says they hurt.

    python -m benchmarks.experiments.unconditional_source

Experiment 8 of issue 4, on digits. The network sees the labels in half of the cells, the source never does.
SourceFM (arXiv 2512.18184) reports FID on CIFAR-10: N(0, I) 4.40, mixtures of 1 / 2 / 10 Gaussians 11.75 /
12.49 / 12.11.
"""

from __future__ import annotations

import time

import torch
import typer

from benchmarks.experiments import digits
from benchmarks.experiments.settings import Setting
from benchmarks.experiments.store import Cell, Store, use_threads
from flowprior.data import TensorData
from flowprior.priors import Prior

STORE = Store("unconditional-source")
NFES = (1, 4, 15, 60)
SETTINGS = {
    "gaussian": Setting("gaussian", "independent"),
    "gaussian-diagonal": Setting("gaussian:moments=diagonal", "independent"),
    "gmm1-full": Setting("gmm:covariance=full,reg_covar=0.0001", "independent"),
    "gmm2": Setting("gmm:components=2", "independent"),
    "gmm10": Setting("gmm:components=10", "independent"),
    "gmm10-full": Setting("gmm:components=10,covariance=full,reg_covar=0.0001", "independent"),
    "gmm10+ot": Setting("gmm:components=10", "ot:condition=ignore"),
}
"""The last one pairs by optimal transport, to tell the source from its pairing."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run_cell(setting: Setting, seed: int, with_labels: bool) -> Cell:
    """Fit the source without labels, train the network with or without them, and judge."""
    train, _ = digits.splits()
    unlabelled = digits.with_pictures(train.x, None, "digits-unlabelled")
    data: TensorData = train if with_labels else unlabelled
    prior = Prior.registry.resolve(setting.prior)
    prior.fit(unlabelled.batches(), generator=torch.Generator().manual_seed(seed))
    start = time.perf_counter()
    flow = setting.train(data, seed=seed, sample_every=0, fitted=prior, **digits.BUDGET)
    return {
        **setting.as_dict(),
        "train_seconds": time.perf_counter() - start,
        "rows": digits.measure(flow, seed, nfes=NFES),
        "floor": digits.floor(data),
    }


@app.command()
def main(seeds: int = 3, threads: int = 1) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    for seed in range(seeds):
        for with_labels in (False, True):
            for name, setting in SETTINGS.items():
                kind = "labelled" if with_labels else "unlabelled"
                cell = STORE.run(
                    f"{name}-{kind}-seed{seed}",
                    lambda p=setting, s=seed, w=with_labels: run_cell(p, s, w),
                    setting=name,
                    kind=kind,
                    seed=seed,
                    **digits.BUDGET,
                )
                shown = ", ".join(f"{row['nfe']}: {row['fid-cnn128']:.1f}" for row in cell["rows"])
                typer.echo(f"{name}, {kind}, seed {seed}: fid-cnn128 at NFE {shown}")


if __name__ == "__main__":
    app()
