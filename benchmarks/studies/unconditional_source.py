"""Sources fitted to the data without a condition, paired independently: where the literature says they hurt.

    python -m benchmarks.studies.unconditional_source

On digits. The network sees the labels in half of the cells, the source never does.
SourceFM (arXiv 2512.18184) reports FID on CIFAR-10: N(0, I) 4.40, mixtures of 1 / 2 / 10 Gaussians 11.75 /
12.49 / 12.11.
"""

from __future__ import annotations

import typer

from benchmarks.studies import digits
from benchmarks.studies.ensemble import Job, Member, fit_prior, run_jobs
from benchmarks.studies.settings import Setting
from benchmarks.studies.store import Store, use_threads

STORE = Store("unconditional-source")
NFES = (0, 1, 4, 15, 60)
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


def jobs(seed: int, with_labels: bool) -> list[Job]:
    """The cells of one seed: sources fitted without labels, networks with or without them."""
    train, _ = digits.splits()
    unlabelled = digits.with_pictures(train.x, None, "digits-unlabelled")
    kind = "labelled" if with_labels else "unlabelled"
    found = []
    for name, setting in SETTINGS.items():
        prior = fit_prior(setting.prior, unlabelled, seed)
        member = Member(setting, train if with_labels else unlabelled, prior)
        found.append(
            Job(
                f"{name}-{kind}-seed{seed}",
                member,
                lambda flow: {
                    "features": digits.judge().identities,
                    "rows": digits.measure(flow, seed, nfes=NFES),
                    "floor": digits.floor(with_labels),
                },
                {"setting": name, "kind": kind},
            )
        )
    return found


@app.command()
def main(seeds: int = 3, threads: int = 1) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    STORE.expect_judge(digits.judge().identities)
    for seed in range(seeds):
        for with_labels in (False, True):
            for cell in run_jobs(STORE, jobs(seed, with_labels), seed, digits.BUDGET):
                shown = ", ".join(f"{row['nfe']}: {row['fid-cnn128']:.1f}" for row in cell["rows"])
                typer.echo(f"{cell['setting']}, {cell['kind']}, seed {seed}: fid-cnn128 at NFE {shown}")


if __name__ == "__main__":
    app()
