"""Conditions and inputs that the prior was not made for (issue 4, experiment 6).

    python -m benchmarks.experiments.out_of_distribution

- ``unseen``: digits without one class; then its label is asked for.
- ``gap``: moons whose condition is the target's own x coordinate; an interval of it is left out of training.
- ``corrupted``: the prior is fitted to digits with noise, blur or shifted statistics; the network is trained
  on clean ones (``fit``), or a clean flow is started from the corrupted prior (``start``).
- ``coinciding``: two classes of digits are moved so that they share one mean, and are told apart by the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import typer
from torch import Tensor
from torch.nn import functional

from benchmarks.experiments import digits
from benchmarks.experiments.settings import CONDOT, Setting
from benchmarks.experiments.store import Cell, Store, use_threads
from benchmarks.experiments.validation import everything
from flowprior.data import TensorData, load_data
from flowprior.errors import InputError
from flowprior.evaluation import wasserstein2_per_condition, wasserstein2_squared
from flowprior.flow import Flow
from flowprior.priors import Prior

STORE = Store("out-of-distribution")
UNSEEN = 9
GAP = (0.0, 1.5)  # of the moons' x coordinate, which runs from -4 to 6
PAIR = (0, 1)
POOLED = "gmm:unseen=pooled,conditions=10"
LOWRANK = "gmm:covariance=lowrank,rank=8,reg_covar=0.01"
TOY: dict[str, Any] = {
    "model": "mlp:width=128,depth=3",
    "steps": 1500,
    "batch_size": 256,
    "lr": 2e-3,
    "warmup": 100,
    "ema": 0.995,
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


# -- a label that nobody has seen ---------------------------------------------------------------------------


def run_unseen(setting: Setting, seed: int) -> Cell:
    """Leave one class out of prior and network, then ask for it."""
    train, _ = digits.splits()
    assert train.cond is not None
    seen = train.cond != UNSEEN
    data = digits.with_pictures(train.x[seen], train.cond[seen], "digits-without-nines")
    flow, seconds = _train(setting, data, seed, digits.BUDGET)
    rows = []
    for label in (UNSEEN, 0):
        labels = torch.full((digits.SAMPLES,), label)
        x = flow.sample(labels, nfe=15, generator=_generator(seed)).clamp(-1, 1)
        found = digits.judge().classifier(x).argmax(1)
        shares = found.bincount(minlength=digits.CLASSES) / len(found)
        rows.append({"label": label, "shares": shares.tolist(), **_nearness(x, data)})
    return {"train_seconds": seconds, "rows": rows, "without_fallback": _refusal(data)}


def _refusal(data: TensorData) -> str:
    """What the prior says of the unseen label where no fallback was asked for."""
    prior = Prior.create("gmm", conditions=10).fit(data.batches())
    try:
        prior.sample(torch.tensor([UNSEEN]))
    except InputError as error:
        return str(error)
    return "nothing"


def _nearness(x: Tensor, data: TensorData) -> dict[str, float]:
    """W2² of the samples to the class that was left out, and to all classes that were seen."""
    test, labels = everything(digits.splits()[1])
    assert labels is not None
    return {
        "w2_squared_unseen_class": wasserstein2_squared(x[:360], test[labels == UNSEEN]),
        "w2_squared_seen_classes": wasserstein2_squared(x[:360], data.x[:360]),
    }


# -- an interval of embeddings that nobody has seen ---------------------------------------------------------


def run_gap(setting: Setting, seed: int) -> Cell:
    """Leave an interval of a continuous condition out, then ask for it."""
    whole = load_data(f"8gaussians-to-moons-continuous:n=20000,seed={seed}")
    x, cond = everything(whole)
    assert cond is not None
    outside = (cond[:, 0] < GAP[0]) | (cond[:, 0] > GAP[1])
    flow, seconds = _train(setting, TensorData(x[outside], cond[outside], name="moons-with-a-gap"), seed, TOY)
    real, real_cond = everything(load_data(f"8gaussians-to-moons-continuous:n=10000,seed={seed}", "test"))
    assert real_cond is not None
    inside = (real_cond[:, 0] >= GAP[0]) & (real_cond[:, 0] <= GAP[1])
    rows = []
    for place, chosen in (("inside", inside), ("outside", ~inside)):
        points, asked = real[chosen][:500], real_cond[chosen][:500]
        for nfe in digits.NFES:
            found = flow.sample(asked, nfe=nfe, generator=_generator(seed))
            error = float((found[:, :1] - asked).abs().mean())
            rows.append(
                {
                    "place": place,
                    "nfe": nfe,
                    "w2_squared": wasserstein2_squared(found, points),
                    "error": error,
                }
            )
    return {"train_seconds": seconds, "gap": GAP, "rows": rows}


# -- a prior fitted to other inputs -------------------------------------------------------------------------


def add_noise(x: Tensor) -> Tensor:
    """Gaussian noise of standard deviation 0.5."""
    return x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def blur(x: Tensor) -> Tensor:
    """Mean of 3 × 3 pixels."""
    return functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def shift_statistics(x: Tensor) -> Tensor:
    """Half the contrast, brighter by 0.4."""
    return 0.5 * x + 0.4


CORRUPTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "noise": add_noise,
    "blur": blur,
    "shifted": shift_statistics,
}


def run_corrupted(setting: Setting, seed: int, corruption: str) -> Cell:
    """Fit the prior to corrupted digits; train with it, and sample a clean flow from its starts."""
    train, _ = digits.splits()
    other = digits.with_pictures(CORRUPTIONS[corruption](train.x), train.cond, f"digits-{corruption}")
    prior = Prior.registry.resolve(setting.prior)
    prior.fit(other.batches(), generator=torch.Generator().manual_seed(seed))
    fitted, seconds = _train(setting, train, seed, digits.BUDGET, fitted=prior)
    clean, _ = _train(setting, train, seed, digits.BUDGET)
    clean.prior = prior
    return {
        "train_seconds": seconds,
        "fit": digits.measure(fitted, seed),
        "start": digits.measure(clean, seed),
        "floor": digits.floor(train),
    }


# -- a class whose mean lies on another's -------------------------------------------------------------------


def run_coinciding(setting: Setting, seed: int, moved: bool) -> Cell:
    """Train where two classes have one mean (or not), and measure these two."""
    train, test = digits.splits()
    data, reference = (move_onto(train, train), move_onto(test, train)) if moved else (train, test)
    flow, seconds = _train(setting, data, seed, digits.BUDGET)
    labels = torch.tensor(PAIR).repeat_interleave(200)
    rows = []
    for nfe in digits.NFES:
        x = flow.sample(labels, nfe=nfe, generator=_generator(seed))
        each = wasserstein2_per_condition(x, labels, reference.x, reference.cond)
        rows.append({"nfe": nfe, "w2_squared": sum(each.values()) / len(each)})
    return {"train_seconds": seconds, "rows": rows}


def move_onto(data: TensorData, measured: TensorData) -> TensorData:
    """``data`` with its second class moved by the difference of the two classes' means in ``measured``."""
    assert data.cond is not None
    assert measured.cond is not None
    first, second = (measured.x[measured.cond == label].mean(0) for label in PAIR)
    x = torch.where((data.cond == PAIR[1]).view(-1, 1, 1, 1), data.x + first - second, data.x)
    return TensorData(x, data.cond, name="digits-coinciding", classes=digits.CLASSES)


