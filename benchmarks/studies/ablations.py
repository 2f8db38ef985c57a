"""Ablations on digits: σ from near 0 (at 0 there is no density) to 2, K from 1 to 64, covariances, priors.

    python -m benchmarks.studies.ablations

Every prior is trained with starts drawn at random within the class (``condot``, the
paper's pairing) and paired within it (``ot``), all else equal.
"""

from __future__ import annotations

import typer

from benchmarks.studies import digits
from benchmarks.studies.ensemble import Job, Member, fit_prior, run_jobs
from benchmarks.studies.settings import Setting
from benchmarks.studies.store import Cell, Store, use_threads
from flowprior.flow import Flow

STORE = Store("ablations")
COUPLINGS = ("condot", "ot")
DIAGONAL = "gmm:reg_covar=0.01"
PRIORS = {
    "sigma": {str(s): f"learned-mean:sigma={s}" for s in (0.001, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0)},
    "components": {
        str(k): f"gmm:components={k},reg_covar=0.01" if k > 1 else DIAGONAL for k in (1, 2, 4, 8, 16, 32, 64)
    },
    "covariance": {
        "spherical": "gmm:covariance=spherical,reg_covar=0.01",
        "diag": DIAGONAL,
        "tied": "gmm:covariance=tied,reg_covar=0.01",
        "full": "gmm:covariance=full,reg_covar=0.01",
        "lowrank, 8": "gmm:covariance=lowrank,rank=8,reg_covar=0.01",
        "lowrank, 8, floor 0.4": "gmm:covariance=lowrank,rank=8,reg_covar=0.16",
    },
    "kind": {
        "gaussian": "gaussian",
        "gmm": DIAGONAL,
        "latent-gmm": "latent-gmm:rank=8",
        "learned-mean": "learned-mean:sigma=0.7",
        "vae": "vae:latent=8,steps=300",
        "flow": "flow:rank=16,transforms=4,hidden=64,steps=300",
    },
}
"""group -> value that is varied -> prior; one prior may stand in several groups. What is not varied is its
default, but for a floor of 0.1 under every deviation of a mixture: many pixels of digits never change."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def specs() -> list[str]:
    """Every prior once."""
    return list(dict.fromkeys(spec for priors in PRIORS.values() for spec in priors.values()))


def judge(flow: Flow, seed: int) -> Cell:
    """Figures of one trained flow."""
    return {
        "features": digits.judge().identities,
        "rows": digits.measure(flow, seed),
        "floor": digits.floor(),
    }


def jobs(seed: int) -> list[Job]:
    """Every cell of one seed; the two pairings share their prior."""
    train, _ = digits.splits()
    found = []
    for spec in specs():
        prior = fit_prior(spec, train, seed)
        for coupling in COUPLINGS:
            member = Member(Setting(spec, coupling), train, prior)
            found.append(Job(f"{spec}-{coupling}-seed{seed}", member, lambda f: judge(f, seed)))
    return found


@app.command()
def main(seeds: int = 2, threads: int = 1) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    STORE.expect_judge(digits.judge().identities)
    for seed in range(seeds):
        for cell in run_jobs(STORE, jobs(seed), seed, digits.BUDGET):
            shown = ", ".join(f"{row['nfe']}: {row['fid-cnn128']:.1f}" for row in cell["rows"])
            typer.echo(f"{cell['prior']}, {cell['coupling']}, seed {seed}: fid-cnn128 at NFE {shown}")


if __name__ == "__main__":
    app()
