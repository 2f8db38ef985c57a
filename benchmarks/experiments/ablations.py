"""Ablations on digits: σ from 0 to 2, K from 1 to 64, kinds of covariance, kinds of prior.

    python -m benchmarks.experiments.ablations

Experiment 4 of issue 4. Every prior is trained with starts drawn at random within the class (``condot``, the
paper's pairing) and paired within it (``ot``), all else equal.
"""

from __future__ import annotations

import time

import typer

from benchmarks.experiments import digits
from benchmarks.experiments.settings import Setting
from benchmarks.experiments.store import Cell, Store, choose_cells, use_threads

STORE = Store("ablations")
COUPLINGS = ("condot", "ot")
PRIORS = {
    "sigma": {
        str(sigma): f"learned-mean:sigma={sigma}" for sigma in (0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0)
    },
    "components": {str(k): f"gmm:components={k},reg_covar=0.01" for k in (1, 2, 4, 8, 16, 32, 64)},
    "covariance": {
        "spherical": "gmm:covariance=spherical,reg_covar=0.01",
        "diag": "gmm:reg_covar=0.01",
        "tied": "gmm:covariance=tied,reg_covar=0.01",
        "full": "gmm:covariance=full,reg_covar=0.01",
        "lowrank, 8": "gmm:covariance=lowrank,rank=8,reg_covar=0.01",
        "lowrank, 8, floor 0.4": "gmm:covariance=lowrank,rank=8,reg_covar=0.16",
    },
    "kind": {
        "gaussian": "gaussian",
        "gmm": "gmm:reg_covar=0.01",
        "latent-gmm": "latent-gmm:rank=8",
        "learned-mean": "learned-mean",
        "vae": "vae:latent=8,steps=1000",
        "flow": "flow:rank=16,steps=1000",
    },
}
"""group -> value that is varied -> prior. What is not varied is the prior's default."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run_cell(setting: Setting, seed: int) -> Cell:
    """Train one setting on digits and judge it."""
    train, _ = digits.splits()
    start = time.perf_counter()
    flow = setting.train(train, seed=seed, sample_every=0, **digits.BUDGET)
    return {
        **setting.as_dict(),
        "train_seconds": time.perf_counter() - start,
        "rows": digits.measure(flow, seed),
        "prior_alone": digits.prior_alone(flow.prior, seed),
        "floor": digits.floor(train),
    }


@app.command()
def main(
    seeds: int = 2,
    shard: str = "0/1",
    only: str = typer.Option("", help="one group of: " + ", ".join(PRIORS)),
    threads: int = 1,
) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    plan = [
        (group, value, Setting(prior, coupling), seed)
        for seed in range(seeds)
        for group, priors in PRIORS.items()
        for value, prior in priors.items()
        for coupling in COUPLINGS
        if only in ("", group)
    ]
    for group, value, setting, seed in choose_cells(plan, shard):
        cell = STORE.run(
            f"{group}-{value}-{setting.coupling}-seed{seed}",
            lambda p=setting, s=seed: run_cell(p, s),
            group=group,
            value=value,
            seed=seed,
            **setting.as_dict(),
            **digits.BUDGET,
        )
        shown = ", ".join(f"{row['nfe']}: {row['fid-cnn128']:.1f}" for row in cell["rows"])
        typer.echo(f"{group} {value}, {setting.coupling}, seed {seed}: fid-cnn128 at NFE {shown}")


if __name__ == "__main__":
    app()