# -- the commands -------------------------------------------------------------------------------------------


def _train(
    setting: Setting, data: TensorData, seed: int, budget: dict[str, Any], fitted: Prior | None = None
) -> tuple[Flow, float]:
    start = time.perf_counter()
    flow = setting.train(data, seed=seed, sample_every=0, fitted=fitted, **budget)
    return flow, time.perf_counter() - start


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


def plan() -> list[tuple[str, str, str, Setting, Callable[[Setting, int], Cell]]]:
    """(part, variant, name of the setting, setting, function) of every cell, without the seed."""
    learned = "learned-mean:sigma=scalar"
    unseen = {"gaussian+condot": CONDOT, "gmm+condot": Setting(POOLED), "gmm+ot": Setting(POOLED, "ot")}
    gap = {
        "gaussian+condot": CONDOT,
        "learned+condot": Setting(learned),
        "learned+ot": Setting(learned, "ot"),
    }
    corrupted = {"gmm+ot": Setting("gmm:reg_covar=0.01", "ot"), "lowrank8+ot": Setting(LOWRANK, "ot")}
    coinciding = {"gaussian+condot": CONDOT, "gmm+condot": Setting("gmm"), "gmm+ot": Setting("gmm", "ot")}
    cells: list[tuple[str, str, str, Setting, Callable[[Setting, int], Cell]]] = []
    cells += [("unseen", "", name, setting, run_unseen) for name, setting in unseen.items()]
    cells += [("gap", "", name, setting, run_gap) for name, setting in gap.items()]
    for kind in CORRUPTIONS:
        run = partial(run_corrupted, corruption=kind)
        cells += [("corrupted", kind, name, setting, run) for name, setting in corrupted.items()]
    for moved in (False, True):
        run = partial(run_coinciding, moved=moved)
        kind = "moved" if moved else "apart"
        cells += [("coinciding", kind, name, setting, run) for name, setting in coinciding.items()]
    return cells


@app.command()
def main(
    seeds: int = 2,
    threads: int = 1,
    only: str = typer.Option("", help="one of unseen, gap, corrupted, coinciding"),
) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    for seed in range(seeds):
        for part, variant, name, setting, run in plan():
            if only in ("", part):
                key = "-".join(filter(None, [part, variant, name, f"seed{seed}"]))
                budget = TOY if part == "gap" else digits.BUDGET
                made = {
                    "part": part,
                    "variant": variant,
                    "setting": name,
                    "seed": seed,
                    **setting.as_dict(),
                    **budget,
                }
                cell = STORE.run(key, lambda r=run, p=setting, s=seed: r(p, s), **made)
                typer.echo(f"{key}: {cell['seconds']:.0f} s")


if __name__ == "__main__":
    app()
