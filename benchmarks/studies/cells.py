"""Beyond pictures: 700 blood cells of ten unbalanced types as PCA vectors [50].

    python -m benchmarks.studies.cells

Every setting trains the same MLP on the same batches, on one half of the cells of each type; the other half
is held out. Every seed halves anew. The setting is chosen before, on a quarter of the training cells that is
held out of a training of its own (``choice``). Some settings are trained with smaller budgets, too
(``shorter``). What the distances mean is said in ``cell_distances``; beside
them stand those of the training cells (``floor``) and of the type's mean repeated (``collapsed``).
"""

from __future__ import annotations

from dataclasses import replace

import torch
import typer
from torch import Tensor

from benchmarks.studies.cell_distances import Figures, compare_types, floor
from benchmarks.studies.ensemble import Budget, Job, Member, run_jobs
from benchmarks.studies.sampling import draw_samples
from benchmarks.studies.settings import CONDOT, Setting
from benchmarks.studies.store import Cell, Store, use_threads
from benchmarks.studies.validation import everything, split_validation
from flowprior.data import Data, load_data
from flowprior.flow import Flow

STORE = Store("cells")
NFES = (0, 1, 2, 4, 15)
DRAWS = 4
HELD_OUT = 0.5
BUDGET = Budget(steps=400)
LOWRANK = "gmm:covariance=lowrank,rank=8,shrinkage=2.0"
LATENT = "latent-gmm:rank=8,components=4,reg_covar=0.09"
SETTINGS = {
    "gaussian+condot": CONDOT,
    "gmm+condot": Setting("gmm:shrinkage=2.0"),
    "gmm+ot": Setting("gmm:shrinkage=2.0", "ot"),
    "lowrank8+ot": Setting(LOWRANK, "ot"),
    "lowrank8+posterior": Setting(LOWRANK, "posterior"),
    "full+ot": Setting("gmm:covariance=full,shrinkage=20.0", "ot"),
    "latent8+posterior": Setting(LATENT, "posterior"),
}

SHORTER = (50, 100, 200)
FOLLOWED = ("gaussian+condot", "gmm+ot", "full+ot", "latent8+posterior")
"""Budgets below that of the result, in steps, and whom they are given to."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Cells = tuple[Tensor, Tensor]


def labelled(data: Data) -> Cells:
    """All cells of ``data`` and their types."""
    x, labels = everything(data)
    assert labels is not None
    return x, labels


def halves(seed: int) -> tuple[Data, Data]:
    """Training cells and held-out cells."""
    spec = f"cells:seed={seed},test_fraction={HELD_OUT}"
    return load_data(spec), load_data(spec, "test")


def parts(seed: int, choice: bool) -> tuple[Data, Data]:
    """What is trained on and what is measured against; for the choice both are training cells."""
    train, test = halves(seed)
    return split_validation(train, len(train) // 4, seed) if choice else (train, test)


def shorter(steps: int) -> Budget:
    """The budget cut to ``steps``, of which the warm-up takes at most a quarter."""
    return replace(BUDGET, steps=steps, warmup=min(BUDGET.warmup, steps // 4))


def jobs(seed: int, kind: str, names: list[str]) -> list[Job]:
    """The cells of one seed, of the choice, of the result or of a shorter training such as ``shorter-50``."""
    data, held_out = parts(seed, kind == "choice")
    found = []
    for name in names:
        setting = SETTINGS[name]
        found.append(
            Job(
                f"{kind}-{name}-seed{seed}",
                Member(setting, data),
                lambda flow, setting=setting: judge(flow, setting, seed, data, held_out),
                {"kind": kind, "setting": name, "draws": DRAWS},
            )
        )
    return found


def judge(flow: Flow, setting: Setting, seed: int, data: Data, held_out: Data) -> Cell:
    """Measure every type, beside the anchors."""
    real, twin = labelled(held_out), labelled(data)
    return {
        "training_cells": len(data),
        "held_out_cells": len(held_out),
        "types": held_out.class_names,
        "held_out_of_each": real[1].bincount().tolist(),
        "rows": measure(flow, setting, seed, real, twin),
        **anchors(real, twin),
    }


def measure(flow: Flow, setting: Setting, seed: int, real: Cells, twin: Cells) -> list[dict[str, float]]:
    """One row of distances for each number of evaluations, from the same starts."""
    rows = []
    for nfe in NFES:

        def draw(labels: Tensor, nfe: int = nfe) -> Tensor:
            generator = _generator(seed)
            return draw_samples(flow, labels, nfe, generator=generator, sampler=setting.sampler)

        rows.append({"nfe": nfe, **compare_types(draw, real, twin, DRAWS)})
    return rows


def anchors(real: Cells, twin: Cells) -> dict[str, Figures]:
    """The distances of the training cells themselves, each once, and of their types' means repeated."""
    x, labels = twin
    means = torch.stack([x[labels == kind].mean(0) for kind in range(int(labels.max()) + 1)])
    return {
        "floor": floor(real, twin),
        "collapsed": compare_types(lambda wanted: means[wanted], real, twin, DRAWS),
    }


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


@app.command()
def main(
    seeds: int = 5,
    choice_seeds: int = 2,
    threads: int = 1,
    only: str = typer.Option("", help="some of: " + ", ".join(SETTINGS)),
) -> None:
    """Run every cell that has no result yet: those of the choice, of the result, of the shorter trainings."""
    use_threads(threads)
    names = only.split(",") if only else list(SETTINGS)
    followed = [name for name in names if name in FOLLOWED]
    plan = [("choice", seed, names, BUDGET) for seed in range(choice_seeds)]
    plan += [("result", seed, names, BUDGET) for seed in range(seeds)]
    plan += [
        (f"shorter-{steps}", seed, followed, shorter(steps)) for steps in SHORTER for seed in range(seeds)
    ]
    for kind, seed, wanted, budget in plan:
        for cell in run_jobs(STORE, jobs(seed, kind, wanted), seed, budget):
            shown = ", ".join(
                f"{row['nfe']}: {row['raw']:.1f} / {row['debiased']:.2f}" for row in cell["rows"]
            )
            typer.echo(f"{kind} {cell['setting']} seed {seed}: W2² raw / debiased at NFE {shown}")


if __name__ == "__main__":
    app()
